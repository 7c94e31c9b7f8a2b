"""From scores per image to the numbers of one result: means, medians, intervals, false alarms.

A row holds the scores of one image for one foreground class, as in per_case.csv: `case`, `group`, `empty` and
`empty_native` ("", "both", "target", "prediction") and one float or None per metric. Images without a lesion are never
averaged into the scores of those with one: a network that predicts nothing would look good. They are counted for false
positives instead.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipelines.runtime.bootstrap import group_interval

Row = dict[str, Any]

OVERLAP = ("dice", "iou", "dice_native", "iou_native")
DISTANCES = ("hd95", "assd", "hd95_native", "assd_native", "hd95_mm", "assd_mm")
CALIBRATION = ("ece", "brier", "ece_box", "brier_box", "ece_native", "brier_native")
COMPONENT_LIMIT = 0.005  # share of the image above which a false component counts as a false lesion


def aggregate(rows: Sequence[Row], draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """Numbers of one arm, seed and mode.

    Returns a nested table: `lesion` with images, groups and, per metric, mean, median, sd, n, and the interval of Dice
    over groups; `missed`, the images where exactly one mask is empty, and `found`, the distances on all the others;
    `lesion_free` with the share of images that hold a false positive pixel, or a component over 0.5% of the image.
    `collapsed` says that no image of the part got a positive pixel, or every one got nothing else.
    """
    with_lesion = [row for row in rows if row["target_area"] > 0]
    without = [row for row in rows if row["target_area"] == 0]
    areas = [row["predicted_area"] for row in rows]
    return {
        "lesion": _lesion(with_lesion, draws, rng),
        "lesion_free": _lesion_free(without),
        "collapsed": bool(areas) and (max(areas) == 0.0 or min(areas) == 1.0),
    }


def _lesion(rows: Sequence[Row], draws: int, rng: np.random.Generator) -> dict[str, Any]:
    result: dict[str, Any] = {"images": len(rows), "groups": len({row["group"] for row in rows})}
    # a lesion too small for the working size is no lesion there: nothing found would score 1. At native size it counts
    seen = [row for row in rows if row["empty"] not in ("both", "target")]
    result["vanished"] = len(rows) - len(seen)
    for metric in (*OVERLAP, *DISTANCES, *CALIBRATION):
        chosen = rows if empty_column(metric) == "empty_native" else seen
        result[metric] = summary(row[metric] for row in chosen)
    if seen:
        interval = group_interval([row["dice"] for row in seen], [row["group"] for row in seen], draws, rng)
        result["dice"] |= {"low": interval.low, "high": interval.high}
    result["missed"] = sum(row["empty_native"] in ("target", "prediction") for row in rows)
    result["found"] = {
        metric: summary(row[metric] for row in rows if not row[empty_column(metric)]) for metric in DISTANCES
    }
    return result


def empty_column(metric: str) -> str:
    """The column that says whether a mask of this metric was empty: at native size or at working size."""
    return "empty_native" if metric.endswith(("_native", "_mm")) else "empty"


def _lesion_free(rows: Sequence[Row]) -> dict[str, Any]:
    if not rows:
        return {"images": 0, "groups": 0, "any_pixel": None, "component": None}
    return {
        "images": len(rows),
        "groups": len({row["group"] for row in rows}),
        "any_pixel": float(np.mean([row["predicted_area"] > 0 for row in rows])),
        "component": float(np.mean([row["largest_component"] > COMPONENT_LIMIT for row in rows])),
    }


def summary(values: Iterable[float | None]) -> dict[str, Any]:
    """n, mean, median and standard deviation of the values that exist; None where none does."""
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if known.size == 0:
        return {"n": 0, "mean": None, "median": None, "sd": None}
    return {
        "n": int(known.size),
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "sd": float(known.std(ddof=1)) if known.size > 1 else None,
    }


def extremes(rows: Sequence[Row], count: int) -> dict[str, list[Row]]:
    """The best, median and worst images with a lesion by Dice, `count` of each, no image twice.

    With fewer than three times `count` images each kind gets a third of them, at least one while there is one. Ties
    are broken by case name.
    """
    ordered = sorted((row for row in rows if row["target_area"] > 0), key=lambda row: (-row["dice"], row["case"]))
    share = min(count, -(-len(ordered) // 3))
    best, rest = ordered[:share], ordered[share:]
    worst = rest[max(0, len(rest) - share) :]
    middle = rest[: max(0, len(rest) - share)]
    first = max(0, (len(ordered) - share) // 2 - share)
    return {"best": best, "median": middle[first : first + share], "worst": worst}
