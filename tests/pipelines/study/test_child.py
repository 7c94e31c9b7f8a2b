"""Signals of a run, and children that end with it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pipelines.study.child import Child, End, caught_signals, end_all, end_of, start
from pipelines.study.graph import Call


def test_signals_are_kept_and_handlers_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with caught_signals() as signals:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
    assert (signals.number, signals.count) == (signal.SIGHUP, 3)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with caught_signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.count == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def started(folder: Path, name: str) -> Child:
    (folder / name).mkdir()
    (folder / name / "work.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    call = Call(name, "work", ("work",), "out", {}, (), "k", {"runtime": {"threads": 1}})
    child = start(call, folder / name, folder / name, {"cpu": "x"})
    until = time.monotonic() + 60
    while "up" not in (folder / name / "log.txt").read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    return child


def test_all_children_end_though_noting_one_of_the_ends_fails(tmp_path: Path) -> None:
    running = {name: started(tmp_path, name) for name in ("a", "b")}
    seen: list[tuple[str, int]] = []

    def settle(child: Child, end: End) -> None:
        seen.append((child.call.name, end.code))
        raise OSError(28, f"no space for {child.call.name}")

    assert end_of(running["a"]) is None
    with caught_signals() as signals, pytest.raises(OSError, match="no space"):
        end_all(running, settle, signals, 10.0)
    assert running == {}
    assert sorted(seen) == [("a", -signal.SIGTERM), ("b", -signal.SIGTERM)]
