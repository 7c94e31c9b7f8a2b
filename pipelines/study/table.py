"""The table of a study: table.json holds all numbers, table.csv the same flat, table.md the page to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.runtime.artifacts import canonical_json, write_bytes, write_csv, write_json
from pipelines.study.gather import Row, gather_rows, matches, paired, partner, values_of, view_of
from pipelines.study.plan import changes, open_folder, read_plan, study_hash
from pipelines.study.render import flat_rows, markdown
from pipelines.study.spec import Job, Selector, Study
from pipelines.study.statistics import gain, holm, score

Record = dict[str, Any]


def write_table(study: Study, jobs: Sequence[Job], file: Path, folder: Path, root: Path) -> list[str]:
    """Write the three files into the study's folder; returns the lines to print: the page and where the files are."""
    plan = read_plan(folder)
    table = build_table(study, jobs, plan, folder)
    table["notes"] += changes(study, file, plan, root)
    page = markdown(table)
    open_folder(folder)
    columns, lines = flat_rows(table)
    write_json(folder / "table.json", table)
    write_csv(folder / "table.csv", lines, columns)
    write_bytes(folder / "table.md", page.encode())
    return [page, f"written: {folder / 'table.md'}, table.csv, table.json"]


def build_table(study: Study, jobs: Sequence[Job], plan: Mapping[str, Any], folder: Path) -> Record:
    """All numbers as JSON values: facts of the study, rows, comparisons."""
    rows = gather_rows(jobs, plan, folder, study.pool)
    records = [record for row in rows for record in row_records(row, rows, study)]
    correct([record["gain"][study.metrics[0]] for record in records if record.get("gain")])
    comparisons = [record for pair in study.compare for record in compared(pair[0], pair[1], rows, study)]
    correct([record["gain"][study.metrics[0]] for record in comparisons if record["gain"]])
    return {
        "name": study.name,
        "study": study_hash(study),
        "code": plan.get("code"),
        "commit": plan.get("commit"),
        "base": plan.get("base"),
        "hardware": machines(rows),
        "metrics": study.metrics,
        "bootstrap": study.bootstrap,
        "pool": study.pool,
        "reference": study.reference,
        "rows": records,
        "comparisons": comparisons,
        "notes": [],
    }


def machines(rows: Sequence[Row]) -> list[Record]:
    """Each machine on which a segmenter was trained, with the devices it used there."""
    devices: dict[str, set[str]] = {}
    known: dict[str, Record] = {}
    for cell in (cell for row in rows for cell in row.done if cell.training):
        hardware = dict(cell.training.get("hardware", {}))
        name = canonical_json(hardware)
        known[name] = hardware
        devices.setdefault(name, set()).add(cell.device)
    return [{**known[name], "devices": sorted(devices[name])} for name in sorted(known)]


def row_records(row: Row, rows: Sequence[Row], study: Study) -> list[Record]:
    """One record per mode and foreground class; a single one that says why where nothing is done."""
    head = {"axes": dict(row.axes), "asked": len(row.asked), "done": len(row.seeds), "missing": dict(row.missing)}
    if not row.views:
        return [{**head, "mode": None, "foreground": None, "metrics": {}}]
    return [
        {
            **head,
            "mode": view[0],
            "foreground": view[1],
            "metrics": scores(row, view, study),
            "leaked": leaked(row, view),
            "training": training(row),
            "gain": reference_gain(row, view, rows, study),
        }
        for view in row.views
    ]


def scores(row: Row, view: tuple[str, str], study: Study) -> Record:
    """metric -> mean, sd, low, high, images, groups; None where no image has it."""
    found: Record = {}
    for metric in study.metrics:
        values = values_of(row, view, metric, row.seeds)
        stream = f"{metric}/{'/'.join(view)}"
        found[metric] = asdict(score(values.table, values.groups, study.bootstrap, stream)) if values else None
    return found


def leaked(row: Row, view: tuple[str, str]) -> int:
    """How many test images have a relative in train or val, by the split's count."""
    tables = [cells[row.seeds[0]].tables[view] for cells in row.cells.values()]
    return sum(each["leaked"] == "true" for table in tables for each in table)


def training(row: Row) -> Record:
    """Minutes of one training: mean over cells of wall and CPU time; unmeasured: attempts whose end nobody saw."""
    seconds = [cell.training for cell in row.done if cell.training]
    if not seconds:
        return {"wall_minutes": None, "cpu_minutes": None, "devices": [], "unmeasured": 0}
    return {
        "wall_minutes": sum(each["wall"] for each in seconds) / len(seconds) / 60,
        "cpu_minutes": sum(each["cpu"] for each in seconds) / len(seconds) / 60,
        "devices": sorted({cell.device for cell in row.done}),
        "unmeasured": sum(each["unmeasured"] + each["open"] for each in seconds),
    }


def reference_gain(row: Row, view: tuple[str, str], rows: Sequence[Row], study: Study) -> Record | None:
    """Paired differences to the reference; None for the reference itself and where it has nothing in common."""
    if study.reference is None:
        return None
    other = partner(row, study.reference, rows, study.reference, "reference")
    theirs = view_of(other, study.reference, view) if other else None
    if other is None or theirs is None or (other is row and theirs == view):
        return None
    return gains(row, view, other, theirs, study)


def compared(first: Selector, second: Selector, rows: Sequence[Row], study: Study) -> list[Record]:
    """Written-down comparisons: one per row that the first selector means, gain None where a side is not run."""
    records = []
    for row in (row for row in rows if matches(row, first)):
        other = partner(row, second, rows, {*first, *second}, "compare")
        ours = view_of(row, first, None)
        theirs = view_of(other, second, None) if other else None
        found = gains(row, ours, other, theirs, study) if other and ours and theirs else None
        on = {name: label for name, label in row.axes.items() if name not in {*first, *second}}
        records.append({"first": dict(first), "second": dict(second), "on": on, "modes": [ours, theirs], "gain": found})
    return records


def gains(row: Row, ours: tuple[str, str], other: Row, theirs: tuple[str, str], study: Study) -> Record | None:
    """metric -> paired difference over common seeds and images; None without such."""
    seeds = [seed for seed in row.seeds if seed in other.seeds]
    if not seeds:
        return None
    found: Record = {}
    for metric in study.metrics:
        first, second = values_of(row, ours, metric, seeds), values_of(other, theirs, metric, seeds)
        both = paired(first, second) if first and second else None
        found[metric] = asdict(gain(*both, study.bootstrap, f"gain/{metric}")) if both else None
    return found if found[study.metrics[0]] else None


def correct(found: Sequence[Record]) -> None:
    """Write `p_holm` into each: these comparisons are one family."""
    for record, p in zip(found, holm([record["p"] for record in found]), strict=True):
        record["p_holm"] = p
