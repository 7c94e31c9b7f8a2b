from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.descriptors import describe
from pipelines.datasets.duplicates import (
    PAIR_COLUMNS,
    Descriptors,
    Pair,
    cluster_sizes,
    connected_groups,
    find_pairs,
    find_pairs_between,
    pair_row,
    search,
)
from pipelines.datasets.pooling import Decision, Member, decide_pool
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
    monkeypatch.setattr("pipelines.datasets.whole.ROWS", 5)
    monkeypatch.setattr("pipelines.datasets.whole.CHUNK", 2)
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


def video(seed: int, count: int, *, pan: int = 0) -> list[np.ndarray]:
    """Frames of a scene with noise of their own; pan: pixels that the window moves from frame to frame."""
    rng, whole = np.random.default_rng(seed), scene(seed, 200, 200 + pan * count)
    frames = [whole[:, pan * place : pan * place + 200].astype(int) for place in range(count)]
    return [np.clip(frame + rng.integers(-2, 3, frame.shape), 0, 255).astype(np.uint8) for frame in frames]


def groups(count: int, pairs: list[Pair]) -> list[int]:
    return connected_groups(count, ((pair.a, pair.b) for pair in pairs))


def test_a_video_costs_links_per_frame_and_keeps_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    known = describe([*video(1, 14), *IMAGES[:4], *video(2, 6, pan=8)])
    monkeypatch.setattr("pipelines.datasets.linking.LINKS", 4)
    found = search(known, RULE)
    # Each frame is connected by one link at most, and has 4 of the others: never all 91 pairs.
    assert 13 <= sum(pair.b < 14 for pair in found.pairs) <= 14 * (1 + 4 // 2)
    assert found.passed_over >= 91 - 14 * (1 + 4 // 2)
    limited = groups(len(known), found.pairs)
    assert limited[:14] == [0] * 14
    assert len(set(limited)) >= 5
    monkeypatch.setattr("pipelines.datasets.linking.LINKS", 10**6)
    everything = search(known, RULE)
    assert sum(pair.b < 14 for pair in everything.pairs) == 91
    assert everything.passed_over == 0
    assert groups(len(known), everything.pairs) == limited
    assert set(found.pairs) < set(everything.pairs)


def test_links_of_a_video_do_not_depend_on_rows_blocks_or_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.datasets.linking.LINKS", 4)
    images = [*video(1, 14), *IMAGES[:3]]
    straight = {frozenset((pair.a, pair.b)) for pair in find_pairs(describe(images), RULE)}
    order = np.random.default_rng(0).permutation(17)
    shuffled = find_pairs(describe([images[row] for row in order]), RULE)
    assert {frozenset((int(order[pair.a]), int(order[pair.b]))) for pair in shuffled} == straight
    alone = find_pairs(describe(images[:14]), RULE)
    assert {frozenset((pair.a, pair.b)) for pair in alone} == straight
    monkeypatch.setattr("pipelines.datasets.whole.ROWS", 5)
    monkeypatch.setattr("pipelines.datasets.whole.CHUNK", 2)
    monkeypatch.setattr("pipelines.datasets.reframing.COLUMNS", 3)
    assert find_pairs(describe(images[:14]), RULE) == alone


def test_of_equal_images_the_first_alone_is_compared_further() -> None:
    copy = reencoded(IMAGES[5])
    found = find_pairs(describe([IMAGES[5], copy, *[IMAGES[5].copy()] * 30, copy.copy()]), RULE)
    assert [(pair.a, pair.b, pair.rule) for pair in found] == [
        *[(0, 1, "thumbnails"), *((0, row, "pixels") for row in range(2, 32)), (1, 32, "pixels")]
    ]


def test_between_two_videos_the_pool_concludes_the_same_from_fewer_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner's parts may cut a video: each image of the main set is linked, whatever the others are linked to."""
    pan = video(3, 8, pan=8)
    ours = describe([*video(1, 6), scene(20), *pan[:4], scene(20)])
    main = describe([*video(1, 13)[6:], *pan[4:], scene(21), *[scene(20)] * 3])
    names = [str(row) for row in range(len(ours))]

    def decide() -> tuple[int, list[Decision]]:
        """One decision per image of the main set, that image alone in test."""
        within, across = find_pairs(ours, RULE), find_pairs_between(ours, main, RULE)
        parts = [
            [Member(str(row), "test" if row == held_out else "train", f"g{row // 7}") for row in range(len(main))]
            for held_out in range(len(main))
        ]
        return len(across), [decide_pool(names, [""] * len(names), within, across, members) for members in parts]

    monkeypatch.setattr("pipelines.datasets.linking.LINKS", 1)
    count, few = decide()
    monkeypatch.setattr("pipelines.datasets.linking.LINKS", 10**6)
    total, full = decide()
    assert 15 <= count < total
    assert [item.groups for item in few] == [item.groups for item in full]
    assert [[row.row for row in item.excluded] for item in few] == [[row.row for row in item.excluded] for item in full]
    assert {len(item.excluded) for item in full[:7]} != {len(item.excluded) for item in full[-3:]}


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
