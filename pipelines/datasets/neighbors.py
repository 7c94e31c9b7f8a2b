"""Is an image a copy of one reference image? The audit's decision, shared with the count of copies of test images.

Similarities of queries to references are given; a copy stands out against the second nearest *group* of references, or
is hard: pixels that agree after alignment, hashes that agree, or equal pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.datasets.descriptors import Descriptors, hamming, perceptual_hashes


@dataclass(frozen=True)
class Nearest:
    """Per query (Q,): row of the most similar reference, its similarity, and the best similarity in any other group.

    `second` is -1 where all references are of one group.
    """

    row: np.ndarray
    similarity: np.ndarray
    second: np.ndarray


def nearest_by_group(similarity: np.ndarray, groups: Sequence[str]) -> Nearest:
    """Nearest and second nearest group from a (Q, R) similarity and the group of each of the R references."""
    labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    row = similarity.argmax(axis=1)
    best = similarity[np.arange(len(similarity)), row]
    others = np.where(labels[None, :] == labels[row][:, None], -1.0, similarity)
    return Nearest(row, best, others.max(axis=1))


def distance_ratio(nearest: Nearest) -> np.ndarray:
    """Distance to the nearest over distance to the second nearest group, (Q,), distance = 1 - similarity; in 0..1."""
    first, second = 1.0 - nearest.similarity, 1.0 - nearest.second
    return np.where(second > 1e-6, np.clip(first, 0.0, None) / np.maximum(second, 1e-6), 1.0)


def hard_copies(
    aligned: np.ndarray, query: Descriptors, reference: Descriptors, hard_ncc: float, phash_distance: int = 6
) -> np.ndarray:
    """(Q, R) bool: equal pixels, or aligned NCC (Q, R) of at least `hard_ncc` and perceptual hashes within 6 bits.

    The hash of the query's mirror image serves as well.
    """
    theirs = perceptual_hashes(reference.thumbnails)[None, :]
    plain, mirrored = (
        hamming(perceptual_hashes(query.thumbnails, mirrored=flip)[:, None], theirs) for flip in (False, True)
    )
    near = (aligned >= hard_ncc) & (np.minimum(plain, mirrored) <= phash_distance)
    return near | (np.array(query.pixels, str)[:, None] == np.array(reference.pixels, str)[None, :])


def copy_decision(nearest: Nearest, *, tau: float, ratio: float, hard: np.ndarray) -> np.ndarray:
    """(Q,) bool: flagged = (similarity above tau and distance ratio below `ratio`, on one metric) or hard.

    `tau` is the 95th percentile of the same similarity between real images of different patients; `ratio` 1/3
    (criterion of arXiv 2505.16959, per group instead of per image); `hard` (Q,) or (Q, R) bool. One definition for
    dropping samples, for recall, for false alarms, and for the count of copies of test images.
    """
    any_hard = hard.any(axis=1) if hard.ndim == 2 else hard
    return ((nearest.similarity > tau) & (distance_ratio(nearest) < ratio)) | any_hard
