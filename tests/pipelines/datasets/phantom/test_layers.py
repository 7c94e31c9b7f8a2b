from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.datasets.phantom.geometry import beam_grid, linear
from pipelines.datasets.phantom.layers import Layers, background, draw_layers, drift

GEOMETRY = linear(0.035, 0.04)
GRID = (350, 200)


def maps(layers: Layers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, z = beam_grid(GEOMETRY, *GRID)
    return background(layers, x, z, 1e-4, np.full((GRID[0], 1), 2e-4))


def quiet(layers: Layers) -> Layers:
    """Without noise, sheets, ribs and shadows: the levels alone."""
    return replace(
        layers,
        fields={name: np.zeros_like(field) for name, field in layers.fields.items()},
        septa=0.0,
        strands=0.0,
        fibers=0.0,
        ducts=0.0,
        ribs=np.zeros((0, 3)),
        shadows=np.zeros((0, 4)),
    )


def test_layers_lie_in_order_with_their_levels() -> None:
    layers = quiet(draw_layers(np.random.default_rng(0), GEOMETRY.depth, GEOMETRY.width))
    layers = replace(layers, depths=(0.002, 0.010, 0.020, 0.030), levels=(1.0, -5.0, 2.0, -7.0, -12.0))
    layers = replace(layers, interfaces=tuple(np.zeros((0, 3)) for _ in range(4)))
    level, attenuation, density = maps(layers)
    assert level[[10, 60, 150, 250, 325], 100] == pytest.approx([1.0, -5.0, 2.0, -7.0, -12.0], abs=0.3)
    assert np.abs(attenuation).max() == 0.0
    assert (density == 1.0).all()


def test_interfaces_wave_by_their_formula() -> None:
    layers = quiet(draw_layers(np.random.default_rng(0), GEOMETRY.depth, GEOMETRY.width))
    wave = np.array([[2 * np.pi / 0.04, 0.002, 0.0]])  # 2 mm up and down once across the width
    flat = np.zeros((0, 3))
    layers = replace(layers, depths=(0.002, 0.015, 0.033, 0.034), levels=(0.0, -10.0, 10.0, 10.0, 10.0))
    level, _, _ = maps(replace(layers, interfaces=(flat, wave, flat, flat)))
    for column, depth in ((50, 0.013), (100, 0.015), (150, 0.017)):  # sin at -pi/2, 0 and pi/2
        crossing = int(np.argmax(level[30:, column] > 0.0)) + 30
        assert crossing * 1e-4 == pytest.approx(depth, abs=4e-4)


def test_ribs_shade_what_lies_below() -> None:
    layers = quiet(draw_layers(np.random.default_rng(0), GEOMETRY.depth, GEOMETRY.width))
    level, attenuation, _ = maps(replace(layers, ribs=np.array([[0.0, 0.005, 0.025]])))
    plain, _, _ = maps(layers)
    assert (level - plain)[250, 100] == pytest.approx(20.0, abs=0.5)
    assert attenuation[300, 100] == pytest.approx(4.0, abs=0.01)
    assert attenuation[[200, 300], [100, 20]] == pytest.approx(0.0, abs=0.01)


def test_drawn_tissue_is_finite_and_varied() -> None:
    for seed in range(8):
        layers = draw_layers(np.random.default_rng(seed), GEOMETRY.depth, GEOMETRY.width)
        level, attenuation, density = maps(layers)
        assert np.isfinite(level).all()
        assert list(layers.depths) == sorted(layers.depths)
        assert 3.0 < level.std() < 15.0
        assert 0.0 < (density < 1.0).mean() < 0.3
        assert attenuation.max() < 6.0


def test_drift_keeps_most_of_the_tissue() -> None:
    layers = draw_layers(np.random.default_rng(3), GEOMETRY.depth, GEOMETRY.width)
    moved = drift(layers, np.random.default_rng(4), 0.2)
    for name, field in layers.fields.items():
        # of variance 1 a share of .2 is new: the correlation is sqrt(.8), up to chance
        assert np.corrcoef(field.ravel(), moved.fields[name].ravel())[0, 1] == pytest.approx(np.sqrt(0.8), abs=0.12)
    assert moved.depths == layers.depths
