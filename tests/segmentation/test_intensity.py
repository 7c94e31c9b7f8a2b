"""Mean and spread from a histogram, against numpy on floats."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from segmentation.intensity import mean_and_std
from tests.support.generator import speckle


def test_mean_and_std_are_those_of_the_rows_asked_for() -> None:
    images = np.array([[[0, 255], [0, 255]], [[9, 9], [9, 9]], [[51, 51], [51, 51]]], np.uint8)
    assert mean_and_std(images, [0], None) == (0.5, 0.5)
    assert mean_and_std(images, [2], None) == (0.2, 0.0)
    mean, std = mean_and_std(images, [0, 2], None)  # 0 and 1 twice each, 0.2 four times
    assert (mean, std) == (pytest.approx(0.35), pytest.approx(np.sqrt((2 * 0.35**2 + 2 * 0.65**2 + 4 * 0.15**2) / 8)))
    left = {"inner_top": "0", "inner_left": "0", "inner_height": "2", "inner_width": "1"}
    assert mean_and_std(images, [0, 2], [left, left]) == (pytest.approx(0.1), pytest.approx(0.1))


def test_mean_and_std_of_many_blocks_without_a_copy_as_floats() -> None:
    images = speckle(150, 128)
    rows = [row for row in range(150) if row % 3]
    pixels = images[rows] / 255.0
    tracemalloc.start()
    found = mean_and_std(images, rows, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == (pytest.approx(pixels.mean(), rel=1e-12), pytest.approx(pixels.std(), rel=1e-12))
    assert peak < pixels.nbytes / 2
