"""Real images brought to the samples' sharpness."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from generative.audit.sharpness import radial_spectrum, smoothed_like
from tests.support.generator import speckle


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([gaussian_filter(image.astype(float), sigma) for image in images]).round().astype(np.uint8)


def test_spectrum_holds_all_power() -> None:
    images = speckle(5, 32)
    spectrum = radial_spectrum(images)
    radius = np.rint(np.hypot(*np.mgrid[0:32, 0:32])).astype(int)
    power = float((spectrum * np.bincount(radius.ravel())).sum())
    assert power == pytest.approx(float((images.astype(float) ** 2).sum()) / 5)  # Parseval


def test_equal_sharpness_changes_little() -> None:
    images = speckle(40, 32)
    again = smoothed_like(images, speckle(40, 32, seed=1))
    difference = np.abs(again.astype(int) - images.astype(int))
    assert difference.mean() < 0.15 * images.std()


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_spectrum_follows_blurred_samples(sigma: float) -> None:
    images, model = speckle(40, 32), blurred(speckle(40, 32, seed=1), sigma)
    found, wanted = radial_spectrum(smoothed_like(images, model)), radial_spectrum(model)
    band = slice(1, 6)  # where a blurred image has power that rounding to gray levels does not hide
    assert np.all(found[band] < 1.5 * wanted[band])
    assert np.all(found[band] > 0.3 * wanted[band])
    assert found[16] < 0.2 * radial_spectrum(images)[16]


def test_noise_is_not_added_and_the_mean_stays() -> None:
    images = blurred(speckle(10, 32), 2.0)
    noisy = np.random.default_rng(0).integers(0, 256, size=(10, 32, 32)).astype(np.uint8)
    again = smoothed_like(images, noisy)
    assert radial_spectrum(again)[10:16].sum() < 1.5 * radial_spectrum(images)[10:16].sum()
    np.testing.assert_allclose(again.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=0.5)


def test_constant_images_and_oblong_ones_stay_finite() -> None:
    flat = np.full((2, 16, 24), 70, np.uint8)
    assert smoothed_like(flat, flat).shape == (2, 16, 24)
    assert np.all(smoothed_like(flat, flat) == 70)
