"""The dvc command line as a child process; dvc itself is imported nowhere.

DVC's locks are re-entrant inside one process, so two threads through its Python API may run one stage twice at once. A
child process in a group of its own has real locks, can be killed whole, and leaves its exit code behind.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from pipelines.runtime.errors import LockedError, ParamsError, SonoSynthError

GRACE_S = 10.0  # a stage finishes its step and saves its state within this time
TAIL_LINES = 20
LOCK_SIGNS = ("is busy, it is being blocked by", "Unable to acquire lock", "exited with 75")

_NODE = re.compile(r'^"(?P<stage>[^"]+)";$')
_EDGE = re.compile(r'^"(?P<parent>[^"]+)" -> "(?P<child>[^"]+)";$')
_UNCHANGED = re.compile(r"^(?:Stage )?'(?P<stage>[^']+)' didn't change, skipping")
_RESTORED = re.compile(r"^Stage '(?P<stage>[^']+)' is cached - skipping run")
_RUNNING = re.compile(r"^(?:Running stage|Verifying data sources in stage:?) '(?P<stage>[^']+)'")
_EXITED = re.compile(r"failed to reproduce '(?P<stage>[^']+)': .*exited with (?P<code>-?\d+)")


class DvcError(SonoSynthError):
    """dvc itself refused: a bad dvc.yaml, a damaged dvc.lock, a missing raw folder."""


class DvcTimeoutError(SonoSynthError):
    """The runner's deadline passed; the whole process group was ended."""


class StageFailedError(SonoSynthError):
    """A stage ended with a code other than 0.

    stage: its name; code: its own exit code (negative: the signal that ended it); tail: the last lines it wrote.
    """

    def __init__(self, stage: str, code: int, tail: Sequence[str]) -> None:
        self.stage, self.code, self.tail = stage, code, tuple(tail)
        super().__init__(f"stage {stage} exited with {code}: {_last_words(tail)}")

    def __reduce__(self) -> tuple[type, tuple[str, int, tuple[str, ...]]]:
        return type(self), (self.stage, self.code, self.tail)


class Outcome(StrEnum):
    """What became of one stage."""

    UNCHANGED = "unchanged"
    RESTORED = "restored from cache"
    RAN = "ran"


@dataclass(frozen=True)
class Graph:
    """The stages of a workspace. order: parents first; parents: stage -> the stages it reads from."""

    order: tuple[str, ...]
    parents: Mapping[str, frozenset[str]]

    def ancestors(self, stage: str) -> set[str]:
        """All stages above `stage`, itself not included."""
        found: set[str] = set()
        waiting = list(self.parents[stage])
        while waiting:
            parent = waiting.pop()
            if parent not in found:
                found.add(parent)
                waiting.extend(self.parents[parent])
        return found

    def up_to(self, targets: Iterable[str]) -> "Graph":
        """The part that `targets` need. A matrix name (`segment`) means all its items (`segment@both-0`).

        Raises ParamsError on a name that no stage has.
        """
        wanted: set[str] = set()
        for target in targets:
            named = {stage for stage in self.order if stage == target or stage.startswith(f"{target}@")}
            if not named:
                raise ParamsError(f"targets: no stage is named {target!r}; {self._nearest(target)}")
            wanted |= named.union(*(self.ancestors(stage) for stage in named))
        order = tuple(stage for stage in self.order if stage in wanted)
        return Graph(order, {stage: self.parents[stage] for stage in order})

    def _nearest(self, name: str) -> str:
        groups = dict.fromkeys([stage.partition("@")[0] for stage in self.order])
        near = get_close_matches(name, [*groups, *self.order], n=1)
        return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(groups)}"


def parse_graph(dot: str) -> Graph:
    """Graph from the text of `dvc dag --dot`. Ties keep the order in which dvc names the stages."""
    parents: dict[str, set[str]] = {}
    for line in dot.splitlines():
        if edge := _EDGE.match(line.strip()):
            parents.setdefault(edge["parent"], set())
            parents.setdefault(edge["child"], set()).add(edge["parent"])
        elif node := _NODE.match(line.strip()):
            parents.setdefault(node["stage"], set())
    order: list[str] = []
    while len(order) < len(parents):
        ready = [stage for stage in parents if stage not in order and parents[stage] <= set(order)]
        if not ready:
            raise DvcError(f"dvc dag: the stages {sorted(set(parents) - set(order))} form a circle")
        order.append(ready[0])
    return Graph(tuple(order), {stage: frozenset(parents[stage]) for stage in order})


def parse_outcomes(lines: Iterable[str]) -> dict[str, Outcome]:
    """Stage -> outcome from the lines of `dvc repro`, in the order in which dvc reached them."""
    outcomes: dict[str, Outcome] = {}
    for line in lines:
        for pattern, outcome in (
            (_UNCHANGED, Outcome.UNCHANGED),
            (_RESTORED, Outcome.RESTORED),
            (_RUNNING, Outcome.RAN),
        ):
            if match := pattern.match(line):
                outcomes.setdefault(match["stage"], outcome)
    return outcomes


def error_of(lines: Sequence[str], code: int) -> SonoSynthError:
    """The typed error behind the last lines of a dvc that ended with `code` (always 255 for `repro`)."""
    text = "\n".join(lines)
    if any(sign in text for sign in LOCK_SIGNS):
        return LockedError(f"the workspace is in use: {_last_words(lines)}; wait for the other run or end it")
    if failed := _EXITED.search(text):
        return StageFailedError(failed["stage"], int(failed["code"]), lines)
    return DvcError(f"dvc ended with {code}: {_last_words(lines)}")


def environment() -> dict[str, str]:
    """The child's environment: the programs beside this Python first on PATH, telemetry off, lines unbuffered."""
    beside = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
        "DO_NOT_TRACK": "1",
    }


def run_dvc(
    arguments: Sequence[str],
    root: Path,
    *,
    on_line: Callable[[str], None] | None = None,
    deadline_s: float | None = None,
    grace_s: float = GRACE_S,
) -> list[str]:
    """Run `dvc ARGUMENTS` in root, call on_line with each line as it comes, return all lines.

    The child leads a process group of its own, and on Linux dies with the thread that calls this. Whatever ends the
    call early (the deadline, an exception, an interrupt) ends the group: SIGINT, SIGTERM, SIGKILL, each after grace_s.
    Raises LockedError, StageFailedError, DvcTimeoutError, DvcError.
    """
    tether = [sys.executable, "-IS", str(Path(__file__).with_name("tethered.py")), str(os.getpid())]
    child = subprocess.Popen(
        [*tether, "dvc", *arguments],
        cwd=root,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    lines: list[str] = []
    try:
        for line in _lines(child, deadline_s):
            lines.append(line)
            if on_line:
                on_line(line)
        code = child.wait()
    finally:
        end_group(child, grace_s)
        if child.stdout:
            child.stdout.close()
    if code != 0:
        raise error_of(list(deque(lines, TAIL_LINES)), code)
    return lines


def end_group(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """End all that is left of the child's process group; at once when nothing is."""
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if not _group_lives(child):
            return
        os.killpg(child.pid, signal_number)
        until = time.monotonic() + grace_s
        while _group_lives(child) and time.monotonic() < until:
            time.sleep(0.05)


def graph(root: Path) -> Graph:
    """The stages of the workspace at root. Raises DvcError on a dvc.yaml that dvc refuses."""
    return parse_graph("\n".join(run_dvc(["dag", "--dot"], root)))


def changed(root: Path) -> set[str]:
    """The stages that `dvc status` names. A stage below one of them may change too, once that one has run."""
    for line in reversed(run_dvc(["status", "--json"], root)):
        if line.startswith("{"):
            return set(json.loads(line))
    raise DvcError("dvc status: expected one JSON line, found none; run `dvc status` by hand")


def repro(
    root: Path,
    targets: Sequence[str] = (),
    *,
    on_line: Callable[[str], None] | None = None,
    deadline_s: float | None = None,
) -> dict[str, Outcome]:
    """`dvc repro TARGETS` (all stages without any), with what became of each stage that dvc reached."""
    return parse_outcomes(run_dvc(["repro", *targets], root, on_line=on_line, deadline_s=deadline_s))


def _lines(child: subprocess.Popen[bytes], deadline_s: float | None) -> Iterator[str]:
    """Lines of the child's output until it ends or closes it. Raises DvcTimeoutError.

    Ends with the child even where a process that it left behind still holds the pipe.
    """
    assert child.stdout is not None
    started, rest, descriptor = time.monotonic(), b"", child.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            ended = child.poll() is not None  # asked before the pipe is: what was written last is not lost
            if selector.select(timeout=0.1):
                chunk = os.read(descriptor, 65536)
                if not chunk:
                    break
                *complete, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
                yield from (text for line in complete if (text := line.decode(errors="replace").rstrip()))
            elif ended:
                break
            if deadline_s is not None and time.monotonic() - started > deadline_s:
                raise DvcTimeoutError(f"dvc: not done after the {deadline_s:g} s allowed; raise the deadline or resume")
    if text := rest.decode(errors="replace").rstrip():
        yield text


def _group_lives(child: subprocess.Popen[bytes]) -> bool:
    child.poll()  # a defunct leader would count as alive
    try:
        os.killpg(child.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _last_words(lines: Sequence[str]) -> str:
    """The line that says most: a stage's own error, else dvc's, else the last one."""
    for sign in (": error: ", "Error: ", "ERROR: "):
        for line in reversed(lines):
            if sign in line:
                return line.removeprefix("ERROR: ")
    return lines[-1] if lines else "it said nothing"
