"""Mean and spread of the training images, with which a segmenter without pretrained weights scales its input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipelines.datasets.images import valid_region

BLOCK = 16  # images counted at a time: bincount makes eight bytes of each pixel


def mean_and_std(
    images: np.ndarray, rows: Sequence[int], padded: Sequence[dict[str, str]] | None
) -> tuple[float, float]:
    """Mean and standard deviation in [0, 1] of the pixels of images[rows], (N, H, W) uint8, from their exact histogram.

    padded: each row's line of cases.csv, so that pixels of the padding are left out; None where nothing is padded.
    """
    counts = np.zeros(256, np.int64)
    for start in range(0, len(rows), BLOCK):
        block = images[list(rows[start : start + BLOCK])]
        if padded:
            block = block[np.stack([valid_region(case, block.shape[1]) for case in padded[start : start + BLOCK]])]
        counts += np.bincount(block.ravel(), minlength=256)
    number = int(counts.sum())
    total, squares = (sum(int(count) * level**power for level, count in enumerate(counts)) for power in (1, 2))
    return total / number / 255, math.sqrt(number * squares - total**2) / number / 255  # whole numbers up to here
