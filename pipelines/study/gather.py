"""From what a study has done to the rows of its table: per-image scores by seed, grouped by the axes' values."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.runtime.artifacts import read_csv, read_manifest, verify_folder
from pipelines.runtime.curves import Curve, curve_of
from pipelines.runtime.errors import ArtifactError, ParamsError
from pipelines.runtime.per_case import COMPONENT_LIMIT, lesion_free, scored
from pipelines.study import store
from pipelines.study.naming import FOREGROUND, MODE, SEED, means, text_of
from pipelines.study.spec import Job, Selector

CaseRows = list[dict[str, str]]


@dataclass(frozen=True)
class Cell:
    """One evaluated segmenter. training: seconds.json of its training; curve: Dice of validation images by step; made:
    `evaluation`, `training` -> facts of the manifest, with device and versions.
    """

    dataset: str
    tables: Mapping[tuple[str, str], CaseRows]  # (mode, foreground) -> rows of per_case.csv; primary mode first
    training: Mapping[str, Any]
    curve: Curve
    made: Mapping[str, Mapping[str, Any]]

    @property
    def device(self) -> str:
        """Where it was trained; where it was evaluated, if its training has been removed."""
        return str((self.made.get("training") or self.made.get("evaluation", {})).get("device", ""))


@dataclass(frozen=True)
class Row:
    """Jobs that differ by seed alone (and by the pooled axis). axes: without these two. cells: part -> seed -> cell.

    asked: seeds of the file. missing: label of a job -> `not run`, why it failed, or how it is damaged.
    """

    axes: Mapping[str, str]
    asked: tuple[int, ...]
    cells: Mapping[str, Mapping[int, Cell]]
    missing: Mapping[str, str]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that are done, in every part."""
        return tuple(seed for seed in self.asked if all(seed in cells for cells in self.cells.values()))

    @property
    def done(self) -> list[Cell]:
        """The cells of these seeds."""
        return [cells[seed] for cells in self.cells.values() for seed in self.seeds]

    @property
    def views(self) -> list[tuple[str, str]]:
        """(mode, foreground) that all its cells have; the primary mode first."""
        if not self.done:
            return []
        first, *rest = self.done
        return [view for view in first.tables if all(view in cell.tables for cell in rest)]


@dataclass(frozen=True)
class Values:
    """One metric of one row. images: (dataset, part, case); groups: one name per image; table: (images, seeds)."""

    images: tuple[tuple[str, str, str], ...]
    groups: tuple[str, ...]
    table: np.ndarray


def gather_rows(jobs: Sequence[Job], plan: Mapping[str, Any], folder: Path, pool: str | None) -> list[Row]:
    """All rows in the order of the file, whether anything of them is done or not."""
    grouped: dict[tuple[tuple[str, str], ...], list[Job]] = {}
    for job in jobs:
        axes = tuple((name, label) for name, label in job.axes.items() if name not in (SEED, pool))
        grouped.setdefault(axes, []).append(job)
    return [_row(dict(axes), members, plan, folder, pool) for axes, members in grouped.items()]


def _row(axes: dict[str, str], jobs: list[Job], plan: Mapping[str, Any], folder: Path, pool: str | None) -> Row:
    cells: dict[str, dict[int, Cell]] = {}
    missing: dict[str, str] = {}
    for job in jobs:
        part = cells.setdefault(job.axes.get(pool, "") if pool else "", {})
        if job.seed in part:
            raise ParamsError(f"{job.source}: two jobs of seed {job.seed} in the row {axes}; make what differs an axis")
        state = job_state(plan, job, folder)
        if state == "done":
            try:
                part[job.seed] = load_cell(plan, job, folder)
            except ArtifactError as error:
                state = _damage(str(error))
        if state == "done" and not _same_images(part[job.seed], next(iter(part.values()))):
            del part[job.seed]
            state = f"damaged: its test images are not those of seed {next(iter(part))}; see its split and its data"
        if state != "done":
            missing[job.label] = state
    return Row(axes, tuple(dict.fromkeys(job.seed for job in jobs)), cells, missing)


def _damage(text: str) -> str:
    return f"damaged: {re.split('[;:,] run ', text)[0]}; run the study again"


def _same_images(cell: Cell, other: Cell) -> bool:
    return all(
        {each["case"] for each in cell.tables[view]} == {each["case"] for each in other.tables[view]}
        for view in cell.tables.keys() & other.tables.keys()
    )


def load_cell(plan: Mapping[str, Any], job: Job, folder: Path) -> Cell:
    """The scores of a job that is done. ArtifactError for a damaged result, ParamsError where nothing was scored."""
    calls = plan["calls"]
    for name in plan["jobs"][job.id]:
        results = store.call_folder(folder, name) / calls[name]["output"]
        if "per_case.csv" in read_manifest(results).files:
            break
    else:
        raise ParamsError(f"{job.source}: targets: a table needs per_case.csv; add `evaluate`")
    facts = verify_folder(results).facts
    tables: dict[tuple[str, str], CaseRows] = {}
    for row in read_csv(results / "per_case.csv"):
        tables.setdefault((row["mode"], row["foreground"]), []).append(row)
    training: Mapping[str, Any] = {}
    curve: Curve = []
    made = {"evaluation": facts}
    for place, maker in calls[name]["inputs"].items():
        root = store.call_folder(folder, maker)
        # a segmenter may have been removed to make room, or be half removed
        if place.startswith("models/segmenter/") and store.is_published(root, place):
            with contextlib.suppress(ArtifactError):
                made["training"] = read_manifest(root / place).facts
                training = store.read_seconds(root)
                curve = curve_of(read_csv(root / place / "metrics.csv"), "dice_val")
    return Cell(facts["dataset"], tables, training, curve, made)


def job_state(plan: Mapping[str, Any], job: Job, folder: Path) -> str:
    """`done`, `not run`, `begun` or `failed: call: reason`, by the plan of the last run."""
    names = plan["jobs"].get(job.id)
    if names is None:
        return "not run"
    calls, waiting = plan["calls"], list(names)
    if all(store.is_published(store.call_folder(folder, name), calls[name]["output"]) for name in names):
        return "done"
    reached: set[str] = set()
    begun = False
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            root = store.call_folder(folder, name)
            published = store.is_published(root, calls[name]["output"])
            if not published and (reason := store.read_failure(root)):
                return f"failed: {name}: {reason}"
            begun |= root.is_dir() and not published
            waiting += calls[name]["inputs"].values()
    return "begun" if begun else "not run"


def values_of(row: Row, view: tuple[str, str], metric: str, seeds: Sequence[int]) -> Values | None:
    """One metric of one (mode, foreground) over these seeds; None without an image that has it.

    Images whose lesion no pixel of the working size shows do not count (pipelines/runtime/per_case.py), nor do those
    without the metric in any of the seeds. Parts of the pooled axis are put one after another.
    """
    images: list[tuple[str, str, str]] = []
    groups: list[str] = []
    lines: list[list[float]] = []
    for part, cells in row.cells.items():
        tables = [{each["case"]: each for each in cells[seed].tables[view]} for seed in seeds]
        dataset = cells[seeds[0]].dataset
        for each in scored(tables[0].values(), metric):
            case = each["case"]
            texts = [table[case].get(metric, "") for table in tables]
            if all(texts):
                images.append((dataset, part, case))
                groups.append(f"{dataset}/{each['group']}")
                lines.append([float(text) for text in texts])
    return Values(tuple(images), tuple(groups), np.array(lines, dtype=np.float64)) if images else None


def paired(first: Values, second: Values) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
    """Both tables over the images that both have, and their groups; None without one."""
    places = {image: place for place, image in enumerate(second.images)}
    both = [(here, places[image]) for here, image in enumerate(first.images) if image in places]
    if not both:
        return None
    here, there = (list(side) for side in zip(*both, strict=True))
    return first.table[here], second.table[there], [first.groups[place] for place in here]


def free_of_lesions(row: Row, view: tuple[str, str]) -> tuple[int, float | None]:
    """(test images without a lesion; over them and the seeds, the share with a false lesion: a connected component of
    more than COMPONENT_LIMIT of the image).
    """
    tables = [[lesion_free(cells[seed].tables[view]) for seed in row.seeds] for cells in row.cells.values()]
    found = [float(each["largest_component"]) > COMPONENT_LIMIT for part in tables for table in part for each in table]
    return sum(len(part[0]) for part in tables), float(np.mean(found)) if found else None


def partner(row: Row, selector: Selector, rows: Iterable[Row], source: str) -> Row | None:
    """The row that a selector names for this one: equal on all axes that both have and that it leaves open.

    None where there is none; ParamsError where several are meant.
    """

    def same(other: Row) -> bool:
        return all(other.axes[name] == row.axes[name] for name in row.axes.keys() & other.axes.keys() - selector.keys())

    found = [other for other in rows if means(selector, other.axes) and same(other)]
    if len(found) > 1:
        raise ParamsError(
            f"{source}: {selector} means several rows, such as {found[0].axes} and {found[1].axes}; name more"
        )
    return found[0] if found else None


def view_of(row: Row, selector: Selector, foreground: str, mode: str | None = None) -> tuple[str, str] | None:
    """The view of a class: in the mode that a selector names; else in this mode, if the row has it; else its primary
    one. None where the row has no such view.
    """
    found = [view for view in row.views if view[1] == foreground == text_of(selector.get(FOREGROUND, foreground))]
    if MODE in selector:
        found = [view for view in found if view[0] == text_of(selector[MODE])]
    if mode is not None and (mode, foreground) in found:
        return mode, foreground
    return found[0] if found else None
