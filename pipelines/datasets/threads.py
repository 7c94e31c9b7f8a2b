"""Work in a few threads, results in the order of the input, and never more than a few of them in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
WORKERS, AHEAD = 4, 6


def in_order(function: Callable[[S], T], items: Iterable[S], *, workers: int = WORKERS) -> Iterator[T]:
    """function(item) of each item, computed in `workers` threads, at most AHEAD results before the one that is asked.

    An exception of the function is raised at its item's place; the items after it are not begun.
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
