"""Lines in a log: the last one always, the others at most once a second; other ranks are silent."""

from __future__ import annotations

import pytest

from pipelines.runtime import progress
from pipelines.runtime.progress import Progress


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    return clock


def make(clock: Clock, **options: object) -> Progress:
    return Progress("train", 10, _started=clock.now, _last=clock.now, **options)


def test_at_most_a_line_a_second_and_always_the_last(clock, capsys):
    shown = make(clock)
    for done in range(1, 11):
        clock.now += 0.4
        shown.update(done, "loss 1.0")
    assert capsys.readouterr().out.splitlines() == [
        "train: 3/10, 3 s left | loss 1.0",
        "train: 6/10, 2 s left | loss 1.0",
        "train: 9/10, 0 s left | loss 1.0",
        "train: 10/10 | loss 1.0",
    ]


def test_the_time_left_counts_the_steps_of_this_process_alone(clock, capsys):
    shown = make(clock, first=6)
    clock.now += 4
    shown.update(8)
    assert capsys.readouterr().out == "train: 8/10, 4 s left\n"


def test_other_ranks_are_silent(clock, capsys):
    make(clock, quiet=True).update(10)
    assert capsys.readouterr().out == ""
