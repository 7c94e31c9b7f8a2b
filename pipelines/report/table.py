"""The table of arms: means over images and seeds, intervals over groups, gains against the control.

An image's score is averaged over the seeds first; then images are averaged. A cell that was not run stays empty and is
printed so; nothing is filled in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.report.gather import Cell, Gathered
from pipelines.runtime.bootstrap import Interval, group_interval
from pipelines.runtime.errors import ArtifactError
from pipelines.runtime.per_case import COMPONENT_LIMIT, lesion_free, missed, scored, seen, with_lesion
from pipelines.runtime.randomness import numpy_generator_for

CONTROL = "control"
AVERAGED = (
    *("dice", "iou", "hd95", "assd", "ece", "brier", "ece_box", "brier_box"),
    *("dice_native", "iou_native", "hd95_native", "assd_native", "hd95_mm", "assd_mm"),
)


@dataclass(frozen=True)
class SiteScore:
    """Of the test images of one site: those with a lesion, their groups, Dice over groups; those without one, and the
    share of them with a false positive pixel; vanished: lesions that Dice leaves out, as in `ArmRow`.
    """

    site: str
    images: int
    groups: int
    dice: Interval | None
    lesion_free: int
    false_positive: float | None
    vanished: int = 0


@dataclass(frozen=True)
class ArmRow:
    """One line: an arm under one way of prediction for one foreground class.

    seeds: those that ran; missing: those of params that did not. images: with a lesion; vanished: those of them whose
    lesion is too small for the working size: scores at that size (Dice, gain, per_image, ...) leave them out, scores at
    native size and `missed` do not. means: metric -> mean over the images that it is defined for, None where there is
    none. per_image: Dice of each, averaged over seeds. copies: synthetic images that copy a test image
    (flagged, hard), where the arm saw synthetic images. gain: against the control, by image and seed. by_call: mean
    Dice after each call of the denoiser. leaked: images with a lesion that train or val knows; clean: Dice over all
    others, where there are leaked ones. sites: where the test images are of several.
    """

    arm: str
    mode: str
    foreground: str
    seeds: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    images: int = 0
    groups: int = 0
    dice: Interval | None = None
    seed_sd: float | None = None
    median: float | None = None
    means: dict[str, float | None] = field(default_factory=dict)
    missed: float | None = None
    false_positive: float | None = None
    false_component: float | None = None
    lesion_free: int = 0
    gain: Interval | None = None
    copies: tuple[int, int] | None = None
    per_image: tuple[float, ...] = ()
    collapsed: bool = False
    by_call: tuple[float, ...] = ()
    leaked: int = 0
    clean: Interval | None = None
    sites: tuple[SiteScore, ...] = ()
    vanished: int = 0


def arm_rows(found: Gathered, draws: int) -> list[ArmRow]:
    """One row per arm, mode and foreground class, in the order of params; arms that were not run have no seeds."""
    rows = []
    for arm in found.selection.arms:
        cells = [cell for seed in found.selection.seeds if (cell := found.cells[arm, seed])]
        missing = tuple(seed for seed in found.selection.seeds if not found.cells[arm, seed])
        if not cells:
            rows.append(ArmRow(arm, "", "", missing=missing))
            continue
        for mode, foreground in dict.fromkeys((row["mode"], row["foreground"]) for row in cells[0].rows):
            rows.append(arm_row(found, cells, mode, foreground, missing, draws))
    return rows


def arm_row(
    found: Gathered, cells: list[Cell], mode: str, foreground: str, missing: tuple[int, ...], draws: int
) -> ArmRow:
    """The numbers of one arm from its cells (one per seed)."""
    arm = cells[0].arm
    tables = [_rows(cell, mode, foreground) for cell in cells]
    lesion, free = with_lesion(tables[0]), [lesion_free(table) for table in tables]
    visible = seen(lesion)
    dice = column(tables, visible, "dice")
    copies = cells[0].metrics.get("copies_of_test")
    hard = bool(copies and copies["hard"])
    known = [row for row in lesion if row["leaked"] != "true"]
    leaks = len(known) < len(lesion)
    rng = numpy_generator_for(0, f"report/{arm}/{mode}/{foreground}", 0)
    per_seed = [float(np.mean(values)) for values in dice.T] if visible else []
    return ArmRow(
        arm=arm,
        mode=mode,
        foreground=foreground,
        seeds=tuple(cell.seed for cell in cells),
        missing=missing,
        images=len(lesion),
        groups=len({row["group"] for row in lesion}),
        dice=group_interval(dice, [row["group"] for row in visible], draws, rng) if visible else None,
        seed_sd=float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
        median=float(np.median(dice.mean(axis=1))) if visible else None,
        means={metric: mean_of(column(tables, scored(lesion, metric), metric)) for metric in AVERAGED},
        missed=float(np.mean([missed(_same(table, lesion)) for table in tables])),
        false_positive=_share(free, "predicted_area", 0.0),
        false_component=_share(free, "largest_component", COMPONENT_LIMIT),
        lesion_free=len(free[0]),
        gain=None if hard else gain(found, cells, mode, foreground, draws),
        copies=(copies["flagged"], copies["hard"]) if copies else None,
        per_image=tuple(float(value) for value in dice.mean(axis=1)),
        by_call=mean_by_call(cells, foreground) if mode == cells[0].metrics.get("primary") else (),
        collapsed=any(
            cell.metrics.get("modes", {}).get(mode, {}).get(foreground, {}).get("collapsed") for cell in cells
        ),
        leaked=len(lesion) - len(known),
        clean=dice_interval(tables, seen(known), draws, f"{arm}/{mode}/{foreground}/clean") if leaks else None,
        sites=site_scores(tables, f"{arm}/{mode}/{foreground}", draws),
        vanished=len(lesion) - len(visible),
    )


def dice_interval(
    tables: list[list[dict[str, str]]], images: list[dict[str, str]], draws: int, stream: str
) -> Interval | None:
    """Dice over some of the images; None without one."""
    if not images:
        return None
    rng = numpy_generator_for(0, f"report/{stream}", 0)
    return group_interval(column(tables, images, "dice"), [row["group"] for row in images], draws, rng)


def site_scores(tables: list[list[dict[str, str]]], stream: str, draws: int) -> tuple[SiteScore, ...]:
    """One per site, sorted; () where all images are of one."""
    names = sorted({row["site"] for row in tables[0]})
    scores = []
    for name in names if len(names) > 1 else []:
        own = [row for row in tables[0] if row["site"] == name]
        lesion, free = with_lesion(own), [_same(table, lesion_free(own)) for table in tables]
        groups, visible = len({row["group"] for row in lesion}), seen(lesion)
        dice = dice_interval(tables, visible, draws, f"{stream}/site/{name}")
        false, vanished = _share(free, "predicted_area", 0.0), len(lesion) - len(visible)
        scores.append(SiteScore(name, len(lesion), groups, dice, len(free[0]), false, vanished))
    return tuple(scores)


def gain(found: Gathered, cells: list[Cell], mode: str, foreground: str, draws: int) -> Interval | None:
    """Mean Dice difference to the control by image and seed; None without a control of a common seed, or for itself.

    Arms are compared under their own `mode`; a control that was not predicted that way gives none.
    """
    arm = cells[0].arm
    pairs = [(cell, other) for cell in cells if (other := found.cells.get((CONTROL, cell.seed)))]
    pairs = [pair for pair in pairs if any(row["mode"] == mode for row in pair[1].rows)]
    if arm == CONTROL or not pairs:
        return None
    ours = [_rows(cell, mode, foreground) for cell, _ in pairs]
    theirs = [_rows(other, mode, foreground) for _, other in pairs]
    visible = scored(ours[0], "dice")
    if not visible:
        return None
    difference = column(ours, visible, "dice") - column(theirs, visible, "dice")
    rng = numpy_generator_for(0, f"report/gain/{arm}/{mode}/{foreground}", 0)
    return group_interval(difference, [row["group"] for row in visible], draws, rng)


def mean_by_call(cells: list[Cell], foreground: str) -> tuple[float, ...]:
    """Mean over seeds of the Dice after each call; empty for a system without a denoiser."""
    curves = [cell.metrics.get("dice_by_call", {}).get(foreground, []) for cell in cells]
    return tuple(float(np.mean(values)) for values in zip(*curves, strict=True))


def column(tables: list[list[dict[str, str]]], images: list[dict[str, str]], metric: str) -> np.ndarray:
    """(images, seeds) float64 of one metric, NaN where a cell is empty."""
    values = [[float(row[metric] or "nan") for row in _same(table, images)] for table in tables]
    return np.array(values, dtype=np.float64).reshape(len(tables), len(images)).T


def mean_of(values: np.ndarray) -> float | None:
    """Mean over the numbers that exist, None where none does."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _rows(cell: Cell, mode: str, foreground: str) -> list[dict[str, str]]:
    return [row for row in cell.rows if row["mode"] == mode and row["foreground"] == foreground]


def _same(table: list[dict[str, str]], images: list[dict[str, str]]) -> list[dict[str, str]]:
    by_case = {row["case"]: row for row in table}
    missing = [row["case"] for row in images if row["case"] not in by_case]
    if missing:
        raise ArtifactError(
            f"results: expected the same test images for all arms and seeds, found one without {missing[0]!r}; "
            "run `dvc repro`"
        )
    return [by_case[row["case"]] for row in images]


def _share(tables: list[list[dict[str, Any]]], key: str, above: float) -> float | None:
    values = [float(row[key]) > above for table in tables for row in table]
    return float(np.mean(values)) if values else None
