"""Duplicates within a set and across sets: one definition for splits, leakage counts, pools and reports.

A pair of images is a pair of duplicates by one of three rules, each a function of the two images alone:

- pixels: the decoded pixels are equal;
- thumbnails: the perceptual hashes differ in at most 6 bits and the normalized cross-correlation (NCC) of 64 x 64
  thumbnails is at least .90, plain or mirrored. Finds re-encoded, resized and brightened copies;
- aligned: re-framed copies (cropped, shifted, mirrored). The images resemble each other in some window, and after
  alignment their NCC, their perceptual hashes and their fine detail all agree.

Thresholds are params (`prepare.duplicates`). Each listed pair carries the evidence of all three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from pipelines.datasets.descriptors import (
    SIDE,
    Descriptors,
    describe,
    describe_one,
    phash_hex,
)
from pipelines.datasets.linking import Between, Links, Within
from pipelines.datasets.reframing import Candidate, find_candidates, order_rows
from pipelines.datasets.registration import IDENTITY, Alignment, register
from pipelines.datasets.whole import Whole, compare, find_near

__all__ = [
    "PAIR_COLUMNS",
    "Descriptors",
    "Pair",
    "Rule",
    "Search",
    "cluster_sizes",
    "connected_groups",
    "describe",
    "describe_one",
    "find_pairs",
    "find_pairs_between",
    "pair_row",
    "phash_hex",
    "search",
]

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
class Search:
    """pairs: sorted; passed_over: comparisons left out: both images were connected already, with links enough."""

    pairs: list[Pair]
    passed_over: int


def find_pairs(descriptors: Descriptors, rule: Rule) -> list[Pair]:
    """Pairs a < b of one set, sorted. Their connected components are those of all pairs; see `search`."""
    return search(descriptors, rule).pairs


def search(known: Descriptors, rule: Rule) -> Search:
    """Pairs a < b of one set: each that connects two images, and the others of images with few links (`linking`).

    Of n images with equal pixels the first is paired with each other one, and alone takes part in the further search.
    """
    copies = _copies(known.pixels)
    links = Links(Within(len(known)), len(known))
    found = _search(known, known, rule, links, within=True)
    identical = [_identical(rows[0], row) for rows in copies.values() for row in rows[1:]]
    return Search(_sorted([*identical, *found]), links.passed_over)


def find_pairs_between(a: Descriptors, b: Descriptors, rule: Rule) -> list[Pair]:
    """Pairs of an image of one set and an image of another, as (row of a, row of b), sorted.

    For each image of b, every cluster of a that has a duplicate of it has a pair with it; further images of such a
    cluster are paired while they have few links (`linking`). Of images of equal pixels all are named, each with the
    first of the other set's.
    """
    copies_a, copies_b = _copies(a.pixels), _copies(b.pixels)
    clusters = Within(len(a))
    order = _order(a.pixels)
    # Clusters by the rule `thumbnails` alone: they lie within those of all rules, and no pair need be aligned for them.
    find_near(a, a, (order, order), (rule.phash_distance, rule.ncc), Links(clusters, len(a)), within=True)
    links = Links(Between(clusters.labels, len(b)), len(a), len(b))
    found = [_identical(copies_a[name][0], copies_b[name][0]) for name in sorted(copies_a.keys() & copies_b.keys())]
    for pair in found:
        links.add(pair.a, pair.b)
    found += _search(a, b, rule, links, within=False)
    for pair in found[:]:
        found += [replace(pair, b=row) for row in copies_b[b.pixels[pair.b]][1:]]
        found += [replace(pair, a=row) for row in copies_a[a.pixels[pair.a]][1:]]
    return _sorted(found)


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


def _copies(pixels: Sequence[str]) -> dict[str, list[int]]:
    """Rows per digest, ascending."""
    found: dict[str, list[int]] = {}
    for row, digest in enumerate(pixels):
        found.setdefault(digest, []).append(row)
    return found


def _order(pixels: Sequence[str]) -> np.ndarray:
    """The first row of each digest, by digest."""
    return np.array([rows[0] for _, rows in sorted(_copies(pixels).items())], np.int64)


def _identical(a: int, b: int) -> Pair:
    return Pair(a, b, "identical", "pixels", 0, 1.0, False, 0, 0, 1.0, 1.0, 0, 1.0, 1.0)


def _sorted(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: (pair.a, pair.b))


def _search(a: Descriptors, b: Descriptors, rule: Rule, links: Links, *, within: bool) -> list[Pair]:
    """Pairs of unequal pixels among the first images of each digest."""
    rows = _order(a.pixels), _order(b.pixels)
    whole = find_near(a, b, rows, (rule.phash_distance, rule.ncc), links, within=within)
    described: dict[tuple[int, int], Candidate] = {}
    found: list[Pair] = []
    for key, candidate in _candidates(a, b, rule, rows, links, whole.keys(), within=within):
        if key in whole:
            described[key] = candidate
        elif links.is_open(*key):
            connected = bool(links.clusters.connected(*(np.array([row]) for row in key))[0])
            pair = _judge(a, b, key, None, candidate, rule)
            if pair is not None:
                links.add(*key)
                found.append(pair)
            elif connected:
                links.count(*key)
        else:
            links.passed_over += 1
    judged = (_judge(a, b, key, value, described.get(key), rule) for key, value in whole.items())
    return [*found, *(pair for pair in judged if pair is not None)]


def _candidates(
    a: Descriptors,
    b: Descriptors,
    rule: Rule,
    rows: tuple[np.ndarray, np.ndarray],
    links: Links,
    listed: Collection[tuple[int, int]],
    *,
    within: bool,
) -> Iterator[tuple[tuple[int, int], Candidate]]:
    """Candidates of the rule `aligned` by their rows in a and b that are listed or may connect; lower row first within.

    rows: those to search, of each set.
    """
    if rule.aligned_resemblance > 1.0:
        return
    ranks = []
    for rank, chosen in zip(order_rows(a.pixels, b.pixels), rows, strict=True):
        kept = np.full(len(rank), -1, np.int64)
        kept[chosen] = rank[chosen]
        ranks.append(kept)
    codes = np.array(sorted(row * len(b) + column for row, column in listed), np.int64)

    def wanted(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        if within:
            first, second = np.minimum(first, second), np.maximum(first, second)
        asked = links.open(first, second) | np.isin(first * len(b) + second, codes)
        links.passed_over += int(len(asked) - asked.sum())
        return asked

    least = rule.aligned_resemblance
    for item in find_candidates(a.thumbnails, b.thumbnails, (ranks[0], ranks[1]), least, wanted):
        yield (min(item.a, item.b), max(item.a, item.b)) if within else (item.a, item.b), item
    if not within:
        turned = (ranks[1], ranks[0])
        for item in find_candidates(
            b.thumbnails, a.thumbnails, turned, least, lambda first, second: wanted(second, first)
        ):
            yield (item.b, item.a), item


def _judge(
    a: Descriptors, b: Descriptors, key: tuple[int, int], whole: Whole | None, candidate: Candidate | None, rule: Rule
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
        whole = compare(a, b, key, mirrored=mirrored)
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
