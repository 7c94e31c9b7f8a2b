"""The process around a stage: its lock, its end with its parent, its signals."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from pipelines.runtime.errors import LockedError

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Linux: be killed when the parent ends, so that a killed `dvc` leaves no second writer behind. Else a no-op."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended between the two calls
        os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def hold_lock(path: Path, label: str, *, needed: bool = True) -> Iterator[None]:
    """Hold an exclusive lock file or raise LockedError with the holder's PID. The file itself is never deleted."""
    if not needed:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Python's descriptors are not inherited over exec; a child that forks without exec would hold the lock on
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise LockedError(
                f"{label} is held by process {holder} ({path}); wait for it or end it, then run the same command"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


class StopRequested(BaseException):
    """A signal asked the stage to end. BaseException, so that no `except Exception` swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.name = signal.Signals(number).name


class Stop:
    """Turns SIGTERM and SIGINT into StopRequested: at once, or (`deferred`) when the training loop next asks."""

    def __init__(self) -> None:
        self.deferred = False
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGTERM, signal.SIGINT):
            # only a main thread may set handlers; a flow or a test may run a stage in another one
            with contextlib.suppress(ValueError):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        if not self.deferred:
            raise StopRequested(number)

    def check(self) -> None:
        """Raise if a signal came."""
        if self.number is not None:
            raise StopRequested(self.number)
