from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.datasets.phantom.anatomy import draw_anatomy
from pipelines.datasets.phantom.geometry import convex, linear
from pipelines.datasets.phantom.lesion import Lesion
from pipelines.datasets.phantom.tissue import render

LINEAR = linear(0.030, 0.04)
CONVEX = convex(0.05, 0.018, np.deg2rad(65.0))
LESION = Lesion(x=0.0, z=0.015, a=0.006, b=0.004, angle=0.0, level=-12.0)


@pytest.mark.parametrize("geometry", [LINEAR, CONVEX])
@pytest.mark.parametrize(("class_name", "count"), [("benign", 1), ("malignant", 1), ("benign", 2), ("normal", 1)])
def test_rendered_maps(geometry: object, class_name: str, count: int) -> None:
    tissue = render(draw_anatomy(np.random.default_rng(0), class_name, geometry, count, quantiles=(0.5, 0.5)), 160, 128)
    assert tissue.masks.shape == (0 if class_name == "normal" else count, 160, 128)
    assert tissue.echogenicity.shape == tissue.attenuation.shape == tissue.density.shape == (160, 128)
    assert np.isfinite(tissue.echogenicity).all()
    assert tissue.attenuation.min() >= 0.0
    assert all(mask.any() for mask in tissue.masks)
    if len(tissue.masks) == 2:
        assert not (tissue.masks[0] & tissue.masks[1]).any()


def test_level_inside_is_relative_to_the_surrounding() -> None:
    anatomy = draw_anatomy(np.random.default_rng(1), "normal", LINEAR, quantiles=(0.5, 0.5))
    plain = render(anatomy, 200, 200).echogenicity
    dark = render(replace(anatomy, lesions=(LESION,)), 200, 200)
    x, z = np.meshgrid(((np.arange(200) + 0.5) / 200 - 0.5) * 0.04, (np.arange(200) + 0.5) / 200 * 0.03)
    rho = LESION.polar(x, z)[0]
    assert np.array_equal(dark.masks[0], rho < 1.0)
    ring = plain[(rho > 1.0) & (rho < 1.5)].mean()
    assert dark.echogenicity[rho < 0.7].mean() - ring == pytest.approx(-12.0, abs=0.2)
    assert np.allclose(dark.echogenicity[rho > 1.6], plain[rho > 1.6], atol=0.01)


def test_the_probe_moves_over_the_tissue() -> None:
    anatomy = replace(draw_anatomy(np.random.default_rng(2), "normal", LINEAR, quantiles=(0.5, 0.5)), lesions=(LESION,))
    here, there = render(anatomy, 150, 200), render(replace(anatomy, x=0.002), 150, 200)
    # 2 mm are 10 of 200 columns: what the moved probe sees lies 10 columns to the left
    assert np.array_equal(there.masks[0][:, :-10], here.masks[0][:, 10:])
    assert np.allclose(there.echogenicity[:, 5:-15], here.echogenicity[:, 15:-5], atol=0.4)
    pressed = render(replace(anatomy, press=0.9), 150, 200)
    assert np.argwhere(pressed.masks[0])[:, 0].mean() == pytest.approx(0.9 * 75, abs=1.0)
