from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.phantom.fields import CELL, SHAPE, bump, line, sample, smooth_noise, step


def test_noise_is_standard_smooth_and_periodic() -> None:
    field = smooth_noise(np.random.default_rng(0), 1e-3, 2e-3)
    assert field.shape == SHAPE
    assert field.mean() == pytest.approx(0.0, abs=1e-5)
    assert field.std() == pytest.approx(1.0, abs=1e-5)
    # the autocorrelation of Gaussian-smoothed white noise is exp(-d^2 / (4 s^2)): exp(-1/4) at one deviation
    for axis, deviation in ((0, 1e-3), (1, 2e-3)):
        shifted = np.roll(field, round(deviation / CELL), axis=axis)
        lag = round(deviation / CELL) * CELL
        assert (field * shifted).mean() == pytest.approx(np.exp(-(lag**2) / (4 * deviation**2)), abs=0.08)
    assert np.abs(field[0] - field[-1]).max() < 1.2  # neighbors across the seam


def test_sample_at_cells_between_them_and_beyond() -> None:
    field = np.arange(SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE) % 7
    x, z = np.array([0.0, 3 * CELL, 3.5 * CELL, (3 + SHAPE[1]) * CELL]), np.full(4, 2 * CELL)
    expected = [field[2, 0], field[2, 3], (field[2, 3] + field[2, 4]) / 2, field[2, 3]]
    assert sample(field, x, z) == pytest.approx(expected, abs=1e-3)


def test_step_and_bump_by_hand() -> None:
    assert step(np.array([-100.0, 0.0, np.log(3.0), 100.0])) == pytest.approx([0.0, 0.5, 0.75, 1.0])
    assert bump(np.array([0.0, 1.0, -1.0])) == pytest.approx([1.0, np.exp(-1), np.exp(-1)])


def test_a_sheet_has_its_thickness_and_faces_the_beam() -> None:
    rows, columns = np.mgrid[0:100, 0:100].astype(float)
    flat = line((rows - 50) * 7.0, 2e-4, 3.0, 1e-4, 1e-4)  # its gradient does not matter
    assert flat[50, 50] == pytest.approx(1.0)
    assert flat[52, 50] == pytest.approx(np.exp(-1))  # .2 mm away
    assert line(columns - 50, 2e-4, 3.0, 1e-4, 1e-4)[50, 50] == pytest.approx(0.0, abs=1e-6)
    assert line(rows - columns, 2e-4, 3.0, 1e-4, 1e-4)[50, 50] == pytest.approx(0.5**1.5)
