"""Run the calls of a plan on a few workers: each distinct call once, in a process group of its own.

One process schedules; its children are the stages themselves. It can be killed at any moment: the kernel ends the
children with it, stages publish by rename, and the next run finds what is done by its manifests.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.study import store
from pipelines.study.child import POLL_S, Child, End, caught_signals, end_all, end_of, start
from pipelines.study.graph import Call
from pipelines.study.hardware import describe_hardware
from pipelines.study.plan import Plan
from pipelines.study.spec import Job

GRACE_S = 60.0  # for a stage to finish its training step, which has no limit, and save its state; then it is killed
IN_USE = 75  # exit code of a stage whose place another process holds, such as one that is just about to end
REST_S, PATIENCE_S = 1.0, 30.0  # then it is tried again, until that long after the first time


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
class State:
    """A run as it stands. locked: call -> when it was first in use elsewhere; resting: call -> when to try it again."""

    plan: Plan
    folder: Path
    log: Callable[[str], None]
    waiting: dict[str, Call]
    outcome: Outcome
    running: dict[str, Child] = field(default_factory=dict)
    locked: dict[str, float] = field(default_factory=dict)
    resting: dict[str, float] = field(default_factory=dict)


def run_plan(
    plan: Plan, folder: Path, raw: Path, workers: int, log: Callable[[str], None], grace_s: float = GRACE_S
) -> Outcome:
    """Run what is not done, in the order of the plan as far as inputs allow; returns what became of each call.

    Whatever goes wrong in here, the children are asked to end and leave a checkpoint first.
    """
    outcome, hardware = Outcome(), describe_hardware()
    outputs = {name: call.output for name, call in plan.calls.items()}
    state = State(plan, folder, log, needed(plan, folder, outcome.done), outcome)
    log(f"{len(state.waiting)} of {len(plan.calls)} calls are to be run")
    with caught_signals() as signals:

        def end(child: Child, ended: End) -> None:
            _settle(state, child, ended, stopping=True)

        try:
            while state.waiting or state.running:
                _skip(state)
                for call in _ready(state):
                    if len(state.running) >= workers or signals.number:
                        break
                    root = store.open_root(call, folder, outputs, raw)
                    state.running[call.name] = start(call, root, plan.code, hardware)
                    del state.waiting[call.name]
                    left = len(state.waiting) + len(state.running)
                    log(f"{call.name}: started ({len(state.running)} running, {left} to go)")
                for child in list(state.running.values()):
                    if (ended := end_of(child)) is not None:
                        del state.running[child.call.name]
                        _settle(state, child, ended, stopping=bool(signals.number))
                if signals.number:
                    log(
                        f"{signal.Signals(signals.number).name}: ending {len(state.running)} running calls, each with "
                        f"a checkpoint if it comes to one within {grace_s:g} s; a second signal ends them at once"
                    )
                    end_all(state.running, end, signals, grace_s)
                    outcome.signal = signals.number
                    break
                time.sleep(POLL_S)
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                end_all(state.running, end, signals, grace_s)
            raise
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
        call = plan.calls[name]
        if store.is_done(store.call_folder(folder, name), call.output, call.inputs):
            done.add(name)
        else:
            wanted.add(name)
            pending += call.inputs.values()
    return {name: call for name, call in plan.calls.items() if name in wanted}


def preview(plan: Plan, folder: Path, jobs: Iterable[Job]) -> list[str]:
    """What a run would do: how many calls, and the stages of each job that they are for."""
    waiting = needed(plan, folder, set())
    lines = [f"{len(waiting)} of {len(plan.calls)} calls are to be run"]
    for job in jobs:
        wanted: set[str] = set()
        pending = list(plan.jobs[job.id])
        while pending:
            name = pending.pop()
            if name in waiting and name not in wanted:
                wanted.add(name)
                pending += waiting[name].inputs.values()
        stages = [call.stage for name, call in waiting.items() if name in wanted]
        lines += [f"    {job.label}: {', '.join(stages)}"] if stages else []
    return lines


def _ready(state: State) -> list[Call]:
    now = time.monotonic()
    return [
        call
        for call in state.waiting.values()
        if state.outcome.done.issuperset(call.inputs.values()) and state.resting.get(call.name, now) <= now
    ]


def _settle(state: State, child: Child, end: End, *, stopping: bool) -> None:
    call, outcome, now = child.call, state.outcome, time.monotonic()
    root = store.call_folder(state.folder, call.name)
    done = end.code == 0 and store.is_done(root, call.output, call.inputs)
    store.note_end(root, end.wall, end.cpu, done=done)
    if done:
        outcome.done.add(call.name)
        outcome.ran.append(call.name)
        state.log(f"{call.name}: done in {end.wall:.1f} s")
        _renew(state, call.name)
    elif stopping:
        pass
    elif end.code == IN_USE and now < state.locked.setdefault(call.name, now) + PATIENCE_S:
        state.waiting[call.name] = call
        state.resting[call.name] = now + REST_S
        state.log(f"{call.name}: in use by another process; tried again")
    else:
        reason = store.last_error(root, end.code, child.log_start) if end.code else f"it published no {call.output}"
        store.note_failure(root, end.code, reason)
        outcome.failed[call.name] = reason
        state.log(f"{call.name}: failed: {reason}")


def _renew(state: State, made: str) -> None:
    """A call was made anew, maybe with other bytes: what was made from the older ones is not done."""
    for name in sorted(state.outcome.done):
        call = state.plan.calls[name]
        if made in call.inputs.values() and not store.is_done(
            store.call_folder(state.folder, name), call.output, call.inputs
        ):
            state.outcome.done.remove(name)
            state.waiting[name] = call
            state.log(f"{name}: made from another {made}; to be run again")


def _skip(state: State) -> None:
    """Move calls below a failed one to skipped."""
    outcome, found = state.outcome, True
    while found:
        found = False
        for name, call in list(state.waiting.items()):
            above = [maker for maker in call.inputs.values() if maker in outcome.failed or maker in outcome.skipped]
            if above:
                found = True
                outcome.skipped[name] = outcome.skipped.get(above[0], above[0])
                del state.waiting[name]
                state.log(f"{name}: skipped, since {outcome.skipped[name]} failed")
