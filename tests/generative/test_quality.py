"""Baselines of the generator, on arrays small enough to compute by hand."""

import math

import numpy as np
import pytest

from generative.quality import blur_of_equal_rate, gray_statistics, loss_ratio, mean_psnr, psnr


def test_psnr_of_a_known_error() -> None:
    a = np.full((4, 4), 100, np.uint8)
    b = np.full((4, 4), 105, np.uint8)
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 25))
    assert psnr(a, a) == math.inf
    assert mean_psnr(np.stack([a, a]), np.stack([b, b])) == pytest.approx(psnr(a, b))
    with pytest.raises(ValueError, match="one shape"):
        psnr(a, b[:2])


def test_blur_keeps_a_flat_image_and_the_mean() -> None:
    flat = np.full((1, 8, 8), 77, np.uint8)
    assert np.array_equal(blur_of_equal_rate(flat, 4), flat)


def test_blur_with_as_many_numbers_as_pixels_is_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 8, 8)).astype(np.uint8)
    assert np.array_equal(blur_of_equal_rate(image, 64), image)
    assert np.array_equal(blur_of_equal_rate(image, 500), image)


def test_blur_of_rate_one_is_the_mean_of_the_image() -> None:
    image = np.zeros((1, 4, 4), np.uint8)
    image[0, :2] = 200
    assert np.array_equal(blur_of_equal_rate(image, 1), np.full((1, 4, 4), 100, np.uint8))


def test_blur_of_rate_four_takes_the_means_of_the_quarters() -> None:
    image = np.zeros((1, 8, 8), np.uint8)
    image[0, :4, :4] = 240
    corner = blur_of_equal_rate(image, 4)[0]
    assert corner[0, 0] > 230  # the quarter's mean, 240, up to the overshoot that clipping leaves
    assert corner[7, 7] < 10
    assert blur_of_equal_rate(image, 3)[0].tolist() == corner.tolist()  # 3 numbers round up to a 2 x 2 thumbnail


def test_loss_ratio_compares_the_tail_with_the_head() -> None:
    assert loss_ratio([2.0] * 2 + [1.5] * 88 + [1.0] * 10) == pytest.approx(0.5)
    assert loss_ratio([4.0, 1.0]) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="at least 2"):
        loss_ratio([1.0])


def test_gray_statistics() -> None:
    images = np.array([[[0, 100]], [[0, 100]]], np.uint8)
    assert gray_statistics(images) == (50.0, 50.0)
