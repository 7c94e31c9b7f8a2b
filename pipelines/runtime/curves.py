"""Curves of a training's metrics.csv, and when they reached something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Rows = Sequence[Mapping[str, str]]
Curve = list[tuple[int, float]]


def curve_of(rows: Rows, column: str) -> Curve:
    """(step, value) of the rows that have a value in this column; none where there is no such column."""
    return [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]


def steps_to(curve: Sequence[tuple[int, float]], target: float) -> int | None:
    """The first step whose value is at least `target`; None where there is none."""
    return next((step for step, value in curve if value >= target), None)


def share_to(curve: Sequence[tuple[int, float]], target: float) -> float | None:
    """That step over the last one: the share of a training's time that went by until then."""
    step = steps_to(curve, target)
    return None if step is None else step / curve[-1][0]
