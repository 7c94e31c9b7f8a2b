"""The table of a study: table.json holds all numbers, table.csv the same flat, table.md the page to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.runtime.artifacts import canonical_json, write_bytes, write_csv, write_json
from pipelines.runtime.curves import share_to
from pipelines.study.compare import compared, correct, over_reference
from pipelines.study.gather import Row, free_of_lesions, gather_rows, values_of
from pipelines.study.plan import changes, open_folder, read_plan, study_hash
from pipelines.study.render import flat_rows, markdown
from pipelines.study.spec import Job, Study
from pipelines.study.statistics import score

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
    rows, first = gather_rows(jobs, plan, folder, study.pool), study.metrics[0]
    records = [record for row in rows for record in row_records(row, rows, study)]
    comparisons = [record for pair in study.compare for record in compared(pair[0], pair[1], rows, study)]
    return {
        "name": study.name,
        "study": study_hash(study),
        "code": plan.get("code"),
        "commit": plan.get("commit"),
        "base": plan.get("base"),
        "hardware": machines(rows),
        "metrics": study.metrics,
        "reach": study.reach,
        "bootstrap": study.bootstrap,
        "pool": study.pool,
        "reference": study.reference,
        "families": {"reference": correct(records, first), "compare": correct(comparisons, first)},
        "rows": records,
        "comparisons": comparisons,
        "notes": mixtures(rows),
    }


def mixtures(rows: Sequence[Row]) -> list[str]:
    """A sentence for each version or device that is not the same in all results of the table."""
    found: dict[str, set[str]] = {}
    for cell in (cell for row in rows for cell in row.done):
        for step, facts in cell.made.items():
            if "device" in facts:
                found.setdefault(f"devices of the {step}s", set()).add(str(facts["device"]))
            for name, version in facts.get("versions", {}).items():
                found.setdefault(f"versions of {name}", set()).add(str(version))
    return [
        f"these results mix {what}: {', '.join(sorted(values))}"
        for what, values in sorted(found.items())
        if len(values) > 1
    ]


def machines(rows: Sequence[Row]) -> list[Record]:
    """Each machine on which a training ended (its last attempt), with the devices used there."""
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
        none: Record = {"mode": None, "foreground": None, "metrics": {}}
        return [{**head, **none, **over_reference(row, None, rows, study)}]
    records = []
    for view in row.views:
        images, share = free_of_lesions(row, view)
        found = {
            "mode": view[0],
            "foreground": view[1],
            "metrics": scores(row, view, study),
            "leaked": leaked(row, view),
            "lesion_free": images,
            "false_lesion": share,
            "training": training(row, study.reach),
        }
        records.append({**head, **found, **over_reference(row, view, rows, study)})
    return records


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


def training(row: Row, reach: float | None) -> Record:
    """Minutes of one training: mean over cells of wall and CPU time; unmeasured: attempts whose end nobody saw.

    reached: the cells whose validation images reached this Dice, of how many, and their mean minutes until then.
    """
    seconds = [cell.training for cell in row.done if cell.training]
    if not seconds:
        return {"wall_minutes": None, "cpu_minutes": None, "devices": [], "unmeasured": 0, "reached": None}
    return {
        "reached": None if reach is None else reached(row, reach),
        "wall_minutes": sum(each["wall"] for each in seconds) / len(seconds) / 60,
        "cpu_minutes": sum(each["cpu"] for each in seconds) / len(seconds) / 60,
        "devices": sorted({cell.device for cell in row.done}),
        "unmeasured": unmeasured(seconds),
    }


def unmeasured(seconds: Iterable[Mapping[str, Any]]) -> int:
    """Attempts of these trainings whose end nobody saw."""
    return sum(each["unmeasured"] + each["open"] for each in seconds)


def reached(row: Row, target: float) -> Record:
    """See `training`; a training's time is taken to go by evenly over its steps. unmeasured: attempts of those
    trainings that reached it.
    """
    cells = [cell for cell in row.done if cell.training and cell.curve]
    shares = [(share, cell.training) for cell in cells if (share := share_to(cell.curve, target)) is not None]
    minutes = {key: [share * spent[key] / 60 for share, spent in shares] for key in ("wall", "cpu")}
    return {
        "cells": len(shares),
        "of": len(cells),
        "unmeasured": unmeasured(spent for _, spent in shares),
        **{f"{key}_minutes": sum(found) / len(found) if found else None for key, found in minutes.items()},
    }
