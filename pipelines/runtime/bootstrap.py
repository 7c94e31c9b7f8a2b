"""Confidence intervals by resampling groups, for scores of images of which some share a patient.

Images of one group (patient, lesion, near-duplicate) say nearly the same, so groups are drawn with replacement, not
images. Training seeds are crossed with groups, since one training scores all of them: they are drawn once per
replicate, for all groups alike (Owen, The pigeonhole bootstrap, Ann. Appl. Stat. 1, 2007). Drawn anew inside each
group they would average out over groups, and the interval would leave out what another training changes. The
statistic is the mean over the images drawn. With two or three seeds the interval is still too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

CHUNK = 2_000_000  # numbers held at once


@dataclass(frozen=True)
class Interval:
    """A mean with the bounds between which 95% of the resampled means fall; the unit is that of the values."""

    mean: float
    low: float
    high: float


def group_interval(values: ArrayLike, groups: Sequence[str], draws: int, rng: np.random.Generator) -> Interval:
    """Mean over images and its 95% interval over groups (and seeds).

    values: `(images,)` or `(images, seeds)`, finite; for a paired difference of two arms pass the differences. groups:
    one name per image. With a single group nothing can be resampled: the interval is the mean itself, as wide as it
    should never be read; say how many groups there are beside it. ValueError without an image or with a NaN.
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.shape[0] != len(groups) or table.size == 0:
        raise ValueError(f"group_interval: {table.shape[0]} images with {len(groups)} groups; expected one group each")
    if not np.isfinite(table).all():
        raise ValueError("group_interval: a value is not finite; leave such images out and count them")
    which = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    counts = np.bincount(which).astype(np.float64)
    sums = np.stack([np.bincount(which, weights=column) for column in table.T], axis=1)  # (groups, seeds)
    means = _resampled_means(sums, counts, draws, rng)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(table.mean()), float(low), float(high))


def _resampled_means(sums: np.ndarray, counts: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    groups, seeds = sums.shape
    drawn_seeds = rng.integers(seeds, size=(draws, seeds))
    means = []
    step = max(1, CHUNK // (groups * seeds))
    for start in range(0, draws, step):
        drawn = rng.integers(groups, size=(min(step, draws - start), groups))
        by_seed = sums[drawn].sum(axis=1)  # (draws here, seeds)
        total = np.take_along_axis(by_seed, drawn_seeds[start : start + step], axis=1).mean(axis=1)
        means.append(total / counts[drawn].sum(axis=1))
    return np.concatenate(means)
