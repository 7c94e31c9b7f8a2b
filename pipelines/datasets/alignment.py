"""Aligned cross-correlation: the best NCC over mirroring, small shifts and small scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.fft import irfft2, rfft2

THUMBNAIL, COARSE = 64, 32
BLOCK = 64  # images per block of the coarse product: at most about 50 MB
CACHE = 1000  # reference spectra kept, about 80 KB each at 128 px
EPSILON = 1e-3  # below this norm (of gray levels 0..255) a window has no contrast


def thumbnail(image: np.ndarray, size: int = THUMBNAIL) -> np.ndarray:
    """(h, w) uint8 to (size, size) float32 in 0..255 with a box filter: the one kernel of every comparison."""
    source = Image.fromarray(np.ascontiguousarray(image)).convert("F")
    return np.array(source.resize((size, size), Image.Resampling.BOX))


def unit_vector(image: np.ndarray) -> np.ndarray:
    """Flatten to zero mean and unit norm, float32; an image without contrast gives zeros, so its NCC is 0."""
    vector = image.astype(np.float64).ravel()
    vector -= vector.mean()
    norm = float(np.linalg.norm(vector))
    # Rounding leaves a constant image with a norm near 0, not at 0; one gray level on one pixel has a norm of about 1.
    return (vector / norm if norm > 1e-3 else np.zeros_like(vector)).astype(np.float32)


def ncc(a: np.ndarray, b: np.ndarray) -> float:
    """Normalized cross-correlation of two images of equal shape, in -1..1; 0 when either has no contrast."""
    return float(unit_vector(a) @ unit_vector(b))


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

    query (Q, H, W), reference (R, H, W) uint8. Both are brought to `size` with the box filter; `shift` is in pixels of
    a 128-pixel image and is scaled with `size`. The query is mirrored and rescaled, its center is compared with every
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
    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for index in range(len(query)):
        spectra = rfft2(_templates(query[index], size, radius, scales, mirror), s=(size, size))
        exact = np.empty(count, np.float32)
        for place, row in enumerate(top[index].tolist()):
            if row not in known:
                if len(known) == CACHE:
                    known.clear()
                known[row] = _spectrum(reference[row], size, radius)
            exact[place] = _best(spectra, *known[row], size)
        coarse[index] = np.minimum(coarse[index], exact.min())
        coarse[index, top[index]] = exact
    return coarse


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


def _coarse(query: np.ndarray, reference: np.ndarray, radius: int, scales: Sequence[float], mirror: bool) -> np.ndarray:
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


def _spectrum(image: np.ndarray, size: int, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Spectrum of a reference at `size`, and norms (2 radius + 1, 2 radius + 1) of its windows about their means."""
    small = thumbnail(image, size).astype(np.float64)
    small -= small.mean()
    side = size - 2 * radius
    total, squares = _window_sums(small, side), _window_sums(small**2, side)
    norms = np.sqrt(np.clip(squares - total**2 / side**2, 0.0, None)).astype(np.float32)
    return rfft2(small.astype(np.float32)), norms


def _best(templates: np.ndarray, spectrum: np.ndarray, norms: np.ndarray, size: int) -> float:
    """Best NCC of the spectra of templates (V, size, size // 2 + 1) over all windows of one reference, by FFT."""
    reach = len(norms)
    side = size - reach + 1
    correlation = irfft2(spectrum[None] * np.conj(templates), s=(size, size))[:, :reach, :reach]
    value = np.where(norms > EPSILON * side, correlation / np.maximum(norms, EPSILON), 0.0)
    return float(np.clip(value.max(), -1.0, 1.0))


def _window_sums(image: np.ndarray, side: int) -> np.ndarray:
    """Sums over all side x side windows by an integral image."""
    table = np.pad(image, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    return table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
