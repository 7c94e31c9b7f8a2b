"""The rule `thumbnails`: pairs of images whose whole thumbnails are near, plain or mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.datasets.descriptors import Descriptors, hamming, ncc, perceptual_hashes
from pipelines.datasets.linking import Links

ROWS = 64  # hashes per block of the all-pairs comparison
CHUNK = 256  # pairs whose thumbnails are in memory at a time


@dataclass(frozen=True)
class Whole:
    """Comparison of whole thumbnails, of a's mirror image where mirrored."""

    mirrored: bool
    phash_distance: int
    ncc: float


def find_near(
    a: Descriptors,
    b: Descriptors,
    rows: tuple[np.ndarray, np.ndarray],
    limits: tuple[int, float],
    links: Links,
    *,
    within: bool,
) -> dict[tuple[int, int], Whole]:
    """Pairs (row of a, row of b) of hashes within limits[0] bits and NCC >= limits[1], which join `links`.

    rows: those to compare, in the order to compare them in. Within one set both are the same, and each pair is taken
    once, lower row first; between sets pairs of equal digests are left out. A pair that is near both ways is plain.
    Pairs that `links` has no use for are passed over.
    """
    order_a, order_b = rows
    plain_a, mirrored_a = (_hashes(a, order_a, mirrored=flip) for flip in (False, True))
    plain_b, mirrored_b = (
        (plain_a, mirrored_a) if within else (_hashes(b, order_b, mirrored=flip) for flip in (False, True))
    )
    found: dict[tuple[int, int], Whole] = {}
    for top in range(0, len(order_a), ROWS):
        left = top if within else 0
        block = slice(top, top + ROWS)
        plain = hamming(plain_a[block, None], plain_b[None, left:])
        # The hash of a mirror image is not the mirrored hash bit for bit, so both ways are asked.
        flipped = np.minimum(
            hamming(plain_a[block, None], mirrored_b[None, left:]),
            hamming(mirrored_a[block, None], plain_b[None, left:]),
        )
        near = np.minimum(plain, flipped) <= limits[0]
        for i in np.flatnonzero(near.any(axis=1)).tolist():
            places = np.flatnonzero(near[i])
            row = int(order_a[top + i])
            if within:
                places = places[places > i]
            else:
                other = [b.pixels[column] != a.pixels[row] for column in order_b[places]]
                places = places[np.array(other, bool)]
            columns = order_b[left + places]
            distances = np.stack([plain[i, places], flipped[i, places]], axis=1)
            for column, whole in _of_row(a, b, row, columns, distances, limits, links):
                found[(min(row, column), max(row, column)) if within else (row, column)] = whole
    return found


def compare(a: Descriptors, b: Descriptors, key: tuple[int, int], *, mirrored: bool) -> Whole:
    """The evidence of one pair of rows."""
    first, second = np.asarray(a.thumbnails[key[0]])[None], np.asarray(b.thumbnails[key[1]])[None]
    distance = hamming(perceptual_hashes(first, mirrored=mirrored), perceptual_hashes(second))
    return Whole(mirrored, int(distance[0]), float(ncc(first[..., ::-1] if mirrored else first, second)[0]))


def _of_row(
    a: Descriptors,
    b: Descriptors,
    row: int,
    columns: np.ndarray,
    distances: np.ndarray,
    limits: tuple[int, float],
    links: Links,
) -> Iterator[tuple[int, Whole]]:
    """Links of one row. columns: (P,) near by hash; distances: (P, 2) plain and mirrored."""
    rows = np.full(len(columns), row)
    connected = links.clusters.connected(rows, columns)
    apart = np.flatnonzero(~connected)
    for start in range(0, len(apart), CHUNK):
        chosen = apart[start : start + CHUNK]
        for place, whole in _near(a, b, row, columns, distances, chosen, limits):
            if links.is_open(row, int(columns[place])):
                links.add(row, int(columns[place]))
                yield int(columns[place]), whole
            else:
                links.passed_over += 1
    chosen = np.flatnonzero(connected)
    few = chosen[links.open(rows[chosen], columns[chosen])][: links.room(row)]
    links.passed_over += len(chosen) - len(few)
    for place, whole in _near(a, b, row, columns, distances, few, limits):
        links.add(row, int(columns[place]))
        yield int(columns[place]), whole


def _near(
    a: Descriptors,
    b: Descriptors,
    row: int,
    columns: np.ndarray,
    distances: np.ndarray,
    chosen: np.ndarray,
    limits: tuple[int, float],
) -> list[tuple[int, Whole]]:
    """The chosen places of `columns` that are near the row by NCC, too."""
    found: dict[int, Whole] = {}
    for mirrored in (False, True):
        places = [
            place for place in chosen[distances[chosen, int(mirrored)] <= limits[0]].tolist() if place not in found
        ]
        first = np.asarray(a.thumbnails[row])[None]
        second = np.asarray(b.thumbnails[columns[places]])
        values = ncc(np.repeat(first[..., ::-1] if mirrored else first, len(places), axis=0), second)
        for place, value in zip(places, values.tolist(), strict=True):
            if value >= limits[1]:
                found[place] = Whole(mirrored, int(distances[place, int(mirrored)]), value)
    return sorted(found.items())


def _hashes(known: Descriptors, order: np.ndarray, *, mirrored: bool) -> np.ndarray:
    return perceptual_hashes(known.thumbnails, mirrored=mirrored)[order]
