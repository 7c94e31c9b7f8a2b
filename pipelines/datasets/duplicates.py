"""Near-duplicates and copies: one definition for splits, leakage counts, the audit and the test-copy count.

A pair is near when the perceptual hashes differ in at most 6 bits and the normalized cross-correlation (NCC) of 64 x 64
box-filtered thumbnails is at least .90; the same against the mirrored image. Equal pixels are a pair in any case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import dctn

from pipelines.datasets.alignment import THUMBNAIL, aligned_ncc, ncc, thumbnail, unit_vector
from pipelines.datasets.images import pixel_hash

__all__ = [
    "Descriptors",
    "Nearest",
    "Pair",
    "aligned_ncc",
    "connected_groups",
    "copy_decision",
    "describe",
    "distance_ratio",
    "find_pairs",
    "hamming",
    "hard_copies",
    "ncc",
    "nearest_by_group",
    "phash64",
    "phash_hex",
    "thumbnail",
    "unit_vector",
]

HASH_SIDE = 32
BLOCK = 1024  # rows per block of the all-pairs product


@dataclass(frozen=True)
class Descriptors:
    """N images. pixels: sha256; phash, phash_mirrored: (N,) uint64; vectors, mirrored: (N, 4096) float32, unit norm."""

    pixels: tuple[str, ...]
    phash: np.ndarray
    phash_mirrored: np.ndarray
    vectors: np.ndarray
    mirrored: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Two rows a < b; kind is identical (equal pixels), near, or mirrored (b resembles a flipped left to right)."""

    a: int
    b: int
    kind: str
    phash_distance: int
    ncc: float


def phash64(image: np.ndarray) -> int:
    """64-bit perceptual hash of an (h, w) uint8 image.

    32 x 32 box thumbnail, DCT-II, top-left 8 x 8, bit = coefficient above the median of the 63 without the DC term;
    row-major, the DC term's bit first.
    """
    return _phash(thumbnail(image, HASH_SIDE))


def _phash(small: np.ndarray) -> int:
    coefficients = dctn(small.astype(np.float64), type=2, norm="ortho")[:8, :8].ravel()
    bits = coefficients > np.median(coefficients[1:])
    return int("".join("1" if bit else "0" for bit in bits), 2)


def phash_hex(value: int) -> str:
    return f"{value:016x}"


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number of differing bits of two broadcastable uint64 arrays."""
    return np.bitwise_count(np.bitwise_xor(a, b)).astype(np.int64)


def describe(images: Iterable[np.ndarray]) -> Descriptors:
    """Descriptors of (h, w) uint8 images, one at a time, so that a generator may decode them on the way."""
    pixels: list[str] = []
    hashes: list[tuple[int, int]] = []
    vectors: list[np.ndarray] = []
    mirrored: list[np.ndarray] = []
    for image in images:
        pixels.append(pixel_hash(image))
        small = thumbnail(image, HASH_SIDE)
        hashes.append((_phash(small), _phash(small[:, ::-1])))
        thumb = thumbnail(image)
        vectors.append(unit_vector(thumb))
        mirrored.append(unit_vector(thumb[:, ::-1]))
    both = np.array(hashes, np.uint64).reshape(-1, 2)
    stack = np.zeros((0, THUMBNAIL**2), np.float32)
    return Descriptors(
        tuple(pixels),
        both[:, 0],
        both[:, 1],
        np.stack(vectors) if vectors else stack,
        np.stack(mirrored) if mirrored else stack,
    )


def find_pairs(
    images: Iterable[np.ndarray] | Descriptors, phash_distance: int = 6, min_ncc: float = 0.90
) -> list[Pair]:
    """All pairs (a < b) under the rule, sorted; one blocked matrix product for plain and one for mirrored images.

    A pair that is near both ways is reported once, as near; equal pixels as identical.
    """
    known = images if isinstance(images, Descriptors) else describe(images)
    count = len(known.pixels)
    found: dict[tuple[int, int], Pair] = {}
    by_pixels: dict[str, int] = {}
    for kind, others, hashes in (
        ("near", known.vectors, known.phash),
        ("mirrored", known.mirrored, known.phash_mirrored),
    ):
        for start in range(0, count, BLOCK):
            stop = min(start + BLOCK, count)
            for column in range(start, count, BLOCK):
                end = min(column + BLOCK, count)
                product = known.vectors[start:stop] @ others[column:end].T
                distance = hamming(known.phash[start:stop, None], hashes[None, column:end])
                for i, j in np.argwhere((product >= min_ncc) & (distance <= phash_distance)):
                    a, b = start + int(i), column + int(j)
                    if a < b and (a, b) not in found:
                        found[a, b] = Pair(a, b, kind, int(distance[i, j]), round(float(product[i, j]), 4))
    for index, digest in enumerate(known.pixels):
        first = by_pixels.setdefault(digest, index)
        if first != index:
            found[first, index] = Pair(first, index, "identical", 0, 1.0)
    for key, pair in found.items():
        if pair.kind != "identical" and known.pixels[pair.a] == known.pixels[pair.b]:
            found[key] = Pair(pair.a, pair.b, "identical", 0, 1.0)
    return [found[key] for key in sorted(found)]


def connected_groups(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Union-find over `count` nodes; returns for each node the smallest node of its component."""
    root = list(range(count))

    def find(node: int) -> int:
        while root[node] != node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for a, b in edges:
        low, high = sorted((find(a), find(b)))
        root[high] = low
    return [find(node) for node in range(count)]


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
    aligned: np.ndarray,
    phash_query: np.ndarray,
    phash_query_mirrored: np.ndarray,
    phash_reference: np.ndarray,
    hard_ncc: float,
    phash_distance: int = 6,
) -> np.ndarray:
    """(Q, R) bool: aligned NCC of at least `hard_ncc` and perceptual hashes within 6 bits, plain or mirrored."""
    plain = hamming(phash_query[:, None], phash_reference[None, :])
    mirrored = hamming(phash_query_mirrored[:, None], phash_reference[None, :])
    return (aligned >= hard_ncc) & (np.minimum(plain, mirrored) <= phash_distance)


def copy_decision(nearest: Nearest, *, tau: float, ratio: float, hard: np.ndarray) -> np.ndarray:
    """(Q,) bool: flagged = (similarity above tau and distance ratio below `ratio`, on one metric) or hard.

    `tau` is the 95th percentile of the same similarity between real images of different patients; `ratio` 1/3
    (criterion of arXiv 2505.16959, per group instead of per image); `hard` (Q,) or (Q, R) bool. One definition for
    dropping samples, for recall, for false alarms, and for the count of copies of test images.
    """
    any_hard = hard.any(axis=1) if hard.ndim == 2 else hard
    return ((nearest.similarity > tau) & (distance_ratio(nearest) < ratio)) | any_hard
