import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from segmentation import metrics

masks = arrays(np.bool_, (7, 9))


def square(top: int, left: int, side: int, shape: tuple[int, int] = (32, 40)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


EMPTY = np.zeros((30, 40), dtype=bool)  # its diagonal is 50


def test_perfect_prediction():
    mask = square(4, 5, 10)
    assert metrics.dice(mask, mask) == 1.0
    assert metrics.iou(mask, mask) == 1.0
    assert metrics.hd95_assd(mask, mask) == (0.0, 0.0)


def test_disjoint_squares():
    assert metrics.dice(square(0, 0, 4), square(20, 20, 4)) == 0.0
    assert metrics.iou(square(0, 0, 4), square(20, 20, 4)) == 0.0


def test_half_overlap_by_hand():
    a, b = square(0, 0, 4), square(0, 2, 4)  # 16 pixels each, 8 in common, 24 in the union
    assert metrics.dice(a, b) == 0.5
    assert metrics.iou(a, b) == pytest.approx(1 / 3)


def test_both_empty():
    assert metrics.dice(EMPTY, EMPTY) == metrics.iou(EMPTY, EMPTY) == 1.0
    assert metrics.hd95_assd(EMPTY, EMPTY) == (0.0, 0.0)


@pytest.mark.parametrize("swap", [False, True])
def test_exactly_one_empty(swap):
    pair = (EMPTY, square(3, 3, 5, EMPTY.shape))
    a, b = pair[::-1] if swap else pair
    assert metrics.dice(a, b) == metrics.iou(a, b) == 0.0
    assert metrics.hd95_assd(a, b) == (50.0, 50.0)
    assert metrics.hd95_assd(a, b, spacing=(0.1, 0.1)) == pytest.approx((5.0, 5.0))


def test_one_pixel_against_one_pixel():
    a, b = square(10, 10, 1), square(13, 14, 1)  # a 3-4-5 triangle
    assert metrics.hd95_assd(a, b) == (5.0, 5.0)
    assert metrics.hd95_assd(a, b, spacing=(2.0, 2.0)) == (10.0, 10.0)
    assert metrics.hd95_assd(a, b, spacing=(1.0, 0.0001))[0] == pytest.approx(3.0)


def test_surface_is_mask_minus_four_neighbor_erosion():
    assert np.count_nonzero(metrics.surface(square(5, 5, 4))) == 12  # a 4 x 4 square has a 2 x 2 interior
    plus = np.zeros((5, 5), dtype=bool)
    plus[2, 1:4] = plus[1:4, 2] = True
    assert np.count_nonzero(metrics.surface(plus)) == 4  # only its center has four neighbors
    assert metrics.surface(np.ones((4, 4), dtype=bool)).sum() == 12  # the image border is surface


def test_shifted_square_by_hand():
    """A 4 x 4 square and the same moved by 2 columns: of 12 surface pixels, directed distances are the same both ways.

    Seen from the left square (columns 0-3, the other 2-5): the four pixels of its left edge are 2 away; the two in
    column 1 are 1 away; the two in column 2 and the two ends of the right edge lie on the other's surface; the two
    inner ones of the right edge are 1 away from the other's left edge.
    """
    a, b = square(8, 8, 4), square(8, 10, 4)
    to_target, to_prediction = metrics.surface_distances(a, b)
    by_hand = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert sorted(to_target) == by_hand
    assert sorted(to_prediction) == by_hand
    assert metrics.hd95_assd(a, b) == (2.0, pytest.approx(1.0))
    assert metrics.hd95_assd(a, b, spacing=(1.0, 0.5)) == (pytest.approx(1.0), pytest.approx(0.5))


def test_hd95_is_the_larger_of_the_two_directions():
    """A small square inside a large one: from inside all is near, from outside the corners are far."""
    inner, outer = square(10, 10, 2), square(5, 5, 20)
    to_inner = metrics.surface_distances(outer, inner)[0]
    to_outer = metrics.surface_distances(outer, inner)[1]
    assert np.percentile(to_inner, 95) > np.percentile(to_outer, 95)
    assert metrics.hd95_assd(outer, inner)[0] == np.percentile(to_inner, 95)


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_properties_of_overlap_and_distance(a, b):
    d, j = metrics.dice(a, b), metrics.iou(a, b)
    assert 0 <= j <= d <= 1
    assert d == pytest.approx(2 * j / (1 + j))
    assert d == metrics.dice(b, a)
    assert metrics.hd95_assd(a, b) == pytest.approx(metrics.hd95_assd(b, a))
    hd95, assd = metrics.hd95_assd(a, b)
    assert 0 <= assd <= metrics.diagonal(a.shape)
    assert 0 <= hd95 <= metrics.diagonal(a.shape)
    assert (hd95 == assd == 0) == np.array_equal(metrics.surface(a), metrics.surface(b))


def test_ece_by_hand():
    p = np.array([[0.05, 0.05, 0.95, 0.95]])
    y = np.array([[False, True, True, True]])
    # bin of .05: |0.05 - 0.5|, half of the pixels; bin of .95: |0.95 - 1|, the other half
    assert metrics.ece(p, y) == pytest.approx(0.5 * 0.45 + 0.5 * 0.05)
    assert metrics.ece(p, y, bins=1) == pytest.approx(abs(0.5 - 0.75))


def test_ece_of_extremes():
    y = np.array([[True, False]])
    assert metrics.ece(np.array([[1.0, 0.0]]), y) == 0.0
    assert metrics.ece(np.array([[0.0, 1.0]]), y) == 1.0
    assert metrics.ece(np.array([[0.5, 0.5]]), y) == 0.0


def test_brier_by_hand():
    assert metrics.brier(np.array([[0.5, 0.0, 1.0, 0.2]]), np.array([[True, False, False, False]])) == pytest.approx(
        (0.25 + 0 + 1 + 0.04) / 4
    )


def test_lesion_box_grows_by_the_margin_and_stays_inside():
    assert metrics.lesion_box(square(10, 10, 10), 0.2) == (slice(9, 21), slice(9, 21))
    assert metrics.lesion_box(square(10, 10, 10), 0.0) == (slice(10, 20), slice(10, 20))
    assert metrics.lesion_box(square(0, 30, 10), 0.4) == (slice(0, 12), slice(28, 40))
    assert metrics.lesion_box(EMPTY, 0.2) is None


def test_largest_component():
    assert metrics.largest_component(square(0, 0, 3) | square(10, 10, 5)) == 25
    assert metrics.largest_component(EMPTY) == 0


def test_shapes_and_types_are_checked():
    with pytest.raises(ValueError, match="one 2-D shape"):
        metrics.dice(square(0, 0, 3), EMPTY)
    with pytest.raises(ValueError, match="boolean"):
        metrics.brier(np.zeros((2, 2)), np.zeros((2, 2), dtype=np.uint8))
