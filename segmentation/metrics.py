"""Scores of one predicted mask or probability map against its annotation.

Masks are boolean arrays `(H, W)`; probabilities are float arrays `(H, W)` in [0, 1]. Distances are in pixels, or in
millimeters where `spacing` (millimeters per pixel down, across) is given.

Empty masks follow one rule everywhere. Both masks empty: overlap 1, distances 0. Exactly one empty: overlap 0,
distances equal to the diagonal of the image, since a lesion that was missed is as wrong as the image is large.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Spacing = tuple[float, float]

FOUR_NEIGHBORS = ndimage.generate_binary_structure(2, 1)


def dice(prediction: Mask, target: Mask) -> float:
    """Dice coefficient 2|A n B| / (|A| + |B|) from pixel counts, unsmoothed; in [0, 1], 1 where both are empty."""
    _check(prediction, target)
    total = np.count_nonzero(prediction) + np.count_nonzero(target)
    return 1.0 if total == 0 else float(2.0 * np.count_nonzero(prediction & target) / total)


def iou(prediction: Mask, target: Mask) -> float:
    """Intersection over union |A n B| / |A u B| from pixel counts; in [0, 1], 1 where both are empty."""
    _check(prediction, target)
    union = np.count_nonzero(prediction | target)
    return 1.0 if union == 0 else float(np.count_nonzero(prediction & target) / union)


def surface(mask: Mask) -> Mask:
    """Pixels of the mask with a 4-neighbor outside it; outside the image counts as outside the mask."""
    return mask & ~ndimage.binary_erosion(mask, structure=FOUR_NEIGHBORS)


def surface_distances(prediction: Mask, target: Mask, spacing: Spacing = (1.0, 1.0)) -> tuple[NDArray, NDArray]:
    """Distance of each surface pixel of the prediction to the target's surface, and the other way round.

    Both masks must hold a pixel: the distance to nothing is not defined, and the callers apply the empty-mask rule.
    """
    ours, theirs = surface(prediction), surface(target)
    to_target = ndimage.distance_transform_edt(~theirs, sampling=spacing)[ours]
    to_prediction = ndimage.distance_transform_edt(~ours, sampling=spacing)[theirs]
    return to_target, to_prediction


def hd95_assd(prediction: Mask, target: Mask, spacing: Spacing = (1.0, 1.0)) -> tuple[float, float]:
    """95th percentile Hausdorff distance and average symmetric surface distance, in one pass.

    HD95 is the larger of the two directed 95th percentiles; ASSD is the sum of all directed surface distances over the
    number of surface pixels of both masks. Units: pixels, or those of `spacing`.
    """
    _check(prediction, target)
    if not prediction.any() and not target.any():
        return 0.0, 0.0
    if not prediction.any() or not target.any():
        longest = diagonal(target.shape, spacing)
        return longest, longest
    to_target, to_prediction = surface_distances(prediction, target, spacing)
    farthest = max(np.percentile(to_target, 95), np.percentile(to_prediction, 95))
    mean = (to_target.sum() + to_prediction.sum()) / (to_target.size + to_prediction.size)
    return float(farthest), float(mean)


def diagonal(shape: tuple[int, ...], spacing: Spacing = (1.0, 1.0)) -> float:
    """Length of the image diagonal in pixels, or in the unit of `spacing`."""
    return float(np.hypot(shape[0] * spacing[0], shape[1] * spacing[1]))


def brier(probability: NDArray, target: Mask) -> float:
    """Brier score: mean over pixels of (p - y)^2; 0 is perfect, 1 the worst."""
    _check(probability, target)
    return float(np.mean((probability.astype(np.float64) - target) ** 2))


def ece(probability: NDArray, target: Mask, bins: int = 15) -> float:
    """Expected calibration error of the foreground probability over equal-width bins; in [0, 1].

    Bin i holds p in [i / bins, (i + 1) / bins), the last bin p = 1 too. The error of a bin, |mean p - share of
    foreground|, is weighted by its share of the pixels (Naeini, Cooper & Hauskrecht, AAAI 2015).
    """
    _check(probability, target)
    p = probability.astype(np.float64).ravel()
    which = np.minimum((p * bins).astype(np.int64), bins - 1)
    confidence = np.bincount(which, weights=p, minlength=bins)
    foreground = np.bincount(which, weights=target.ravel(), minlength=bins)
    return float(np.abs(confidence - foreground).sum() / p.size)


def lesion_box(target: Mask, margin: float) -> tuple[slice, slice] | None:
    """Bounding box of the annotation, height and width enlarged by the share `margin`, inside the image.

    None where nothing is annotated. Calibration is scored in this box too: over the whole image the easy background
    hides every error.
    """
    if not target.any():
        return None
    return _side(np.any(target, axis=1), margin), _side(np.any(target, axis=0), margin)


def _side(filled: NDArray[np.bool_], margin: float) -> slice:
    first, last = np.flatnonzero(filled)[[0, -1]]
    grow = int(np.ceil((last + 1 - first) * margin / 2))
    return slice(max(0, int(first) - grow), min(filled.size, int(last) + 1 + grow))


def largest_component(mask: Mask) -> int:
    """Pixels of the largest 4-connected component of a mask; 0 for an empty one."""
    labels, count = ndimage.label(mask, structure=FOUR_NEIGHBORS)
    return int(np.bincount(labels.ravel())[1:].max()) if count else 0


def _check(a: NDArray, b: NDArray) -> None:
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"a prediction and its target must have one 2-D shape; found {a.shape} and {b.shape}")
    if b.dtype != np.bool_:
        raise ValueError(f"a target must be a boolean mask; found {b.dtype}")
