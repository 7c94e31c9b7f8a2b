"""What uncertainty is good for: does it lie where the mask is wrong, and does it name the images to hand to a person?

Pixel uncertainty is the entropy of the probability, as stored in every prediction. An image's uncertainty is one minus
the Dice that its own probability map promises (Soft Dice Confidence; Borges, Pacheco & Silva, arXiv:2402.10665, 2024):
a mean of the entropy would grow with the length of the outline, hence with the size of the lesion, and would hand the
large, easy lesions to the reader first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3)  # of the images that are referred
BINS = 16257  # values of the upper 16 bits of a float32 in [0, 1]
HAIR = 0.01  # share of the entropy below which disagreement between seeds means nothing


def entropy_map(probability: np.ndarray) -> np.ndarray:
    """Entropy of each pixel as a share of its maximum, (K, H, W) in [0, 1] -> (H, W) float32 in [0, 1].

    K = 1: of foreground and background. As `losses.entropy`, for arrays.
    """
    p = probability.astype(np.float64)
    p = np.concatenate([1.0 - p, p]) if len(p) == 1 else p
    terms = -p * np.log(np.where(p > 0.0, p, 1.0))
    return np.clip(terms.sum(axis=0) / np.log(len(p)), 0.0, 1.0).astype(np.float32)


def pixel_error_auroc(uncertainty: np.ndarray, wrong: NDArray[np.bool_]) -> float | None:
    """Probability that a wrong pixel is less certain than a right one, ties counting half; None without both kinds.

    The Mann-Whitney statistic from mid-ranks (Hanley & McNeil 1982). uncertainty: any shape, finite; wrong: the same
    shape. 0.5 is no better than chance.
    """
    if uncertainty.shape != wrong.shape or wrong.dtype != np.bool_:
        raise ValueError(
            f"pixel_error_auroc: expected one shape and wrong as bool, found {uncertainty.shape}, {wrong.shape}, "
            f"{wrong.dtype}"
        )
    count = int(np.count_nonzero(wrong))
    right = wrong.size - count
    if count == 0 or right == 0:
        return None
    ranks = rankdata(uncertainty, axis=None)[wrong.ravel()]
    return float((ranks.sum() - count * (count + 1) / 2) / (count * right))


def error_histogram(uncertainty: np.ndarray, wrong: NDArray[np.bool_]) -> np.ndarray:
    """Right and wrong pixels by uncertainty, (2, BINS) int64: histograms of several images may be added.

    uncertainty: float in [0, 1]; wrong: bool of the same shape. A bin holds the values that share the upper 16 bits of
    their float32: 128 bins from each power of two to the next. Bins of equal width would put nearly all of the
    background into the first one.
    """
    bins = np.ascontiguousarray(uncertainty, dtype=np.float32).ravel().view(np.uint32) >> 16
    wrong = wrong.ravel()
    return np.stack([np.bincount(bins[kind], minlength=BINS) for kind in (~wrong, wrong)])


def histogram_auroc(histogram: np.ndarray) -> float | None:
    """`pixel_error_auroc` of all pixels in an `error_histogram`; values of one bin count as ties."""
    right, wrong = histogram.astype(np.float64)
    if right.sum() == 0 or wrong.sum() == 0:
        return None
    below = np.cumsum(right) - right
    return float((wrong * (below + 0.5 * right)).sum() / (right.sum() * wrong.sum()))


def image_uncertainty(mask: NDArray[np.bool_], probability: np.ndarray) -> float:
    """1 - 2 sum(m p) / (sum m + sum p), in [0, 1]: the part of the Dice that the probability map does not promise.

    mask: (H, W), decided; probability: (H, W) of the same class. Nothing predicted promises nothing: 1, which is right
    for every image with a lesion, and only these enter a referral curve.
    """
    total = np.count_nonzero(mask) + probability.sum(dtype=np.float64)
    return float(1.0 - 2.0 * probability[mask].sum(dtype=np.float64) / total) if total > 0 else 1.0


def referral_curve(
    dice: Sequence[float], uncertainty: Sequence[float], shares: Sequence[float] = SHARES
) -> dict[str, Any]:
    """Mean Dice of the images that are kept when the least certain ones are referred to a reader.

    dice, uncertainty: one number per image; shares: of the images that are referred, ascending, below 1. Returns
    `images`; `table`, one line per share with `referred` (images, to the nearest one) and the Dice of the rest when
    they are referred by `uncertainty`, at `random` (in expectation) and by an `oracle` that knows the Dice; `area` and
    `oracle_area` between these curves and random, up to the largest share (Dice times share); and `of_oracle`, their
    ratio: 1 perfect, 0 chance, negative worse, None where an oracle gains nothing. Among equally uncertain images any
    may go first: the mean over all orders is returned.
    """
    values, doubt = np.asarray(dice, np.float64), np.asarray(uncertainty, np.float64)
    if values.shape != doubt.shape or values.ndim != 1 or not np.isfinite([values, doubt]).all():
        raise ValueError(f"referral_curve: expected one finite pair per image, found {values.shape} and {doubt.shape}")
    if values.size == 0:
        return {"images": 0, "table": [], "area": None, "oracle_area": None, "of_oracle": None}
    most = min(round(shares[-1] * values.size), values.size - 1)
    own, best = retained(values, doubt)[: most + 1], retained(values, -values)[: most + 1]
    chance = float(values.mean())
    referred = [min(round(share * values.size), most) for share in shares]
    table = [
        {"share": share, "referred": k, "uncertainty": float(own[k]), "random": chance, "oracle": float(best[k])}
        for share, k in zip(shares, referred, strict=True)
    ]
    area, limit = (float(np.trapezoid(curve - chance, dx=1.0 / values.size)) for curve in (own, best))
    return {
        "images": int(values.size),
        "table": table,
        "area": area,
        "oracle_area": limit,
        "of_oracle": area / limit if limit > 1e-9 else None,
    }


def retained(dice: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """Mean Dice after the k least certain images went, k = 0 .. n - 1: (n,). Ties share the mean Dice of their tie."""
    _, which, counts = np.unique(uncertainty, return_inverse=True, return_counts=True)
    expected = (np.bincount(which, weights=dice) / counts)[which]
    ordered = expected[np.argsort(uncertainty, kind="stable")]
    return (np.cumsum(ordered) / np.arange(1, len(ordered) + 1))[::-1]


def seed_agreement(epistemic: np.ndarray, uncertainty: np.ndarray) -> dict[str, Any]:
    """How far samples of different seeds disagree.

    epistemic: (N, ...) the part of the entropy that comes from disagreement (mutual information of pixel and seed), as
    `Prediction.extras` holds it; uncertainty: (N, H, W) the whole entropy; both in [0, 1]. `mean` and `max` over all
    pixels, `image_max` the mean over images of their largest value, `of_entropy` the share of all entropy that it
    makes up, and `deterministic`: whether that share is below `HAIR`, so that more seeds would change nothing.
    """
    flat = epistemic.reshape(len(epistemic), -1).astype(np.float64)
    total = float(uncertainty.sum(dtype=np.float64))
    share = float(flat.sum()) / total if total > 0 else 0.0
    return {
        "mean": float(flat.mean()),
        "max": float(flat.max()),
        "image_max": float(flat.max(axis=1).mean()),
        "of_entropy": share,
        "deterministic": share < HAIR,
    }
