from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pipelines.datasets.threads import AHEAD, in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_input(workers: int) -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number * number

    assert list(in_order(slow_first, range(30), workers=workers)) == [number * number for number in range(30)]
    assert list(in_order(slow_first, [], workers=workers)) == []


def test_only_a_few_are_ahead_of_the_reader() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    for seen, _ in enumerate(in_order(lambda number: number, numbers()), start=1):
        assert len(taken) <= seen + AHEAD


def test_an_error_is_raised_at_its_place_and_ends_the_work() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            begun.append(number)
        if number == 3:
            raise RuntimeError("third")
        return number

    results = in_order(work, range(1000), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="third"):
        next(results)
    assert len(begun) < 20
