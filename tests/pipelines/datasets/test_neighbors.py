from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.descriptors import describe
from pipelines.datasets.neighbors import Nearest, copy_decision, distance_ratio, hard_copies, nearest_by_group
from tests.support.pictures import scene


def test_second_nearest_is_of_another_group() -> None:
    similarity = np.array([[0.9, 0.88, 0.4], [0.1, 0.2, 0.8]])
    found = nearest_by_group(similarity, ["p1", "p1", "p2"])
    assert found.row.tolist() == [0, 2]
    assert found.second.tolist() == [0.4, 0.2]
    assert distance_ratio(found) == pytest.approx([0.1 / 0.6, 0.2 / 0.8])
    assert nearest_by_group(similarity, ["p"] * 3).second.tolist() == [-1.0, -1.0]


def test_copy_decision_is_the_stated_rule() -> None:
    # above tau and ratio small | above tau only | ratio small only | neither but hard | neither
    nearest = Nearest(np.zeros(5, int), np.array([0.95, 0.95, 0.5, 0.2, 0.2]), np.array([0.5, 0.94, -0.9, 0.1, 0.1]))
    hard = np.array([False, False, False, True, False])
    found = copy_decision(nearest, tau=0.9, ratio=1 / 3, hard=hard)
    assert found.tolist() == [True, False, False, True, False]


def test_equal_images_in_two_groups_are_not_a_stand_out() -> None:
    nearest = Nearest(np.zeros(1, int), np.array([1.0]), np.array([1.0]))
    assert distance_ratio(nearest).tolist() == [1.0]


def test_hard_needs_both_and_knows_mirrors() -> None:
    image, other = scene(1), scene(2)
    known = describe([image, other])
    mirrored = describe([np.ascontiguousarray(image[:, ::-1])])
    aligned = np.array([[0.97, 0.97]])
    assert hard_copies(aligned, mirrored, known, 0.95).tolist() == [[True, False]]
    assert not hard_copies(aligned - 0.05, mirrored, known, 0.95).any()


def test_equal_pixels_are_hard_whatever_the_correlation() -> None:
    known = describe([scene(1), np.full((80, 80), 9, np.uint8)])
    assert hard_copies(np.zeros((2, 2)), known, known, 0.95).tolist() == [[True, False], [False, True]]
    assert hard_copies(np.zeros((0, 2)), describe([]), known, 0.95).shape == (0, 2)
