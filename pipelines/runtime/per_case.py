"""Which rows of per_case.csv enter which number: one rule for `evaluate`, which writes them, and for `report`.

A row is that of one image and one foreground class. `empty` (working size) and `empty_native` say which of the two
masks holds no pixel: "" (none), "target", "prediction" or "both".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

R = TypeVar("R", bound=Mapping[str, Any])

COMPONENT_LIMIT = 0.005  # share of the image above which a false component counts as a false lesion


def with_lesion(rows: Iterable[R]) -> list[R]:
    """Images that have a lesion at native size."""
    return [row for row in rows if float(row["target_area"]) > 0]


def lesion_free(rows: Iterable[R]) -> list[R]:
    """All other images."""
    return [row for row in rows if float(row["target_area"]) == 0]


def seen(rows: Iterable[R]) -> list[R]:
    """Images whose lesion has a pixel at working size.

    One that is too small for that size is no lesion there, and predicting nothing would score 1: scores at working size
    leave such images out and count them, scores at native size keep them.
    """
    return [row for row in rows if row["empty"] not in ("both", "target")]


def scored(rows: Iterable[R], metric: str) -> list[R]:
    """Images with a lesion that this metric is averaged over."""
    lesion = with_lesion(rows)
    return lesion if empty_column(metric) == "empty_native" else seen(lesion)


def empty_column(metric: str) -> str:
    """The column that says whether a mask of this metric was empty: at native size or at working size."""
    return "empty_native" if metric.endswith(("_native", "_mm")) else "empty"


def missed(rows: Iterable[R]) -> int:
    """Images of which exactly one of the two masks is empty, at native size: with a lesion, nothing was found."""
    return sum(row["empty_native"] in ("target", "prediction") for row in rows)
