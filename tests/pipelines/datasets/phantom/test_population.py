from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pipelines.datasets.phantom.geometry import convex, linear
from pipelines.datasets.phantom.population import draw_lesion, nested_in

LINEAR = linear(0.035, 0.04)
CONVEX = convex(0.05, 0.018, np.deg2rad(65.0))


def lesions(class_name: str, count: int = 600) -> list:
    rng = np.random.default_rng(0)
    return [draw_lesion(rng, class_name, LINEAR, *rng.random(2)) for _ in range(count)]


def test_areas_by_class_are_near_the_log_normal_of_busi() -> None:
    for class_name, median, low, high in (("benign", 0.038, 0.006, 0.236), ("malignant", 0.121, 0.028, 0.372)):
        areas = np.array([np.pi * one.a * one.b / LINEAR.area for one in lesions(class_name)])
        assert np.median(areas) == pytest.approx(median, rel=0.2)
        assert np.quantile(areas, 0.05) == pytest.approx(low, rel=0.35)
        assert np.quantile(areas, 0.95) == pytest.approx(high, rel=0.25)


def test_contrast_and_signs_by_class() -> None:
    benign, malignant = lesions("benign"), lesions("malignant")
    levels = np.array([one.level for one in benign + malignant])
    assert (np.abs(levels) <= 3).mean() == pytest.approx(0.38, abs=0.04)
    assert (levels < 0).mean() > 0.9
    assert np.mean([one.excess > 0.15 for one in malignant]) > 0.4 > np.mean([one.excess > 0.15 for one in benign])
    assert min(one.level for one in benign) < -25  # cysts
    assert not any(one.calcifications or one.spicules for one in benign)
    assert np.mean([len(one.calcifications) > 0 for one in malignant]) == pytest.approx(0.35, abs=0.1)
    taller = [np.mean([one.b > one.a for one in found]) for found in (malignant, benign)]
    assert taller[0] > 0.2 > taller[1]


@pytest.mark.parametrize("geometry", [LINEAR, CONVEX])
def test_lesions_lie_inside_the_field_of_view(geometry: object) -> None:
    for seed in range(100):
        one = draw_lesion(np.random.default_rng(seed), "malignant", geometry, seed / 100, 0.5)
        assert 0.05 * geometry.depth < one.z - one.b * 0.99
        assert one.z + one.b < geometry.depth
        half = (geometry.radius + one.z) * np.sin(geometry.fan / 2) if geometry.radius else geometry.width / 2
        assert abs(one.x) + 0.95 * one.a < half


def test_several_lie_side_by_side_and_one_inside_another() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        three = [draw_lesion(rng, "benign", LINEAR, 0.9, 0.5, index, 3) for index in range(3)]
        for left, right in pairwise(three):
            assert left.x + left.a < right.x - right.a
        inner = nested_in(three[0], rng)
        phi = np.linspace(0, 2 * np.pi, 40)
        x, z = inner.x + inner.a * np.cos(phi), inner.z + inner.b * np.sin(phi)
        assert three[0].polar(x, z)[0].max() < 1.0
