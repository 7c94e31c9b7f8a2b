"""One running stage call: a process group of its own that ends with the study."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pipelines.study import store
from pipelines.study.graph import Call

POLL_S = 0.05
TETHER = Path(__file__).resolve().parents[1] / "flows" / "tethered.py"


@dataclass
class Child:
    """A running call. log_start: where its lines begin in log.txt."""

    call: Call
    process: subprocess.Popen[bytes]
    started: float
    log_start: int


@dataclass(frozen=True)
class End:
    """How a child ended: exit code, wall and CPU seconds."""

    code: int
    wall: float
    cpu: float


@dataclass
class Signals:
    """The first SIGINT, SIGTERM or SIGHUP, kept for the loop to see; a second one ends the children at once."""

    number: int | None = None
    count: int = 0

    def note(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number
        self.count += 1


def start(call: Call, root: Path, code: Path, hardware: Mapping[str, Any]) -> Child:
    """Run a call in its root from the sources in `code`."""
    store.note_start(root, hardware)
    threads = str(call.params["runtime"]["threads"])
    path = [os.fspath(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads),
    }
    with (root / store.LOG).open("ab") as log:
        log_start = log.seek(0, os.SEEK_END)
        # -P: what a folder of the call is named must not hide a module
        process = subprocess.Popen(
            [sys.executable, "-IS", str(TETHER), str(os.getpid()), sys.executable, "-P", "-m", *call.command],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(call, process, time.monotonic(), log_start)


def end_of(child: Child) -> End | None:
    """How it ended, once it has; asked once more after that, it is an error."""
    pid, status, usage = os.wait4(child.process.pid, os.WNOHANG)
    if pid == 0:
        return None
    child.process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
    return End(child.process.returncode, time.monotonic() - child.started, usage.ru_utime + usage.ru_stime)


def end_all(running: dict[str, Child], settle: Callable[[Child, End], None], signals: Signals, grace_s: float) -> None:
    """Ask all groups to end at once, wait for their last checkpoint, kill what is left. Empties `running`.

    settle: told of each end. What it raises is raised when all have ended, the first such error alone.
    """
    for child in running.values():
        _signal_group(child, signal.SIGTERM)
    until, asked = time.monotonic() + grace_s, signals.count
    errors: list[Exception] = []
    while running:
        if time.monotonic() > until or signals.count > asked:
            for child in running.values():
                _signal_group(child, signal.SIGKILL)
        for child in list(running.values()):
            if (end := end_of(child)) is not None:
                _signal_group(child, signal.SIGKILL)  # what it may have left behind
                del running[child.call.name]
                try:
                    settle(child, end)
                except Exception as error:
                    errors.append(error)
        time.sleep(POLL_S)
    if errors:
        raise errors[0]


@contextlib.contextmanager
def caught_signals() -> Iterator[Signals]:
    """Handlers for the time of a run, so that a signal ends it between two steps of the loop and not inside one.

    SIGHUP stays ignored where whoever started the run (nohup) ignores it.
    """
    signals = Signals()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {number: signal.signal(number, signals.note) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _signal_group(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, number)
