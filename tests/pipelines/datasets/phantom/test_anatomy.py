from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.phantom.anatomy import SHIFT, draw_anatomy, move
from pipelines.datasets.phantom.geometry import linear

GEOMETRY = linear(0.035, 0.04)
MIDDLE = (0.5, 0.5)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("class_name", "lesions", "nested", "expected"),
    [("benign", 1, False, 1), ("malignant", 1, False, 1), ("benign", 3, False, 3), ("benign", 1, True, 2)],
)
def test_number_of_lesions(class_name: str, lesions: int, nested: bool, expected: int) -> None:
    assert len(draw_anatomy(rng(0), class_name, GEOMETRY, lesions, nested, quantiles=MIDDLE).lesions) == expected


def test_normal_patients_have_none() -> None:
    assert draw_anatomy(rng(0), "normal", GEOMETRY, 1, quantiles=MIDDLE).lesions == ()


def test_another_view_shows_the_same_patient() -> None:
    anatomy = draw_anatomy(rng(3), "malignant", GEOMETRY, quantiles=MIDDLE)
    moved = move(anatomy, rng(4))
    first, second = anatomy.lesions[0], moved.lesions[0]
    assert 0.0 < abs(moved.x) <= SHIFT
    assert (second.x, second.z, second.level, second.excess) == (first.x, first.z, first.level, first.excess)
    assert 0.85 < second.a / first.a < 1.08
    assert moved.layers.depths == anatomy.layers.depths
    assert 0.95 < moved.press < 1.05
