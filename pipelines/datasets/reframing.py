"""Candidates for re-framed copies: cropped, shifted or stretched by up to a tenth of a side, mirrored or not.

The center of one image (a tenth of each side left out) is compared with many windows of the other. A window is
described by the 8 x 8 DCT coefficients that the perceptual hash takes its bits from, without the DC term, weighted by
frequency (low ones are shared by all ultrasound: bright above, dark below) and scaled to unit norm. Every step up to
the norm is linear and separable, so the windows of one thumbnail are one product of matrices, and the comparison of
all pairs is one blocked product per orientation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import dct

from pipelines.datasets.descriptors import CONTRAST, SIDE
from pipelines.datasets.registration import MARGIN

OFFSETS = (0.0, 0.05, 0.1, 0.15, 0.2)  # of a window's edges, in sides
WINDOWS = tuple((low, 1.0 - high) for low in OFFSETS for high in OFFSETS)  # of one axis
SAMPLES, COEFFICIENTS = 32, 8
LENGTH = COEFFICIENTS**2
CENTER = (MARGIN, 1.0 - MARGIN)
ROUNDING = 1e-4  # far above the rounding of a float32 product, which depends on the shape of the block
ROWS, COLUMNS = 256, 16  # images per block: the product has ROWS x COLUMNS x 625 entries, 10 MB


Wanted = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (P,) rows a, (P,) rows b -> (P,) bool


@dataclass(frozen=True)
class Candidate:
    """Row a, mirrored or not, resembles row b; start: (scale_x, shift_x, scale_y, shift_y) as in `registration`."""

    a: int
    b: int
    mirrored: bool
    resemblance: float
    start: tuple[float, float, float, float]


def order_rows(*digests: Sequence[str]) -> list[np.ndarray]:
    """One rank per digest of several sets, the same for equal digests: an order that no row number enters."""
    rank = {digest: place for place, digest in enumerate(sorted({name for names in digests for name in names}))}
    return [np.array([rank[name] for name in names], np.int64) for names in digests]


def find_candidates(
    first: np.ndarray,
    second: np.ndarray,
    ranks: tuple[np.ndarray, np.ndarray],
    least: float,
    wanted: Wanted | None = None,
) -> Iterator[Candidate]:
    """Pairs (a, b) with resemblance >= least and rank of a < rank of b; stacks (N, 128, 128), (M, 128, 128) uint8.

    ranks: (N,) and (M,) from `order_rows`: the center of the image of lower rank is searched for in the other one, so
    each pair is compared once, in a direction that does not depend on the order of the rows. Rows of negative rank are
    left out. Given by rank of b, then of a. wanted: asked block by block, before the block's first pair is given, which
    pairs of rows are still to be named; it may answer yes too often.
    """
    rows, columns = (np.argsort(rank, kind="stable") for rank in ranks)
    rows, columns = rows[ranks[0][rows] >= 0], columns[ranks[1][columns] >= 0]
    parts = [np.zeros((0, LENGTH), np.float32)]
    for start in range(0, len(rows), ROWS):
        parts.append(describe_windows(np.asarray(first[rows[start : start + ROWS]]), (CENTER,))[:, 0])
    plain = np.concatenate(parts)
    orientations = (plain, plain * _mirror())
    for column in range(0, len(columns), COLUMNS):
        places = columns[column : column + COLUMNS]
        table = describe_windows(np.asarray(second[places]), WINDOWS).reshape(-1, LENGTH).T
        after = ranks[1][places]
        stop = int(np.searchsorted(ranks[0][rows], after[-1]))  # no later row stands before an image of this block
        found: dict[tuple[int, int], list[_Match]] = {}
        for start in range(0, stop, ROWS):
            chosen = rows[start : min(start + ROWS, stop)]
            before = ranks[0][chosen][:, None] < after[None, :]
            for mirrored, centers in enumerate(orientations):
                product = (centers[start : start + len(chosen)] @ table).reshape(len(chosen), len(places), -1)
                best = product.max(axis=2)
                hits = np.argwhere((best >= least - ROUNDING) & before)
                if wanted is not None and len(hits):
                    hits = hits[wanted(chosen[hits[:, 0]], places[hits[:, 1]])]
                for i, j in hits.tolist():
                    match = _match(product[i, j], bool(mirrored))
                    found.setdefault((j, start + i), []).append(match)
        for (j, i), matches in sorted(found.items()):
            match = _settle(first[rows[i]], second[places[j]], matches, least)
            if match.resemblance >= least:
                place = int(rows[i]), int(places[j])
                yield Candidate(*place, match.mirrored, match.resemblance, start_of(match.window))


@dataclass(frozen=True)
class _Match:
    """Best window of one orientation. tied: another window comes so near that rounding may have chosen."""

    resemblance: float
    mirrored: bool
    window: int
    tied: bool


def _match(resemblance: np.ndarray, mirrored: bool) -> _Match:
    window = int(resemblance.argmax())
    value = float(resemblance[window])
    return _Match(value, mirrored, window, int(np.count_nonzero(resemblance >= value - ROUNDING)) > 1)


def _settle(first: np.ndarray, second: np.ndarray, matches: Sequence[_Match], least: float) -> _Match:
    """The better orientation, the plain one where both are equal.

    A float32 product differs by some 1e-7 with the shape of its block, so with what other images there are. Where that
    could decide, the pair is compared anew, alone and in float64.
    """
    best = max(matches, key=lambda match: match.resemblance)
    close = [match for match in matches if match.resemblance >= best.resemblance - ROUNDING]
    if len(close) == 1 and not best.tied and best.resemblance >= least + ROUNDING:
        return best
    center = describe_windows(np.asarray(first)[None], (CENTER,), np.float64)[0, 0]
    table = describe_windows(np.asarray(second)[None], WINDOWS, np.float64)[0]
    exact = (_match(table @ values, bool(flip)) for flip, values in enumerate((center, center * _mirror())))
    return max(exact, key=lambda match: match.resemblance)


def describe_windows(
    thumbnails: np.ndarray, windows: tuple[tuple[float, float], ...], dtype: type[np.floating] = np.float32
) -> np.ndarray:
    """(N, W * W, 64) of `dtype`, of (N, 128, 128) uint8: all pairs (window of the rows, window of the columns)."""
    operator = np.concatenate([_operator(low, high) for low, high in windows]).astype(dtype)
    count = len(windows)
    # Two large products instead of many small ones: N, columns, rows -> N, coefficients of both.
    stack = thumbnails.transpose(0, 2, 1).reshape(-1, SIDE).astype(dtype) @ operator.T
    stack = stack.reshape(len(thumbnails), SIDE, -1).transpose(0, 2, 1).reshape(-1, SIDE) @ operator.T
    parts = stack.reshape(-1, count, COEFFICIENTS, count, COEFFICIENTS).transpose(0, 1, 3, 2, 4)
    parts = parts.reshape(len(thumbnails), count * count, LENGTH) * _weights().astype(dtype)
    norms = np.linalg.norm(parts, axis=2, keepdims=True)
    return np.where(norms > CONTRAST * SAMPLES, parts / np.maximum(norms, CONTRAST), dtype(0.0))


def start_of(window: int) -> tuple[float, float, float, float]:
    """Scale and shift of each axis that lay the center of the first image on a window of the second."""
    of_rows, of_columns = divmod(window, len(WINDOWS))
    (scale_x, shift_x), (scale_y, shift_y) = (
        ((high - low) / (1.0 - 2.0 * MARGIN), (low + high) / 2.0 - 0.5)
        for low, high in (WINDOWS[of_columns], WINDOWS[of_rows])
    )
    return scale_x, shift_x, scale_y, shift_y


def _operator(low: float, high: float) -> np.ndarray:
    """(8, 128): box means of 32 equal cells of low..high, then the first 8 coefficients of their DCT-II."""
    edges = np.linspace(low, high, SAMPLES + 1) * SIDE
    pixel = np.arange(SIDE)
    cover = np.minimum(edges[1:, None], pixel + 1.0) - np.maximum(edges[:-1, None], pixel)
    cover = np.clip(cover, 0.0, None)
    means = cover / cover.sum(axis=1, keepdims=True)
    return dct(means, type=2, norm="ortho", axis=0)[:COEFFICIENTS]


def _mirror() -> np.ndarray:
    """(64,) float32: signs that make the coefficients of an image those of its mirror image."""
    return np.tile(np.where(np.arange(COEFFICIENTS) % 2, -1.0, 1.0), COEFFICIENTS).astype(np.float32)


def _weights() -> np.ndarray:
    """(64,): the frequency of each coefficient; 0 for the DC term."""
    return np.hypot(*np.mgrid[:COEFFICIENTS, :COEFFICIENTS]).ravel()
