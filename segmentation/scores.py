"""Scores of one image at working size and at native size: the rows of per_case.csv."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.datasets.images import inner_box, to_native
from pipelines.runtime.errors import NumericsError
from segmentation import metrics
from segmentation.uncertainty import (
    BINS,
    entropy_map,
    error_histogram,
    histogram_auroc,
    image_uncertainty,
    pixel_error_auroc,
)

MEASURES = ("dice", "iou", "hd95", "assd", "ece", "brier", "ece_box", "brier_box")
COLUMNS = (
    "case",
    "group",
    "class",
    "site",
    "leaked",
    "foreground",
    "mode",
    "empty",
    "empty_native",
    "target_area",
    "predicted_area",
    "largest_component",
    *MEASURES,
    *(f"{name}_native" for name in MEASURES),
    "hd95_mm",
    "assd_mm",
    "uncertainty",
    "error_auroc",
    "error_auroc_box",
)


@dataclass(frozen=True)
class Scoring:
    """foreground: names of the labels 1, 2, ...; bins: of the calibration error; margin: of the lesion's box."""

    foreground: tuple[str, ...]
    bins: int
    margin: float


def score_case(
    probability: np.ndarray,
    label: np.ndarray,
    native_label: np.ndarray,
    case: Mapping[str, str],
    scoring: Scoring,
) -> list[dict[str, Any]]:
    """One row per foreground class, keys as in `COLUMNS` without group, leaked and mode; None for a score that is none.

    probability: (K, H, W) in [0, 1] at working size, K = 1 (sigmoid) or K = classes with the background (softmax).
    label: (H, W) label map at working size; native_label: (h, w). case: a row of cases.csv (place inside the working
    square, native size, spacing). Padding of a letterbox is removed before anything is counted. Areas are shares of the
    native image; uncertainty and the AUROC of pixel errors, in the image and in the lesion's box, are those of the
    working size. NumericsError: a probability is NaN or outside [0, 1].
    """
    outside = not (probability.min() >= 0.0 and probability.max() <= 1.0)  # also true for NaN
    if outside:
        raise NumericsError(f"{case['case']}: a predicted probability is not in [0, 1]; the segmenter is broken")
    inner = inner_box(dict(case)).slices
    working = probability[:, *inner]
    native = np.stack([to_native(plane, dict(case)) for plane in probability]).clip(0.0, 1.0)
    spacing = spacing_of(case)
    doubt = entropy_map(working)
    rows = []
    for index, name in enumerate(scoring.foreground, start=1):
        at_working = measure(*of_class(working, index), label[inner] == index, scoring)
        mask, p = of_class(native, index)
        target = native_label == index
        at_native = measure(mask, p, target, scoring)
        hd95_mm, assd_mm = metrics.hd95_assd(mask, target, spacing) if spacing else (None, None)
        rows.append(
            {
                "case": case["case"],
                "class": case["class"],
                "site": case["site"],
                "foreground": name,
                **at_working,
                **{f"{key}_native": value for key, value in at_native.items()},
                "target_area": float(target.mean()),
                "predicted_area": float(mask.mean()),
                "largest_component": metrics.largest_component(mask) / mask.size,
                "hd95_mm": hd95_mm,
                "assd_mm": assd_mm,
                "uncertainty": image_uncertainty(*of_class(working, index)),
                **error_auroc(doubt, *errors(working, label[inner], index, scoring)),
            }
        )
    return rows


def of_class(probability: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Mask (H, W) bool and probability (H, W) of one foreground label out of (K, H, W).

    K = 1: the mask is p >= 0.5. K >= 2: the pixels where this class is the most probable one.
    """
    if len(probability) == 1:
        return probability[0] >= 0.5, probability[0]
    return probability.argmax(axis=0) == index, probability[index]


def measure(mask: np.ndarray, probability: np.ndarray, target: np.ndarray, scoring: Scoring) -> dict[str, Any]:
    """The scores of `MEASURES` and `empty`: which of the masks holds no pixel ("" where both hold one)."""
    hd95, assd = metrics.hd95_assd(mask, target)
    box = metrics.lesion_box(target, scoring.margin)
    return {
        "empty": {(True, True): "both", (True, False): "prediction", (False, True): "target"}.get(
            (not mask.any(), not target.any()), ""
        ),
        "dice": metrics.dice(mask, target),
        "iou": metrics.iou(mask, target),
        "hd95": hd95,
        "assd": assd,
        "ece": metrics.ece(probability, target, scoring.bins),
        "brier": metrics.brier(probability, target),
        "ece_box": metrics.ece(probability[box], target[box], scoring.bins) if box else None,
        "brier_box": metrics.brier(probability[box], target[box]) if box else None,
    }


def errors(
    probability: np.ndarray, label: np.ndarray, index: int, scoring: Scoring
) -> tuple[metrics.Mask, tuple[slice, slice] | None]:
    """Wrong pixels (H, W) of one class at working size, and the lesion's enlarged box."""
    target = label == index
    return of_class(probability, index)[0] != target, metrics.lesion_box(target, scoring.margin)


def error_auroc(doubt: np.ndarray, wrong: metrics.Mask, box: tuple[slice, slice] | None) -> dict[str, float | None]:
    """AUROC of pixel errors by uncertainty `doubt` (H, W), in the image and in the lesion's box.

    In the whole image the sure and easy background makes every network look good, as with calibration.
    """
    return {
        "error_auroc": pixel_error_auroc(doubt, wrong),
        "error_auroc_box": pixel_error_auroc(doubt[box], wrong[box]) if box else None,
    }


def pooled_error_auroc(
    probabilities: Iterable[np.ndarray],
    labels: Iterable[np.ndarray],
    cases: Iterable[Mapping[str, str]],
    index: int,
    scoring: Scoring,
) -> dict[str, float | None]:
    """`error_auroc` over the pixels of all images together (histogram of `uncertainty.error_histogram`)."""
    everywhere, boxes = np.zeros((2, BINS), np.int64), np.zeros((2, BINS), np.int64)
    for p, label, case in zip(probabilities, labels, cases, strict=True):
        inner = inner_box(dict(case)).slices
        doubt = entropy_map(p[:, *inner])
        wrong, box = errors(p[:, *inner], label[inner], index, scoring)
        everywhere += error_histogram(doubt, wrong)
        if box:
            boxes += error_histogram(doubt[box], wrong[box])
    return {"error_auroc": histogram_auroc(everywhere), "error_auroc_box": histogram_auroc(boxes)}


def spacing_of(case: Mapping[str, str]) -> metrics.Spacing | None:
    """(mm per native pixel down, across), or None where the dataset does not say."""
    if not case["spacing_x"] or not case["spacing_y"]:
        return None
    return float(case["spacing_y"]), float(case["spacing_x"])


def score_all(
    probabilities: Iterable[np.ndarray],
    labels: Iterable[np.ndarray],
    native_labels: Iterable[np.ndarray],
    cases: Iterable[Mapping[str, str]],
    groups: Mapping[str, str],
    leaked: Collection[str],
    mode: str,
    scoring: Scoring,
) -> list[dict[str, Any]]:
    """Rows of all images under one prediction mode, in the order given; leaked: names of cases that train knows."""
    rows = []
    for p, label, native, case in zip(probabilities, labels, native_labels, cases, strict=True):
        for row in score_case(p, label, native, case, scoring):
            rows.append(row | {"group": groups[case["case"]], "leaked": case["case"] in leaked, "mode": mode})
    return rows
