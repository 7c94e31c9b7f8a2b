"""How one thumbnail lies in another: the scale and shift of each axis, and how well the two then agree.

A position x of the first image (0 at its left or top edge, 1 at the other) lies at 1/2 + shift + scale (x - 1/2) of the
second. The four numbers maximize the enhanced correlation coefficient (Evangelidis and Psarakis, IEEE TPAMI 30(10),
2008, forward additive form), from coarse to fine. Agreement is then taken over the whole common field:

- the normalized cross-correlation (NCC),
- the Hamming distance of the perceptual hashes of the two common fields,
- detail: the median NCC of a 6 x 6 grid of blocks after a band-pass of about 2 to 8 pixels. Images of two patients
  share their layers and depth gain, never their speckle and fine edges; the median ignores calipers and burnt-in text.
  Flat surroundings are left out together with their border: all images of one convex probe share its outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, uniform_filter

from pipelines.datasets.descriptors import SIDE, hamming, hash_bits, shrink

MARGIN = 0.1  # the center of the first image without this border is what is searched for in the second
LEVELS = ((32, 8), (64, 6))  # side and steps
IDENTITY = (1.0, 0.0, 1.0, 0.0)
SCALES, SHIFT = (0.6, 1.6), 0.25
STEP = 0.03  # largest change of a parameter in one step
SETTLED = 2e-4  # a smaller step ends a level: a fortieth of a pixel of the thumbnail
EDGE = 0.008  # a pixel of border blends with what lay outside when an image was resized
LEAST = SIDE // 2  # rows and columns of a common field
BAND = (1.0, 3.0)
BLOCKS, LEAST_BLOCKS, LEAST_SHARE = 6, 9, 0.3  # blocks per axis, those that must count, share of a block that must
FLAT, FLAT_WINDOW, FLAT_BORDER = 1.0, 5, 9  # variance (gray levels squared) in a window of 5; border of 4 around it


@dataclass(frozen=True)
class Alignment:
    """scale_*: 1 is equal size, above 1 the second image shows the content larger; shift_*: in sides of the image.

    ncc, detail: -1..1; phash_distance: 0..64. Without a common field of half a side: 0, 0, 64.
    """

    scale_x: float
    shift_x: float
    scale_y: float
    shift_y: float
    ncc: float
    phash_distance: int
    detail: float


def register(first: np.ndarray, second: np.ndarray, starts: Sequence[Sequence[float]] = (IDENTITY,)) -> Alignment:
    """Align two (128, 128) uint8 thumbnails; starts: (scale_x, shift_x, scale_y, shift_y), the best one is followed."""
    (side, steps), *finer = LEVELS
    small, large = shrink(first, side), shrink(second, side)
    found = [_climb(small, large, np.array(start, np.float64), steps) for start in starts]
    place = max(found, key=lambda item: item[0])[1]
    for side, steps in finer:
        place = _climb(shrink(first, side), shrink(second, side), place, steps)[1]
    return agreement(first, second, place)


def agreement(first: np.ndarray, second: np.ndarray, place: Sequence[float] | np.ndarray) -> Alignment:
    """How well two (128, 128) uint8 thumbnails agree at a place (scale_x, shift_x, scale_y, shift_y)."""
    scale_x, shift_x, scale_y, shift_y = (float(value) for value in place)
    center = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    x, y = 0.5 + shift_x + scale_x * center, 0.5 + shift_y + scale_y * center
    columns, rows = (np.flatnonzero((u > EDGE) & (u < 1.0 - EDGE)) for u in (x, y))
    if min(len(columns), len(rows)) < LEAST:
        return Alignment(scale_x, shift_x, scale_y, shift_y, 0.0, 64, 0.0)
    a = first[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    b = _sample(second.astype(np.float32), x[columns] * SIDE - 0.5, y[rows] * SIDE - 0.5)
    hashes = hash_bits(np.stack([_reduce(a, 32), _reduce(b, 32)]))
    distance = int(hamming(hashes[0], hashes[1]))
    return Alignment(scale_x, shift_x, scale_y, shift_y, _correlation(a, b), distance, _detail(a, b))


def _climb(first: np.ndarray, second: np.ndarray, place: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """Best (correlation, place) of the center of `first` on `second`, square and float32, from a start."""
    side = len(first)
    margin = round(MARGIN * side)
    x = ((np.arange(margin, side - margin) + 0.5) / side - 0.5).astype(np.float32)
    template = first[margin : side - margin, margin : side - margin]
    template = (template - template.mean()).ravel()
    template_norm = float(np.linalg.norm(template))
    slope_y, slope_x = np.gradient(second)
    best = (-1.0, place)
    for step in range(steps + 1):
        u, v = ((0.5 + place[k + 1] + place[k] * x) * side - 0.5 for k in (0, 2))
        warped = _sample(second, u, v)
        warped = (warped - warped.mean()).ravel()
        norm = float(np.linalg.norm(warped))
        if min(norm, template_norm) < 1e-2 * side:
            break
        dot = float(template @ warped)
        if dot / (norm * template_norm) > best[0]:
            best = (dot / (norm * template_norm), place)
        if step == steps:
            break
        along_x, along_y = _sample(slope_x, u, v) * side, _sample(slope_y, u, v) * side
        jacobian = np.stack([along_x * x, along_x, along_y * x[:, None], along_y]).reshape(4, -1)
        jacobian -= jacobian.mean(axis=1, keepdims=True)
        on_warped, on_template = jacobian @ warped, jacobian @ template
        inverse = np.linalg.pinv((jacobian @ jacobian.T).astype(np.float64))
        below = dot - on_template @ inverse @ on_warped
        gain = (norm**2 - on_warped @ inverse @ on_warped) / below if below > 0 else norm / template_norm
        change = np.clip(inverse @ (gain * on_template - on_warped), -STEP, STEP)
        place = place + change
        place[[0, 2]] = np.clip(place[[0, 2]], *SCALES)
        place[[1, 3]] = np.clip(place[[1, 3]], -SHIFT, SHIFT)
        if np.abs(change).max() < SETTLED:
            break
    return best


def _sample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values of a square float32 image at columns x and rows y, in pixels; the border is repeated."""

    def parts(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = np.clip(position, 0.0, len(image) - 1.001)
        whole = inside.astype(np.int64)
        return whole, (inside - whole).astype(np.float32)

    index, part = parts(y)
    rows = image[index] * (1.0 - part)[:, None] + image[index + 1] * part[:, None]
    index, part = parts(x)
    return rows[:, index] * (1.0 - part) + rows[:, index + 1] * part


def _reduce(image: np.ndarray, side: int) -> np.ndarray:
    """(h, w) float32, h and w at least `side`, to (side, side): means over cells of nearly equal size."""
    rows, columns = (np.arange(side + 1) * length // side for length in image.shape)
    sums = np.add.reduceat(np.add.reduceat(image, rows[:-1], axis=0), columns[:-1], axis=1)
    return sums / np.outer(np.diff(rows), np.diff(columns))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(np.vdot(a, b) / norms, -1.0, 1.0)) if norms > 1.0 else 0.0


def _detail(a: np.ndarray, b: np.ndarray) -> float:
    """Median NCC of the blocks with texture in both images; 0 where fewer than 9 have it."""
    counted = _textured(a) & _textured(b)
    a, b = (gaussian_filter(z, BAND[0], mode="nearest") - gaussian_filter(z, BAND[1], mode="nearest") for z in (a, b))
    rows, columns = (np.arange(BLOCKS + 1) * length // BLOCKS for length in a.shape)
    values = []
    for top, bottom in pairwise(rows.tolist()):
        for left, right in pairwise(columns.tolist()):
            place = slice(top, bottom), slice(left, right)
            chosen = counted[place]
            if chosen.mean() >= LEAST_SHARE:
                values.append(_correlation(a[place][chosen], b[place][chosen]))
    return float(np.median(values)) if len(values) >= LEAST_BLOCKS else 0.0


def _textured(image: np.ndarray) -> np.ndarray:
    """(h, w) bool: False in flat regions (outside a sector, filled borders, deep shadow) and 4 pixels around."""
    mean = uniform_filter(image, FLAT_WINDOW, mode="nearest")
    variance = uniform_filter(image**2, FLAT_WINDOW, mode="nearest") - mean**2
    return maximum_filter((variance < FLAT).astype(np.uint8), FLAT_BORDER, mode="nearest") == 0
