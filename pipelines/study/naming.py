"""Names in study.yaml: axes, labels, metrics, and the selectors that speak of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.runtime.artifacts import canonical_json
from pipelines.runtime.errors import ParamsError
from pipelines.study.columns import HEADS, flat_columns

if TYPE_CHECKING:
    from pipelines.study.spec import Job, Study

SEED = "seed"
MODE, FOREGROUND = "mode", "foreground"  # a selector may name these beside the axes
METRICS = ("dice", "iou", "hd95", "assd", "ece", "brier", "ece_box", "brier_box")
KNOWN_METRICS = (
    *METRICS,
    *(f"{name}_native" for name in METRICS),
    "hd95_mm",
    "assd_mm",
    "error_auroc",
    "error_auroc_box",
)


def text_of(value: Any) -> str:
    """How a value of an axis is written in tables and selectors."""
    return value if isinstance(value, str) else canonical_json(value).strip().replace("\n", "")


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one; "" where none is known."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)), "")


def means(selector: Mapping[str, Any], axes: Mapping[str, str]) -> bool:
    """Whether a row of these axes has the labels that a selector names."""
    return all(axes.get(name) == text_of(value) for name, value in selector.items() if name not in (MODE, FOREGROUND))


def check_names(study: Study, path: Path) -> None:
    """ParamsError for an unknown name of an axis, a label or a metric, and for an axis named as a column is."""
    labels: dict[str, set[str]] = {}
    for grid in study.grids:
        for name, values in grid.axes.items():
            labels.setdefault(name, set()).update(text_of(v) if isinstance(values, list) else v for v in values)
    for metric in study.metrics:
        if metric not in KNOWN_METRICS:
            raise ParamsError(
                f"{path}: metrics: unknown metric {metric!r}; the nearest known one is "
                f"{nearest(metric, KNOWN_METRICS)!r}"
            )
    if len(set(study.metrics)) < len(study.metrics):
        raise ParamsError(f"{path}: metrics: expected each once, found {study.metrics}")
    for axis in sorted({*HEADS, *flat_columns(study.metrics)} & labels.keys()):
        raise ParamsError(f"{path}: an axis cannot be named {axis!r}: a column of the table has that name")
    if study.pool is not None and (study.pool not in labels or study.pool == SEED):
        near = nearest(study.pool, labels.keys() - {SEED})
        rest = f"the nearest is {near!r}" if near else f"there is none but {SEED}"
        raise ParamsError(f"{path}: pool: expected an axis to put together, found {study.pool!r}; {rest}")
    for place, selector in _selectors(study):
        for name, value in selector.items():
            known = (labels.keys() - {SEED, study.pool}) | {MODE, FOREGROUND}
            if name not in known:
                raise ParamsError(
                    f"{path}: {place}: no axis is named {name!r}; the nearest is {nearest(name, known)!r}"
                )
            if name in labels and text_of(value) not in labels[name]:
                raise ParamsError(
                    f"{path}: {place}.{name}: no row has {text_of(value)!r}; the nearest is "
                    f"{nearest(text_of(value), labels[name])!r}"
                )
    for number, pair in enumerate(study.compare):
        classes = {text_of(selector[FOREGROUND]) for selector in pair if FOREGROUND in selector}
        if len(classes) > 1:
            raise ParamsError(
                f"{path}: compare.{number}: {FOREGROUND}: expected one class on both sides, found {sorted(classes)}"
            )


def check_selectors(study: Study, jobs: Iterable[Job], path: Path) -> None:
    """ParamsError for a selector whose labels exist, but in no row together."""
    rows = [job.axes for job in jobs]
    for place, selector in _selectors(study):
        if not any(means(selector, axes) for axes in rows):
            raise ParamsError(f"{path}: {place}: no row has all of {selector}; see the grids")


def _selectors(study: Study) -> list[tuple[str, Mapping[str, Any]]]:
    found: list[tuple[str, Mapping[str, Any]]] = [("reference", study.reference or {})]
    return found + [(f"compare.{n}", selector) for n, pair in enumerate(study.compare) for selector in pair]
