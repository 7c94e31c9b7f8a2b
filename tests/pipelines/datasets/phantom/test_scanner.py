"""The scanner, piece by piece; what the specification asks of the physics is in test_acceptance.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.datasets.phantom.geometry import convex
from pipelines.datasets.phantom.scanner import COLUMNS, compress, draw_scanner, rows_of, scan
from tests.support.phantom import GEOMETRY, SCANNER, autocorrelation, decibel, image, uniform, width_of


def test_rows_by_hand() -> None:
    assert rows_of(0.03, 8e6) == 1247  # 2 * .03 m * 32 MHz / 1540 m/s


def test_compounding_raises_the_speckle_ratio() -> None:
    env = image(uniform(), replace(SCANNER, looks=4))[20:-20, 20:-20]
    assert env.mean() / env.std() == pytest.approx(2 * 1.913, abs=0.15)


def test_uniform_tissue_is_uniform_in_depth() -> None:
    env = image(uniform())
    parts = [decibel(part) for part in np.array_split(env, 4)]
    assert max(parts) - min(parts) < 1.5


def test_gain_that_falls_with_depth() -> None:
    env = image(uniform(), replace(SCANNER, decay=12.0))
    assert decibel(env[-40:]) - decibel(env[:40]) == pytest.approx(-12.0, abs=1.6)


def test_compression_by_hand() -> None:
    env = np.full((100, 100), 1.0)
    env[50:] = 10 ** (-27.5 / 20)  # 27.5 dB below, half of the range of 55
    shown = compress(env, replace(SCANNER, noise=-200.0), np.random.default_rng(0))
    assert shown[0, 0] == pytest.approx(1.0, abs=1e-3)
    assert shown[99, 0] == pytest.approx(0.5, abs=1e-3)
    curved = compress(env, replace(SCANNER, noise=-200.0, gamma=2.0), np.random.default_rng(0))
    assert curved[99, 0] == pytest.approx(0.25, abs=1e-3)


def test_shadows_soften_with_depth_under_compounding() -> None:
    tissue = uniform()
    tissue.attenuation[40:60, 64:192] += 1.5

    def width(looks: int) -> float:
        """Columns over which the level falls from the light side of the shadow's edge to the dark one."""
        deep = np.mean([image(tissue, replace(SCANNER, looks=looks), seed=seed)[-80:] for seed in range(3)], axis=0)
        profile = 20 * np.log10(deep.mean(axis=0)[32:96])
        low, high = profile[-12:].mean(), profile[:12].mean()
        return float(((profile > low + 0.2 * (high - low)) & (profile < high - 0.2 * (high - low))).sum())

    assert width(3) > width(1) + 2


def test_few_scatterers_are_k_distributed_with_the_same_power() -> None:
    """Below five scatterers per resolution cell the ratio of mean and deviation falls under the Rayleigh value."""
    full, thin = uniform(), replace(uniform(), density=np.full((200, COLUMNS), 0.1))
    envs = [image(tissue)[20:-20, 20:-20] for tissue in (full, thin)]
    assert decibel(envs[1]) == pytest.approx(decibel(envs[0]), abs=0.3)
    assert envs[1].mean() / envs[1].std() < 1.75


def test_beams_of_a_fan_widen_with_depth() -> None:
    geometry = convex(0.05, 0.015, np.deg2rad(60.0))
    env = image(uniform(), replace(SCANNER, fc=5e6, lateral=0.55e-3), geometry).astype(np.float64) ** 2
    rows = len(env)
    for share in (0.1, 0.5, 0.9):
        band = env[int((share - 0.04) * rows) : int((share + 0.04) * rows)]
        pitch = (geometry.radius + share * geometry.depth) * geometry.fan / COLUMNS
        sigma = 0.55e-3 * (1 + 1.6 * abs(share - 0.5)) / 2.355
        assert width_of(autocorrelation(band, 1)) == pytest.approx(sigma * np.sqrt(2 * np.log(2)) / pitch, rel=0.2)


def test_nothing_wraps_from_the_top_to_the_bottom() -> None:
    tissue = uniform()
    tissue.echogenicity[:6] = 40.0
    tissue.echogenicity[6:] = -20.0
    env = image(tissue)
    assert decibel(env[-3:]) < decibel(env[100:200]) + 3.0


def test_louder_and_another_gray_curve() -> None:
    env = np.full((50, 50), 1.0)
    env[25:] = 10 ** (-27.5 / 20)
    quiet = replace(SCANNER, noise=-200.0)
    louder = compress(env, replace(quiet, gain=1.15), np.random.default_rng(0))
    assert louder[49, 0] == pytest.approx(0.575, abs=1e-3)
    bent = compress(env, replace(quiet, gain=0.5, bend=1.0), np.random.default_rng(0))
    assert bent[49, 0] == pytest.approx(3 * 0.25**2 - 2 * 0.25**3, abs=1e-3)  # the S curve at .25


def test_scanners_of_the_two_sites() -> None:
    for seed in range(20):
        a, b = (draw_scanner(np.random.default_rng(seed), site) for site in "AB")
        assert 7.5e6 <= a.fc <= 10e6
        assert 4e6 <= b.fc <= 6e6
        assert 52 <= a.dynamic_range <= 58
        assert 46 <= b.dynamic_range <= 50
        assert (a.gain, b.gain) == (1.0, 1.15)
        assert b.noise > a.noise
        assert a.facts()["site"] == "A"


def test_scan_gives_image_and_masks_of_the_asked_size() -> None:
    mask = np.zeros((1, 160, COLUMNS), bool)
    mask[0, 40:80, 64:128] = True
    scanner = draw_scanner(np.random.default_rng(1), "A")
    tissue = replace(uniform(160), masks=mask)
    pixels, masks = scan(tissue, GEOMETRY, scanner, (240, 320), np.random.default_rng(2))
    assert pixels.shape == (240, 320)
    assert pixels.dtype == np.uint8
    assert masks.shape == (1, 240, 320)
    assert masks.mean() == pytest.approx(mask.mean(), rel=0.02)
