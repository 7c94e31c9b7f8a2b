"""The physics against theory: speckle statistics, resolution, contrast, shadow and enhancement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.datasets.phantom.scanner import (
    COLUMNS,
    RESOLUTION,
    SOUND,
    Scanner,
    compress,
    draw_scanner,
    envelope,
    rows_of,
    scan,
)
from pipelines.datasets.phantom.tissue import BACKGROUND_ATTENUATION, Tissue

WIDTH, DEPTH = 0.04, 0.04
SCANNER = Scanner(8e6, 2.5, 0.5, 55.0, 1.0, 0.0, 0.0, -80.0, 0.0, 1)


def uniform(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((rows, COLUMNS)), np.full((rows, COLUMNS), BACKGROUND_ATTENUATION)


def image(echo: np.ndarray, attenuation: np.ndarray, scanner: Scanner = SCANNER, seed: int = 0) -> np.ndarray:
    return envelope(echo, attenuation, WIDTH, DEPTH, scanner, np.random.default_rng(seed))


def decibel(env: np.ndarray) -> float:
    return float(10 * np.log10((env.astype(np.float64) ** 2).mean()))


def test_rows_by_hand() -> None:
    assert rows_of(0.03, 8e6) == 1247  # 2 * .03 m * 32 MHz / 1540 m/s


def test_speckle_is_rayleigh() -> None:
    env = image(*uniform())[20:-20, 20:-20]
    assert env.mean() / env.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), abs=0.05)


def test_compounding_raises_the_speckle_ratio() -> None:
    env = image(*uniform(), replace(SCANNER, looks=4))[20:-20, 20:-20]
    assert env.mean() / env.std() == pytest.approx(2 * 1.913, abs=0.15)


def width_of(correlation: np.ndarray) -> float:
    """Lag at which a falling autocorrelation passes 1/2, by linear interpolation."""
    below = int(np.argmax(correlation < 0.5))
    high, low = correlation[below - 1], correlation[below]
    return below - 1 + (high - 0.5) / (high - low)


def autocorrelation(intensity: np.ndarray, axis: int) -> np.ndarray:
    centered = intensity - intensity.mean()
    spectrum = np.abs(np.fft.fft(centered, axis=axis)) ** 2
    lags = np.fft.ifft(spectrum, axis=axis).real.mean(axis=1 - axis)
    return lags / lags[0]


def test_resolution_cell_at_the_focus() -> None:
    """Intensity of fully developed speckle: its autocovariance is that of the field, squared (Wagner et al. 1983)."""
    env = image(*uniform()).astype(np.float64) ** 2
    rows = len(env)
    focus = env[int(0.48 * rows) : int(0.52 * rows)]
    # a Gaussian field of deviation s has an autocorrelation exp(-d^2 / (4 s^2)); squared it halves at s sqrt(2 ln 2)
    lateral = RESOLUTION / 2.355 * np.sqrt(2 * np.log(2)) / (WIDTH / COLUMNS)
    assert width_of(autocorrelation(focus, 1)) == pytest.approx(lateral, rel=0.15)
    axial = SCANNER.cycles / (3 * SCANNER.fc) * np.sqrt(2 * np.log(2)) * SOUND / 2 / (DEPTH / rows)
    assert width_of(autocorrelation(env, 0)) == pytest.approx(axial, rel=0.15)


def test_uniform_tissue_is_uniform_in_depth() -> None:
    env = image(*uniform())
    parts = [decibel(part) for part in np.array_split(env, 4)]
    assert max(parts) - min(parts) < 1.5


@pytest.mark.parametrize("level", [-12.0, -6.0, 6.0, 12.0])
def test_contrast_is_the_echogenicity(level: float) -> None:
    echo, attenuation = uniform()
    echo[:, 64:192] = level
    env = image(echo, attenuation)
    assert decibel(env[:, 90:166]) - decibel(np.hstack([env[:, :40], env[:, 216:]])) == pytest.approx(level, abs=0.7)


@pytest.mark.parametrize("excess", [-0.4, 0.6, 1.0])
def test_shadow_and_enhancement(excess: float) -> None:
    """Below a block of thickness L the envelope differs by -2 f dalpha L."""
    echo, attenuation = uniform()
    attenuation[60:110, 64:192] += excess
    env = image(echo, attenuation)
    below = env[int(0.6 * len(env)) :]
    found = decibel(below[:, 90:166]) - decibel(np.hstack([below[:, :40], below[:, 216:]]))
    thickness = 50 / 200 * DEPTH * 100
    assert found == pytest.approx(-2 * 8 * excess * thickness, abs=1.5)


def test_gain_that_falls_with_depth() -> None:
    env = image(*uniform(), replace(SCANNER, decay=12.0))
    assert decibel(env[-40:]) - decibel(env[:40]) == pytest.approx(-12.0, abs=1.6)


def test_compression_by_hand() -> None:
    env = np.full((100, 100), 1.0)
    env[50:] = 10 ** (-27.5 / 20)  # 27.5 dB below, half of the range of 55
    shown = compress(env, replace(SCANNER, noise=-200.0), np.random.default_rng(0))
    assert shown[0, 0] == pytest.approx(1.0, abs=1e-3)
    assert shown[99, 0] == pytest.approx(0.5, abs=1e-3)
    curved = compress(env, replace(SCANNER, noise=-200.0, gamma=2.0), np.random.default_rng(0))
    assert curved[99, 0] == pytest.approx(0.25, abs=1e-3)


def test_scan_gives_image_and_masks_of_the_asked_size() -> None:
    echo, attenuation = (array[:, ::2] for array in uniform(160))
    mask = np.zeros((1, 160, 128), bool)
    mask[0, 40:80, 32:64] = True
    scanner = draw_scanner(np.random.default_rng(1))
    pixels, masks = scan(Tissue(echo, attenuation, mask), WIDTH, DEPTH, scanner, (240, 320), np.random.default_rng(2))
    assert pixels.shape == (240, 320)
    assert pixels.dtype == np.uint8
    assert masks.shape == (1, 240, 320)
    assert masks.mean() == pytest.approx(mask.mean(), rel=0.02)
    assert 7.5e6 <= scanner.fc <= 10e6
