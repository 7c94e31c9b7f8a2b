"""Evidence to look at: each sample beside its nearest train image and their difference."""

from __future__ import annotations

import numpy as np

GAP = 4  # white pixels between panels
SIDE = 128  # smaller images are enlarged by a whole factor to at least this


def triptych(sample: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """sample | nearest | difference for (H, W) uint8 -> (H', W') uint8.

    The nearest image is mirrored where that fits better, so that a mirrored copy shows as a dark difference.
    """
    mirrored = nearest[:, ::-1]
    if _distance(sample, mirrored) < _distance(sample, nearest):
        nearest = mirrored
    difference = np.abs(sample.astype(np.int16) - nearest.astype(np.int16)).astype(np.uint8)
    factor = max(1, -(-SIDE // min(sample.shape)))
    panels = [np.kron(panel, np.ones((factor, factor), np.uint8)) for panel in (sample, nearest, difference)]
    white = np.full((panels[0].shape[0], GAP), 255, np.uint8)
    return np.concatenate([panels[0], white, panels[1], white, panels[2]], axis=1)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean())


def most_suspect(flagged: np.ndarray, margin: np.ndarray, count: int) -> list[int]:
    """Rows to show: flagged ones first, then by `margin`, the similarity above its threshold, largest first."""
    order = np.lexsort((np.arange(len(margin)), -margin, ~flagged))
    return [int(row) for row in order[:count]]
