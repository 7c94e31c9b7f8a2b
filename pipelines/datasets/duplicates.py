"""Duplicates within a set and across sets: one definition for splits, leakage counts, pools and reports.

A pair of images is a pair of duplicates by one of three rules, each a function of the two images alone:

- pixels: the decoded pixels are equal;
- thumbnails: the perceptual hashes differ in at most 6 bits and the normalized cross-correlation (NCC) of 64 x 64
  thumbnails is at least .90, plain or mirrored. Finds re-encoded, resized and brightened copies;
- aligned: re-framed copies (cropped, shifted, mirrored). The images resemble each other in some window, and after
  alignment their NCC, their perceptual hashes and their fine detail all agree.

Thresholds are params (`prepare.duplicates`). Each pair carries the evidence of all three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pipelines.datasets.descriptors import (
    SIDE,
    Descriptors,
    describe,
    describe_one,
    hamming,
    perceptual_hashes,
    phash_hex,
    unit_vectors,
)
from pipelines.datasets.reframing import Candidate, find_candidates, order_rows
from pipelines.datasets.registration import IDENTITY, Alignment, register

__all__ = [
    "PAIR_COLUMNS",
    "Descriptors",
    "Pair",
    "Rule",
    "cluster_sizes",
    "connected_groups",
    "describe",
    "describe_one",
    "find_pairs",
    "find_pairs_between",
    "pair_row",
    "phash_hex",
]

ROWS = 2048  # hashes per block of the all-pairs comparison
CHUNK = 256  # pairs whose vectors are in memory at a time
SAME_SCALE = 0.02  # a scale within it, and a shift below half a pixel of the thumbnail, is the same framing


@dataclass(frozen=True)
class Rule:
    """Thresholds, as in params.prepare.duplicates.

    phash_distance, ncc: of whole thumbnails, both must hold. aligned_*: of the aligned common field, all must hold for
    pairs whose best window resembles the other image by at least aligned_resemblance (above 1: no such search).
    """

    phash_distance: int
    ncc: float
    aligned_resemblance: float
    aligned_ncc: float
    aligned_phash_distance: int
    aligned_detail: float


@dataclass(frozen=True)
class Pair:
    """Two rows with the evidence of their link. Within a set a < b; across sets a is a row of the first set.

    kind: identical (equal pixels), mirrored, cropped (unequal scale), shifted, re-encoded (the same framing), or
    similar (near as a whole, but the fine detail disagrees: another frame, or heavily altered). rule: pixels,
    thumbnails, aligned. phash_distance, ncc: of the whole thumbnails, of a's mirror image where mirrored. Then the
    alignment at 128 x 128: where a (mirrored first where mirrored) lies in b, as scale about the center and shift in
    pixels.
    """

    a: int
    b: int
    kind: str
    rule: str
    phash_distance: int
    ncc: float
    mirrored: bool
    shift_x: int
    shift_y: int
    scale_x: float
    scale_y: float
    aligned_phash_distance: int
    aligned_ncc: float
    aligned_detail: float


PAIR_COLUMNS = tuple(field.name for field in fields(Pair))


@dataclass(frozen=True)
class _Whole:
    """Comparison of whole thumbnails."""

    mirrored: bool
    phash_distance: int
    ncc: float


def find_pairs(descriptors: Descriptors, rule: Rule) -> list[Pair]:
    """All pairs a < b of one set, sorted. Of n images with equal pixels the first is paired with each other one."""
    pixels = descriptors.pixels
    first: dict[str, int] = {}
    identical = [
        (row, place) for place, digest in enumerate(pixels) if (row := first.setdefault(digest, place)) != place
    ]
    return _collect(descriptors, descriptors, rule, identical, within=True)


def find_pairs_between(a: Descriptors, b: Descriptors, rule: Rule) -> list[Pair]:
    """All pairs of an image of one set and an image of another, as (row of a, row of b), sorted."""
    places: dict[str, list[int]] = {}
    for row, digest in enumerate(a.pixels):
        places.setdefault(digest, []).append(row)
    identical = [(row, place) for place, digest in enumerate(b.pixels) for row in places.get(digest, ())]
    return _collect(a, b, rule, identical, within=False)


def pair_row(pair: Pair, names_a: Sequence[str], names_b: Sequence[str] | None = None) -> dict[str, Any]:
    """A row of duplicates.csv: PAIR_COLUMNS with the names of the cases in place of the rows; mirrored is 0 or 1."""
    names = names_a if names_b is None else names_b
    values = {name: getattr(pair, name) for name in PAIR_COLUMNS}
    return values | {"a": names_a[pair.a], "b": names[pair.b], "mirrored": int(pair.mirrored)}


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


def conflict_rows(classes: Sequence[str], clusters: Sequence[int]) -> set[int]:
    """Rows whose cluster of duplicates holds more than one class. clusters: as `connected_groups` gives them."""
    found: dict[int, set[str]] = {}
    for name, cluster in zip(classes, clusters, strict=True):
        found.setdefault(cluster, set()).add(name)
    return {row for row, cluster in enumerate(clusters) if len(found[cluster]) > 1}


def cluster_sizes(count: int, pairs: Iterable[Pair]) -> dict[int, int]:
    """Number of clusters per size, from 2 on, sorted; a large cluster may be a chain of mere resemblances."""
    members = Counter(connected_groups(count, ((pair.a, pair.b) for pair in pairs)))
    return dict(sorted(Counter(size for size in members.values() if size > 1).items()))


def _collect(
    a: Descriptors, b: Descriptors, rule: Rule, identical: Sequence[tuple[int, int]], *, within: bool
) -> list[Pair]:
    found = {key: Pair(*key, "identical", "pixels", 0, 1.0, False, 0, 0, 1.0, 1.0, 0, 1.0, 1.0) for key in identical}
    whole = dict(_near_thumbnails(a, b, rule, within=within))
    candidates = _candidates(a, b, rule, within=within)
    for key in sorted(whole.keys() | candidates.keys()):
        if a.pixels[key[0]] != b.pixels[key[1]]:
            pair = _judge(a, b, key, whole.get(key), candidates.get(key), rule)
            if pair is not None:
                found[key] = pair
    return [found[key] for key in sorted(found)]


def _near_thumbnails(
    a: Descriptors, b: Descriptors, rule: Rule, *, within: bool
) -> Iterator[tuple[tuple[int, int], _Whole]]:
    """Pairs by the rule `thumbnails`; one that is near both ways is plain. Vectors are made where hashes are near."""
    plain_a, mirrored_a = (perceptual_hashes(a.thumbnails, mirrored=flip) for flip in (False, True))
    plain_b, mirrored_b = (perceptual_hashes(b.thumbnails, mirrored=flip) for flip in (False, True))
    for top in range(0, len(a), ROWS):
        for left in range(top if within else 0, len(b), ROWS):
            rows, columns = slice(top, top + ROWS), slice(left, left + ROWS)
            plain = hamming(plain_a[rows, None], plain_b[None, columns])
            # The hash of a mirror image is not the mirrored hash bit for bit, so both ways are asked.
            flipped = np.minimum(
                hamming(plain_a[rows, None], mirrored_b[None, columns]),
                hamming(mirrored_a[rows, None], plain_b[None, columns]),
            )
            taken: set[tuple[int, int]] = set()
            for mirrored, distance in ((False, plain), (True, flipped)):
                hits = np.argwhere(distance <= rule.phash_distance)
                if within:
                    hits = hits[hits[:, 0] + top < hits[:, 1] + left]
                for start in range(0, len(hits), CHUNK):
                    part = hits[start : start + CHUNK]
                    values = _ncc(a, b, part + np.array([top, left]), mirrored)
                    for (i, j), value in zip(part.tolist(), values, strict=True):
                        key = (i + top, j + left)
                        if value >= rule.ncc and key not in taken:
                            taken.add(key)
                            yield key, _Whole(mirrored, int(distance[i, j]), float(value))


def _ncc(a: Descriptors, b: Descriptors, pairs: np.ndarray, mirrored: bool) -> np.ndarray:
    """NCC (P,) of the pairs (P, 2) of rows, the first one mirrored or not."""
    first = np.asarray(a.thumbnails[pairs[:, 0]])
    second = np.asarray(b.thumbnails[pairs[:, 1]])
    return np.einsum("nd,nd->n", unit_vectors(first[..., ::-1] if mirrored else first), unit_vectors(second))


def _candidates(a: Descriptors, b: Descriptors, rule: Rule, *, within: bool) -> Mapping[tuple[int, int], Candidate]:
    """Candidates of the rule `aligned` by their rows in a and b; within one set the lower row comes first."""
    if rule.aligned_resemblance > 1.0:
        return {}
    ranks_a, ranks_b = order_rows(a.pixels, b.pixels)
    found = find_candidates(a.thumbnails, b.thumbnails, (ranks_a, ranks_b), rule.aligned_resemblance)
    if within:
        return {(min(item.a, item.b), max(item.a, item.b)): item for item in found}
    reverse = find_candidates(b.thumbnails, a.thumbnails, (ranks_b, ranks_a), rule.aligned_resemblance)
    return {(item.a, item.b): item for item in found} | {(item.b, item.a): item for item in reverse}


def _judge(
    a: Descriptors, b: Descriptors, key: tuple[int, int], whole: _Whole | None, candidate: Candidate | None, rule: Rule
) -> Pair | None:
    """The pair with its evidence, or None where no rule makes it one."""
    mirrored = whole.mirrored if whole else candidate is not None and candidate.mirrored
    starts = [IDENTITY]
    if candidate is not None and candidate.mirrored == mirrored:
        starts.append(candidate.start)
    first, second = np.asarray(a.thumbnails[key[0]]), np.asarray(b.thumbnails[key[1]])
    # The image of the lower digest is searched for in the other one: no row number enters the decision.
    turned = a.pixels[key[0]] > b.pixels[key[1]]
    if turned:
        first, second = second, first
    alignment = register(first[:, ::-1] if mirrored else first, second, starts)
    agrees = (
        alignment.ncc >= rule.aligned_ncc
        and alignment.phash_distance <= rule.aligned_phash_distance
        and alignment.detail >= rule.aligned_detail
    )
    if whole is None:
        if not agrees:
            return None
        whole = _compare_whole(a, b, key, mirrored)
        name = "aligned"
    else:
        name = "thumbnails"
    scale_x, scale_y, shift_x, shift_y = _placement(alignment, turned=turned, mirrored=mirrored)
    shift = round(shift_x * SIDE), round(shift_y * SIDE)
    return Pair(
        *key,
        _kind(mirrored, agrees, (scale_x, scale_y), shift),
        name,
        whole.phash_distance,
        round(whole.ncc, 4),
        mirrored,
        *shift,
        round(scale_x, 3),
        round(scale_y, 3),
        alignment.phash_distance,
        round(alignment.ncc, 4),
        round(alignment.detail, 4),
    )


def _compare_whole(a: Descriptors, b: Descriptors, key: tuple[int, int], mirrored: bool) -> _Whole:
    hashes = [
        perceptual_hashes(np.asarray(a.thumbnails[key[0]])[None], mirrored=mirrored),
        perceptual_hashes(np.asarray(b.thumbnails[key[1]])[None]),
    ]
    return _Whole(mirrored, int(hamming(*hashes)[0]), float(_ncc(a, b, np.array([key]), mirrored)[0]))


def _placement(alignment: Alignment, *, turned: bool, mirrored: bool) -> tuple[float, float, float, float]:
    """scale_x, scale_y, shift_x, shift_y of a in b; `turned`: the alignment is of b in a."""
    scale_x, scale_y = alignment.scale_x, alignment.scale_y
    shift_x, shift_y = alignment.shift_x, alignment.shift_y
    if not turned:
        return scale_x, scale_y, shift_x, shift_y
    # x_a = shift + scale x_b becomes x_b = (x_a - shift) / scale; a mirror image turns the sign of x on one side.
    return 1.0 / scale_x, 1.0 / scale_y, (shift_x if mirrored else -shift_x) / scale_x, -shift_y / scale_y


def _kind(mirrored: bool, agrees: bool, scales: tuple[float, float], shift: tuple[int, int]) -> str:
    if not agrees:
        return "similar"
    if mirrored:
        return "mirrored"
    if max(abs(scale - 1.0) for scale in scales) > SAME_SCALE:
        return "cropped"
    return "shifted" if any(shift) else "re-encoded"
