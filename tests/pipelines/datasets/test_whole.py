from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.descriptors import Descriptors, describe, hamming, ncc, perceptual_hashes
from pipelines.datasets.linking import Between, Links, Within
from pipelines.datasets.whole import compare, find_near
from tests.support.pictures import reencoded, scene

IMAGES = [scene(seed) for seed in range(6)]
KNOWN = describe(
    [*IMAGES, reencoded(IMAGES[1]), np.ascontiguousarray(IMAGES[4][:, ::-1]), reencoded(IMAGES[1][::2, ::2])]
)
LIMITS = (6, 0.9)


def near(known: Descriptors, order: list[int], limits: tuple[int, float] = LIMITS) -> dict[tuple[int, int], bool]:
    rows, links = np.array(order), Links(Within(len(known)), len(known))
    found = find_near(known, known, (rows, rows), limits, links, within=True)
    return {key: whole.mirrored for key, whole in found.items()}


def test_near_pairs_plain_and_mirrored_in_any_order() -> None:
    expected = {(1, 6): False, (1, 8): False, (6, 8): False, (4, 7): True}
    assert near(KNOWN, list(range(9))) == expected
    assert near(KNOWN, [8, 3, 7, 1, 0, 2, 6, 5, 4]) == expected
    assert near(KNOWN, [0, 1, 2, 3, 4, 5, 8]) == {(1, 8): False}


def test_both_limits_must_hold() -> None:
    assert near(KNOWN, list(range(9)), (-1, 0.9)) == {}
    assert near(KNOWN, list(range(9)), (6, 1.01)) == {}
    value = float(ncc(KNOWN.thumbnails[[1]], KNOWN.thumbnails[[6]])[0])
    assert (1, 6) in near(KNOWN, list(range(9)), (6, value))
    assert (1, 6) not in near(KNOWN, list(range(9)), (6, float(np.nextafter(value, 2.0))))


def test_evidence_is_that_of_the_pair() -> None:
    whole = compare(KNOWN, KNOWN, (1, 6), mirrored=False)
    hashes = perceptual_hashes(KNOWN.thumbnails[[1, 6]])
    assert whole.phash_distance == hamming(hashes[0], hashes[1])
    assert whole.ncc == ncc(KNOWN.thumbnails[[1]], KNOWN.thumbnails[[6]])[0] > 0.99
    assert compare(KNOWN, KNOWN, (4, 7), mirrored=True).ncc == pytest.approx(1.0, abs=0.01)


def test_pairs_between_sets_are_rows_of_each_and_never_equal_pixels() -> None:
    other = describe([scene(9), reencoded(IMAGES[1])])  # the second one is image 6
    links = Links(Between(np.arange(9), 2), 9, 2)
    found = find_near(KNOWN, other, (np.arange(9), np.arange(2)), LIMITS, links, within=False)
    assert sorted(found) == [(1, 1), (8, 1)]
