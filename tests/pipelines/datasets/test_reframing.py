from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.descriptors import canonical, describe
from pipelines.datasets.reframing import CENTER, WINDOWS, describe_windows, find_candidates, order_rows, start_of
from tests.support.pictures import scene

IMAGES = [scene(seed, 300, 300) for seed in range(24)]


def candidates(first: list[np.ndarray], second: list[np.ndarray], least: float = 0.8) -> dict[tuple[int, int], bool]:
    a, b = describe(first), describe(second)
    ranks = np.zeros(len(a), np.int64), np.ones(len(b), np.int64)
    return {(item.a, item.b): item.mirrored for item in find_candidates(a.thumbnails, b.thumbnails, ranks, least)}


def test_window_features_are_unit_vectors_of_what_they_say() -> None:
    stack = np.stack([canonical(IMAGES[0]), np.full((128, 128), 9, np.uint8)])
    found = describe_windows(stack, WINDOWS)
    assert found.shape == (2, 625, 64)
    assert np.linalg.norm(found[0], axis=1) == pytest.approx(np.ones(625), abs=1e-5)
    assert not found[1].any()
    # A window of the whole image is the crop of the image: rows 0.1 .. 0.8, columns 0.2 .. 1.
    row, column = WINDOWS.index((0.1, 0.8)), WINDOWS.index((0.2, 1.0))
    crop = np.ascontiguousarray(IMAGES[0][30:240, 60:300])
    whole = describe_windows(canonical(crop)[None], ((0.0, 1.0),))[0, 0]
    assert found[0, row * len(WINDOWS) + column] @ whole > 0.995
    scale_x, shift_x, scale_y, shift_y = start_of(row * len(WINDOWS) + column)
    assert (scale_x, shift_x, scale_y, shift_y) == pytest.approx((0.8 / 0.8, 0.1, 0.7 / 0.8, -0.05))


def test_crops_shifts_and_mirrors_are_candidates() -> None:
    copies = [image[5:280, 22:299] for image in IMAGES[:6]]  # cropped
    copies += [np.ascontiguousarray(image[:, ::-1][24:, 3:]) for image in IMAGES[6:12]]  # cropped and mirrored
    found = candidates(IMAGES, copies)
    assert {(index, index): index >= 6 for index in range(12)}.items() <= found.items()
    assert len(found) <= 12 + 4
    assert candidates(IMAGES, copies, 1.01) == {}


def test_direction_is_that_of_the_ranks() -> None:
    a, b = describe(IMAGES[:3]), describe([IMAGES[0][:280], IMAGES[2][:280]])
    ranks = order_rows(["m", "a", "x"], ["b", "m"])
    assert [rank.tolist() for rank in ranks] == [[2, 0, 3], [1, 2]]
    forward = find_candidates(a.thumbnails, b.thumbnails, ranks, 0.8)
    backward = find_candidates(b.thumbnails, a.thumbnails, ranks[::-1], 0.8)
    assert [(item.a, item.b) for item in forward] == []  # both copies are of lower rank
    assert [(item.a, item.b) for item in backward] == [(0, 0), (1, 2)]
    same = np.zeros(3, np.int64)
    assert list(find_candidates(a.thumbnails, a.thumbnails, (same, same), 0.5)) == []


def test_blocks_and_row_order_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [*IMAGES[:10], *(image[10:, 20:] for image in IMAGES[:10])]
    known = describe(images)

    def found(order: list[int]) -> set[tuple[int, int, bool]]:
        stack, names = known.thumbnails[order], [known.pixels[row] for row in order]
        ranks, _ = order_rows(names, names)
        return {
            (order[item.a], order[item.b], item.mirrored) for item in find_candidates(stack, stack, (ranks, ranks), 0.8)
        }

    whole = found(list(range(20)))
    assert len(whole) >= 10
    monkeypatch.setattr("pipelines.datasets.reframing.ROWS", 3)
    monkeypatch.setattr("pipelines.datasets.reframing.COLUMNS", 4)
    assert found(list(range(20))) == whole
    assert found(list(range(20))[::-1]) == whole


def test_the_threshold_is_met_exactly_whatever_other_images_there_are() -> None:
    """A float32 product differs in its last digits with the shape of its block; the decision must not."""
    copies = [image[10:, 20:] for image in IMAGES[:8]]
    for row in range(8):
        a, b = describe([IMAGES[row]]).thumbnails, describe([copies[row]]).thumbnails
        center = describe_windows(a, (CENTER,), np.float64)[0, 0]
        value = float((describe_windows(b, WINDOWS, np.float64)[0] @ center).max())
        for others in ([], IMAGES[10:13], IMAGES[10:24]):
            first = [*others, IMAGES[row]]
            key = (len(others), 0)
            assert key in candidates(first, [copies[row], *others[:5]], value)
            assert key not in candidates(first, [copies[row], *others[:5]], float(np.nextafter(value, 2.0)))


def test_rows_of_negative_rank_and_pairs_nobody_wants_are_left_out() -> None:
    a, b = describe(IMAGES[:3]).thumbnails, describe([image[:280] for image in IMAGES[:3]]).thumbnails
    ranks = np.array([0, -1, 0]), np.array([1, 1, 1])
    assert [(item.a, item.b) for item in find_candidates(a, b, ranks, 0.9)] == [(0, 0), (2, 2)]
    assert [(item.b, item.a) for item in find_candidates(b, a, (ranks[0], ranks[1]), 0.9)] == [(0, 0), (2, 2)]
    found = find_candidates(a, b, ranks, 0.9, lambda first, second: second != 0)
    assert [(item.a, item.b) for item in found] == [(2, 2)]


def test_no_images() -> None:
    none = np.zeros((0, 128, 128), np.uint8)
    ranks = np.zeros(0, np.int64)
    assert list(find_candidates(none, none, (ranks, ranks), 0.8)) == []
    two = describe(IMAGES[:2]).thumbnails
    assert list(find_candidates(two, none, (np.zeros(2, np.int64), ranks), 0.8)) == []
