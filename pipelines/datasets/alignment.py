"""Aligned cross-correlation: the best NCC over mirroring, small shifts and small scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import irfft2, rfft2

from pipelines.datasets.duplicates import thumbnail

COARSE = 32
BLOCK = 64  # images per block of the coarse product: at most about 50 MB
EPSILON = 1e-3  # below this norm (of gray levels 0..255) a window has no contrast


def aligned_ncc(
    query: np.ndarray,
    reference: np.ndarray,
    *,
    size: int = 128,
    shift: int = 8,
    scales: Sequence[float] = (0.95, 1.0, 1.05),
    mirror: bool = True,
    refine: int = 8,
) -> np.ndarray:
    """(Q, R) float32: best NCC of each query with each reference, in -1..1.

    query (Q, H, W), reference (R, H, W) uint8. Both are brought to `size` with the box filter; `shift` is in pixels of a
    128-pixel image and is scaled with `size`. The query is mirrored and rescaled, its center is compared with every
    window of the reference within the shift, each normalized by its own mean and norm. All pairs are compared at 32 px
    first; the `refine` best references of each query again at `size`, exhaustively. The others keep their coarse
    value, limited to the smallest refined one of their row, so the largest entries of a row are always exact.
    Images without contrast give 0.
    """
    size = min(size, 128)
    coarse = _coarse(query, reference, max(1, round(shift * COARSE / 128)), scales, mirror)
    if not len(query) or not len(reference):
        return coarse
    count = min(refine, len(reference))
    top = np.argsort(-coarse, axis=1, kind="stable")[:, :count]
    radius = max(1, round(shift * size / 128))
    references = _Windows(reference, size, radius)
    result = coarse
    for index in range(len(query)):
        templates = _templates(query[index], size, radius, scales, mirror)
        exact = references.best(templates, top[index])
        result[index] = np.minimum(result[index], exact.min())
        result[index, top[index]] = exact
    return result


def _templates(image: np.ndarray, size: int, radius: int, scales: Sequence[float], mirror: bool) -> np.ndarray:
    """(V, T, T) float32 centers, T = size - 2 radius, of the rescaled and mirrored image; zero mean, unit norm."""
    side = size - 2 * radius
    found = []
    for scale in scales:
        scaled = max(side, round(size * scale))
        small = thumbnail(image, scaled)
        start = (scaled - side) // 2
        center = small[start : start + side, start : start + side]
        found.append(center)
        if mirror:
            # mirror first, cut then: the center of an odd remainder must be the mirrored image's center
            found.append(small[:, ::-1][start : start + side, start : start + side])
    stack = np.stack(found)
    stack = stack - stack.mean(axis=(1, 2), keepdims=True)
    norm = np.linalg.norm(stack, axis=(1, 2), keepdims=True)
    return np.where(norm > EPSILON * side, stack / np.maximum(norm, EPSILON), 0.0).astype(np.float32)


def _coarse(
    query: np.ndarray, reference: np.ndarray, radius: int, scales: Sequence[float], mirror: bool
) -> np.ndarray:
    """Exhaustive comparison of all pairs at 32 px as blocked matrix products."""
    side = COARSE - 2 * radius
    result = np.zeros((len(query), len(reference)), np.float32)
    flat = [_templates(image, COARSE, radius, scales, mirror).reshape(-1, side * side) for image in query]
    for column in range(0, len(reference), BLOCK):
        windows = np.stack([_all_windows(image, radius) for image in reference[column : column + BLOCK]])
        references, offsets, _ = windows.shape
        table = windows.reshape(references * offsets, side * side).T
        for row in range(0, len(flat), BLOCK):
            block = np.stack(flat[row : row + BLOCK])
            product = block.reshape(-1, side * side) @ table
            best = product.reshape(len(block), -1, references, offsets).max(axis=(1, 3))
            result[row : row + BLOCK, column : column + BLOCK] = best
    return result


def _all_windows(image: np.ndarray, radius: int) -> np.ndarray:
    """((2 radius + 1)^2, T * T) float32: every window of the 32 px thumbnail, zero mean, unit norm."""
    side = COARSE - 2 * radius
    view = np.lib.stride_tricks.sliding_window_view(thumbnail(image, COARSE), (side, side))
    windows = view.reshape(-1, side * side) - view.mean(axis=(2, 3)).reshape(-1, 1)
    norm = np.linalg.norm(windows, axis=1, keepdims=True)
    return np.where(norm > EPSILON * side, windows / np.maximum(norm, EPSILON), 0.0).astype(np.float32)


class _Windows:
    """References at full size, their window norms computed when first needed."""

    def __init__(self, reference: np.ndarray, size: int, radius: int) -> None:
        self.reference, self.size, self.radius = reference, size, radius
        self.side = size - 2 * radius
        self.known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def best(self, templates: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Best NCC over templates (V, T, T) and all offsets for each reference row; correlation by FFT."""
        spectra = rfft2(templates, s=(self.size, self.size))
        found = np.empty(len(rows), np.float32)
        reach = 2 * self.radius + 1
        for position, row in enumerate(rows):
            spectrum, norms = self._get(int(row))
            correlation = irfft2(spectrum[None] * np.conj(spectra), s=(self.size, self.size))[:, :reach, :reach]
            value = np.where(norms > EPSILON * self.side, correlation / np.maximum(norms, EPSILON), 0.0)
            found[position] = np.clip(value.max(), -1.0, 1.0)
        return found

    def _get(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        if row not in self.known:
            if len(self.known) >= 1000:  # about 100 KB each at 128 px
                self.known.clear()
            small = thumbnail(self.reference[row], self.size)
            small = small - small.mean()
            reach, side = 2 * self.radius + 1, self.side
            total = _window_sums(small.astype(np.float64), side)[:reach, :reach]
            squares = _window_sums(small.astype(np.float64) ** 2, side)[:reach, :reach]
            norms = np.sqrt(np.clip(squares - total**2 / side**2, 0.0, None)).astype(np.float32)
            self.known[row] = rfft2(small.astype(np.float32)), norms
        return self.known[row]


def _window_sums(image: np.ndarray, side: int) -> np.ndarray:
    """Sums over all side x side windows by an integral image."""
    table = np.pad(image, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    return table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]

