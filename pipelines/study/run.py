"""Run the calls of a plan on a few workers: each distinct call once, in a process group of its own.

One process schedules; its children are the stages themselves. It can be killed at any moment: the kernel ends the
children with it, stages publish by rename, and the next run finds what is done by its manifests.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from pipelines.study import store
from pipelines.study.graph import Call
from pipelines.study.hardware import describe_hardware
from pipelines.study.plan import Plan

GRACE_S = 10.0  # a stage finishes its training step and saves its state within this time
POLL_S = 0.05
TETHER = Path(__file__).resolve().parents[1] / "flows" / "tethered.py"


@dataclass
class Child:
    """A running call. log_start: where its lines begin in log.txt."""

    call: Call
    process: subprocess.Popen[bytes]
    started: float
    log_start: int


@dataclass
class Outcome:
    """done, failed and skipped by name of call; failed with its reason, skipped with the call that failed above it;
    signal: the number of the one that ended the run, or None.
    """

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    signal: int | None = None


@dataclass
class Signals:
    """The first SIGINT or SIGTERM, kept for the loop to see; a second one ends the children at once."""

    number: int | None = None
    count: int = 0

    def note(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number
        self.count += 1


def run_plan(
    plan: Plan, folder: Path, raw: Path, workers: int, log: Callable[[str], None], grace_s: float = GRACE_S
) -> Outcome:
    """Run what is not done, in the order of the plan as far as inputs allow; returns what became of each call."""
    outcome, hardware = Outcome(), describe_hardware()
    outputs = {name: call.output for name, call in plan.calls.items()}
    waiting = needed(plan, folder, outcome.done)
    total = len(waiting)
    log(f"{total} of {len(plan.calls)} calls are to be run")
    running: dict[str, Child] = {}
    with _signals() as signals:
        while waiting or running:
            _skip(waiting, outcome, log)
            for call in [call for call in waiting.values() if outcome.done.issuperset(call.inputs.values())]:
                if len(running) >= workers or signals.number:
                    break
                del waiting[call.name]
                root = store.open_root(call, folder, outputs, raw)
                running[call.name] = _start(call, root, plan.code, hardware)
                log(f"{call.name}: started ({len(outcome.ran)} of {total} done, {len(running)} running)")
            for child in list(running.values()):
                if (ended := _ended(child)) is not None:
                    del running[child.call.name]
                    _settle(child, *ended, folder, outcome, log, stopping=bool(signals.number))
            if signals.number:
                log(f"{signal.Signals(signals.number).name}: ending {len(running)} running calls")
                _end_all(running, folder, outcome, signals, log, grace_s)
                outcome.signal = signals.number
                return outcome
            time.sleep(POLL_S)
    return outcome


def needed(plan: Plan, folder: Path, done: set[str]) -> dict[str, Call]:
    """The calls to run, ancestors first; what is there already, as far as anything reads it, goes into `done`.

    Nothing is made again for results that are done: what only they were made from may have been removed.
    """
    wanted: set[str] = set()
    pending = [end for ends in plan.jobs.values() for end in ends]
    while pending:
        name = pending.pop()
        if name in wanted or name in done:
            continue
        if store.is_done(store.call_folder(folder, name), plan.calls[name].output):
            done.add(name)
        else:
            wanted.add(name)
            pending += plan.calls[name].inputs.values()
    return {name: call for name, call in plan.calls.items() if name in wanted}


def _start(call: Call, root: Path, code: Path, hardware: Mapping[str, Any]) -> Child:
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
        start = log.seek(0, os.SEEK_END)
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
    return Child(call, process, time.monotonic(), start)


def _ended(child: Child) -> tuple[int, float, float] | None:
    """(exit code, wall seconds, CPU seconds) once it has ended."""
    pid, status, usage = os.wait4(child.process.pid, os.WNOHANG)
    if pid == 0:
        return None
    child.process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
    return child.process.returncode, time.monotonic() - child.started, usage.ru_utime + usage.ru_stime


def _settle(
    child: Child,
    code: int,
    wall: float,
    cpu: float,
    folder: Path,
    outcome: Outcome,
    log: Callable[[str], None],
    *,
    stopping: bool,
) -> None:
    call, root = child.call, store.call_folder(folder, child.call.name)
    store.note_end(root, wall, cpu)
    if code == 0 and store.is_done(root, call.output):
        outcome.done.add(call.name)
        outcome.ran.append(call.name)
        log(f"{call.name}: done in {wall:.1f} s")
    elif not stopping:
        reason = store.last_error(root, code, child.log_start) if code else f"it published no {call.output}"
        store.note_failure(root, code, reason)
        outcome.failed[call.name] = reason
        log(f"{call.name}: failed: {reason}")


def _skip(waiting: dict[str, Call], outcome: Outcome, log: Callable[[str], None]) -> None:
    """Move calls below a failed one to skipped; the plan has ancestors first, so one pass reaches all of them."""
    for name, call in list(waiting.items()):
        above = [maker for maker in call.inputs.values() if maker in outcome.failed or maker in outcome.skipped]
        if above:
            outcome.skipped[name] = outcome.skipped.get(above[0], above[0])
            del waiting[name]
            log(f"{name}: skipped, since {outcome.skipped[name]} failed")


def _end_all(
    running: dict[str, Child],
    folder: Path,
    outcome: Outcome,
    signals: Signals,
    log: Callable[[str], None],
    grace_s: float,
) -> None:
    """Ask all groups to end at once, wait for their last checkpoint, kill what is left."""
    for child in running.values():
        _signal_group(child, signal.SIGTERM)
    until, asked = time.monotonic() + grace_s, signals.count
    while running:
        if time.monotonic() > until or signals.count > asked:
            for child in running.values():
                _signal_group(child, signal.SIGKILL)
        for child in list(running.values()):
            if (ended := _ended(child)) is not None:
                _signal_group(child, signal.SIGKILL)  # what it may have left behind
                del running[child.call.name]
                _settle(child, *ended, folder, outcome, log, stopping=True)
        time.sleep(POLL_S)


def _signal_group(child: Child, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, number)


@contextlib.contextmanager
def _signals() -> Iterator[Signals]:
    """Handlers for the time of a run, so that a signal ends it between two steps of the loop and not inside one."""
    signals = Signals()
    previous = {number: signal.signal(number, signals.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
