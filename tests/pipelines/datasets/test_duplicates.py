from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.descriptors import describe
from pipelines.datasets.duplicates import (
    PAIR_COLUMNS,
    Descriptors,
    cluster_sizes,
    connected_groups,
    find_pairs,
    find_pairs_between,
    pair_row,
)
from tests.support.duplicates import default_rule
from tests.support.pictures import layers, reencoded, scene

RULE = default_rule()
IMAGES = [scene(seed, 300, 400) for seed in range(12)]
MIRROR = slice(None, None, -1)


def copies() -> list[np.ndarray]:
    return [
        IMAGES[3].copy(),
        reencoded(IMAGES[5]),
        np.ascontiguousarray(IMAGES[7][:, MIRROR]),
        IMAGES[8][:, 40:],
        np.ascontiguousarray(IMAGES[9][20:, MIRROR][:, :370]),
        np.array(Image.fromarray(IMAGES[10]).resize((150, 260), Image.Resampling.BICUBIC)),
    ]


def test_pairs_of_every_kind_and_no_other() -> None:
    found = {(pair.a, pair.b): pair for pair in find_pairs(describe([*IMAGES, *copies()]), RULE)}
    assert {key: (pair.kind, pair.rule) for key, pair in found.items()} == {
        (3, 12): ("identical", "pixels"),
        (5, 13): ("re-encoded", "thumbnails"),
        (7, 14): ("mirrored", "thumbnails"),
        (8, 15): ("cropped", "aligned"),
        (9, 16): ("mirrored", "aligned"),
        (10, 17): ("re-encoded", "thumbnails"),
    }
    assert found[5, 13].ncc > 0.99
    assert found[3, 12].phash_distance == 0
    assert found[7, 14].mirrored
    assert found[8, 15].aligned_ncc > 0.95 > found[8, 15].ncc
    assert found[8, 15].aligned_detail > 0.9


def test_the_evidence_says_where_a_lies_in_b_whatever_the_order_of_the_rows() -> None:
    """The copy lacks 40 of 400 columns on the left: content is 10/9 as large in it, its center 5.6% further left."""
    for flip in (False, True):
        copy = IMAGES[8][:, 40:]
        copy = np.ascontiguousarray(copy[:, MIRROR]) if flip else copy
        (forward,) = find_pairs(describe([IMAGES[8], copy]), RULE)
        (backward,) = find_pairs(describe([copy, IMAGES[8]]), RULE)
        assert (forward.scale_x, backward.scale_x) == pytest.approx((10 / 9, 0.9), abs=0.01)
        assert (forward.scale_y, backward.scale_y) == pytest.approx((1.0, 1.0), abs=0.01)
        # Whole image: x - 1/2 -> (x - 1/2) 10/9 - 1/18; the mirrored one runs the other way.
        assert forward.shift_x == (7 if flip else -7)
        assert backward.shift_x == (round(128 * 0.05) if not flip else 6)
        assert (forward.shift_y, backward.shift_y) == (0, 0)
        assert forward.mirrored == backward.mirrored == flip


def test_pairs_do_not_depend_on_the_order_of_the_rows() -> None:
    images = [*IMAGES, *copies()]
    order = np.random.default_rng(0).permutation(len(images))
    straight = {frozenset((pair.a, pair.b)) for pair in find_pairs(describe(images), RULE)}
    shuffled = find_pairs(describe(images[row] for row in order), RULE)
    assert {frozenset((int(order[pair.a]), int(order[pair.b]))) for pair in shuffled} == straight
    assert all(pair.a < pair.b for pair in shuffled)


def test_pairs_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    known = describe([*IMAGES, *copies()])
    whole = find_pairs(known, RULE)
    monkeypatch.setattr("pipelines.datasets.duplicates.ROWS", 5)
    monkeypatch.setattr("pipelines.datasets.duplicates.CHUNK", 2)
    assert find_pairs(known, RULE) == whole


def test_pairs_between_two_sets_are_those_of_their_union() -> None:
    a, b = describe(IMAGES), describe(copies())
    union = find_pairs(Descriptors(a.pixels + b.pixels, np.concatenate([a.thumbnails, b.thumbnails])), RULE)
    assert find_pairs_between(a, b, RULE) == [replace(pair, b=pair.b - 12) for pair in union]
    turned = find_pairs_between(b, a, RULE)
    assert {(pair.b, pair.a) for pair in turned} == {(pair.a, pair.b - 12) for pair in union}


def test_every_equal_image_of_another_set_is_named() -> None:
    twice = describe([scene(0), scene(1), scene(0)])
    found = find_pairs_between(twice, describe([scene(0)]), RULE)
    assert [(pair.a, pair.b, pair.kind) for pair in found] == [(0, 0, "identical"), (2, 0, "identical")]


def test_equal_pixels_are_a_pair_whatever_the_thresholds() -> None:
    flat = np.full((80, 80), 9, np.uint8)
    strict = replace(RULE, phash_distance=0, ncc=1.0, aligned_resemblance=1.1)
    found = find_pairs(describe([flat, scene(0), flat.copy(), flat.copy()]), strict)
    assert [(pair.a, pair.b, pair.kind) for pair in found] == [(0, 2, "identical"), (0, 3, "identical")]


def test_constant_images_of_unequal_level_are_no_pair() -> None:
    assert find_pairs(describe([np.full((80, 80), level, np.uint8) for level in (0, 9, 200)]), RULE) == []


def test_the_search_for_reframed_copies_can_be_left_out() -> None:
    found = find_pairs(describe([*IMAGES, *copies()]), replace(RULE, aligned_resemblance=1.1))
    assert [(pair.a, pair.b) for pair in found] == [(3, 12), (5, 13), (7, 14), (10, 17)]


def test_detail_decides_beside_correlation_and_hash() -> None:
    known = describe([IMAGES[8], IMAGES[8][:, 40:]])
    assert len(find_pairs(known, RULE)) == 1
    for change in ({"aligned_detail": 1.0}, {"aligned_ncc": 1.0}, {"aligned_resemblance": 0.9999}):
        assert find_pairs(known, replace(RULE, **change)) == []


def test_another_frame_of_a_scene_is_similar() -> None:
    """Near as a whole, other grain: a pair by the thumbnails, and named for what it is."""
    frames = [layers(seed) for seed in (8, 9)]
    (pair,) = find_pairs(describe(frames), RULE)
    assert (pair.kind, pair.rule) == ("similar", "thumbnails")
    assert pair.aligned_detail < RULE.aligned_detail


def test_rows_for_the_table() -> None:
    (pair,) = find_pairs(describe([IMAGES[7], copies()[2]]), RULE)
    row = pair_row(pair, ["one", "two"])
    assert tuple(row) == PAIR_COLUMNS
    assert (row["a"], row["b"], row["kind"], row["mirrored"]) == ("one", "two", "mirrored", 1)
    (across,) = find_pairs_between(describe([scene(0)]), describe([scene(1), scene(0)]), RULE)
    assert pair_row(across, ["x"], ["y", "z"])["b"] == "z"


def test_no_images_no_pairs() -> None:
    assert find_pairs(describe([]), RULE) == []
    assert find_pairs_between(describe([]), describe([scene(0)]), RULE) == []


def test_groups_are_transitive() -> None:
    assert connected_groups(6, [(4, 1), (1, 2), (3, 5)]) == [0, 1, 1, 3, 1, 3]


def test_cluster_sizes() -> None:
    pairs = find_pairs(describe([*IMAGES[:4], *IMAGES[:3], IMAGES[0].copy()]), RULE)
    assert cluster_sizes(8, pairs) == {2: 2, 3: 1}
    assert cluster_sizes(3, []) == {}
