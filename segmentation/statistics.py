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
from pipelines.runtime.per_case import COMPONENT_LIMIT, empty_column, lesion_free, missed, scored, seen, with_lesion
from segmentation.uncertainty import referral_curve

Row = dict[str, Any]

OVERLAP = ("dice", "iou", "dice_native", "iou_native")
DISTANCES = ("hd95", "assd", "hd95_native", "assd_native", "hd95_mm", "assd_mm")
CALIBRATION = ("ece", "brier", "ece_box", "brier_box", "ece_native", "brier_native")


def aggregate(rows: Sequence[Row], draws: int, rng: np.random.Generator) -> dict[str, Any]:
    """Numbers of one arm, seed and mode.

    Returns a nested table: `lesion` with images, groups and, per metric, mean, median, sd, n, and the interval of Dice
    over groups; `vanished`, the lesions too small for the working size, left out of its scores; `missed`, the images
    where exactly one mask is empty, and `found`, the distances on all the others; `lesion_free` with the share of
    images that hold a false positive pixel, or a component over 0.5% of the image.
    `collapsed` says that no image of the part got a positive pixel, or every one got nothing else.
    """
    areas = [row["predicted_area"] for row in rows]
    return {
        "lesion": _lesion(with_lesion(rows), draws, rng),
        "lesion_free": _lesion_free(lesion_free(rows)),
        "collapsed": bool(areas) and (max(areas) == 0.0 or min(areas) == 1.0),
    }


def _lesion(rows: Sequence[Row], draws: int, rng: np.random.Generator) -> dict[str, Any]:
    result: dict[str, Any] = {"images": len(rows), "groups": len({row["group"] for row in rows})}
    found = seen(rows)
    result["vanished"] = len(rows) - len(found)
    for metric in (*OVERLAP, *DISTANCES, *CALIBRATION):
        result[metric] = summary(row[metric] for row in scored(rows, metric))
    if found:
        interval = group_interval([row["dice"] for row in found], [row["group"] for row in found], draws, rng)
        result["dice"] |= {"low": interval.low, "high": interval.high}
    result["missed"] = missed(rows)
    result["found"] = {
        metric: summary(row[metric] for row in rows if not row[empty_column(metric)]) for metric in DISTANCES
    }
    return result


def _lesion_free(rows: Sequence[Row]) -> dict[str, Any]:
    if not rows:
        return {"images": 0, "groups": 0, "any_pixel": None, "component": None}
    return {
        "images": len(rows),
        "groups": len({row["group"] for row in rows}),
        "any_pixel": float(np.mean([row["predicted_area"] > 0 for row in rows])),
        "component": float(np.mean([row["largest_component"] > COMPONENT_LIMIT for row in rows])),
    }


def reliability(rows: Sequence[Row]) -> dict[str, Any]:
    """What the uncertainty of one arm, seed and mode is good for: the AUROC of pixel errors of each image, summarized
    over all images that hold right and wrong pixels, and the referral curve over images with a lesion.
    """
    visible = scored(rows, "dice")
    return {
        "error_auroc": summary(row["error_auroc"] for row in rows),
        "error_auroc_box": summary(row["error_auroc_box"] for row in rows),
        "referral": referral_curve([row["dice"] for row in visible], [row["uncertainty"] for row in visible]),
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
    """The best, median and worst images with a lesion by Dice at working size, `count` of each, no image twice.

    Lesions that vanish at that size have no such Dice. With fewer than three times `count` images each kind gets a
    third of them, at least one while there is one. Ties are broken by case name.
    """
    ordered = sorted(scored(rows, "dice"), key=lambda row: (-row["dice"], row["case"]))
    share = min(count, -(-len(ordered) // 3))
    best, rest = ordered[:share], ordered[share:]
    worst = rest[max(0, len(rest) - share) :]
    middle = rest[: max(0, len(rest) - share)]
    first = max(0, (len(ordered) - share) // 2 - share)
    return {"best": best, "median": middle[first : first + share], "worst": worst}
