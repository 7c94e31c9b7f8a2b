"""Paired differences of a study's rows: gains over the reference, and the comparisons that study.yaml writes down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.runtime.artifacts import canonical_json
from pipelines.runtime.errors import ParamsError
from pipelines.study.gather import Row, gather_rows, paired, partner, values_of, view_of
from pipelines.study.naming import SEED, means
from pipelines.study.spec import Job, Selector, Study
from pipelines.study.statistics import gain, holm

Record = dict[str, Any]
View = tuple[str, str]  # mode, foreground class
TEST_IMAGES = ("split", "dataset", "datasets")  # blocks of params that say which images are scored


def check_rows(study: Study, jobs: Sequence[Job]) -> None:
    """ParamsError, before anything is run, for a table that could not be made of these jobs: selectors that mean
    several rows, and seeds of a row that would score other images.
    """
    rows = gather_rows(jobs, {"jobs": {}, "calls": {}}, Path(), study.pool)
    for row in rows:
        over_reference(row, None, rows, study)
    for first, second in study.compare:
        compared(first, second, rows, study)
    alike: dict[str, tuple[Job, Record]] = {}
    for job in jobs:
        scored = {key: value for key, value in job.settings.items() if key.partition(".")[0] in TEST_IMAGES}
        row_name = canonical_json({name: label for name, label in job.axes.items() if name != SEED})
        other, expected = alike.setdefault(row_name, (job, scored))
        if scored != expected:
            key = min(key for key in scored | expected if scored.get(key) != expected.get(key))
            raise ParamsError(
                f"{job.source}: {job.label}: {key}: expected {expected.get(key)!r} as in seed {other.seed}, found "
                f"{scored.get(key)!r}: a row has the same test images in all seeds; make it an axis, and `pool` that "
                "axis to put its images together"
            )


def over_reference(row: Row, view: View | None, rows: Sequence[Row], study: Study) -> Record:
    """`gain` of one view of a row (None: the row is not run) over the reference, or None; `why` there is none; and
    whether a test of it was `planned`: not for the reference itself, nor where no row is the reference of this one, nor
    for another mode than the primary one, which a row that is not run would not count.
    """
    other = partner(row, study.reference, rows, "reference") if study.reference else None
    if study.reference is None or other is None:
        return {"gain": None, "why": "no such reference" if study.reference else "", "planned": False}
    if view is None:
        return {"gain": None, "why": "not run" * (other is not row), "planned": other is not row}
    theirs = view_of(other, study.reference, view[1], view[0])
    if other is row and theirs == view:
        return {"gain": None, "why": "", "planned": False}
    primary = view[0] == row.views[0][0]
    return {**difference(row, view, other, theirs, study, "reference", test=primary), "planned": primary}


def compared(first: Selector, second: Selector, rows: Sequence[Row], study: Study) -> list[Record]:
    """One written-down comparison: a record per row that the first selector means and per class that both sides have;
    one record that says why where there is nothing to compare.
    """
    records = []
    for row in (row for row in rows if means(first, row.axes)):
        other = partner(row, second, rows, "compare")
        on = {name: label for name, label in row.axes.items() if name not in {*first, *second}}
        head = {"first": dict(first), "second": dict(second), "on": on, "modes": [None, None], "foreground": None}
        if other is None:
            records.append({**head, "gain": None, "why": "no such second row", "planned": False})
            continue
        found = []
        for name in _common_classes(row, other):
            ours, theirs = view_of(row, first, name), view_of(other, second, name)
            if ours is not None and theirs is not None:
                view = {"modes": [ours[0], theirs[0]], "foreground": name}
                found.append({**head, **view, **difference(row, ours, other, theirs, study, "second"), "planned": True})
        why = "first not run" if not row.views else "second not run" if not other.views else "no common mode or class"
        records += found or [{**head, "gain": None, "why": why, "planned": True}]
    return records


def _common_classes(row: Row, other: Row) -> list[str]:
    theirs = {view[1] for view in other.views}
    return [name for name in dict.fromkeys(view[1] for view in row.views) if name in theirs]


def difference(
    row: Row, ours: View, other: Row, theirs: View | None, study: Study, label: str, *, test: bool = True
) -> Record:
    """`gain`: metric -> paired difference over common seeds and images; None, and `why`, without such.

    test: give p of the first metric.
    """
    if theirs is None:
        return {"gain": None, "why": f"{label} {'has no such mode or class' if other.views else 'not run'}"}
    seeds = [seed for seed in row.seeds if seed in other.seeds]
    if not seeds:
        return {"gain": None, "why": "no common seed"}
    found: Record = {}
    for metric in study.metrics:
        first, second = values_of(row, ours, metric, seeds), values_of(other, theirs, metric, seeds)
        both = paired(first, second) if first and second else None
        tested = test and metric == study.metrics[0]
        found[metric] = asdict(gain(*both, study.bootstrap, f"gain/{metric}", test=tested)) if both else None
    if found[study.metrics[0]] is None:
        return {"gain": None, "why": "no common image"}
    return {"gain": found, "why": ""}


def correct(records: Sequence[Record], metric: str) -> Mapping[str, int]:
    """Write `p_holm` into the gains of one family: all that were planned. What is not there yet counts as p = 1, so
    that a p does not grow as the study goes on (but where a row comes with several classes, each of which counts).
    Returns the size of the family and how many of it are there.
    """
    planned = [record["gain"][metric] if record["gain"] else None for record in records if record["planned"]]
    for found, p in zip(planned, holm([found["p"] if found else 1.0 for found in planned]), strict=True):
        if found:
            found["p_holm"] = p
    return {"planned": len(planned), "there": sum(found is not None for found in planned)}
