"""Smooth random fields in world coordinates (m), and the curves that tissue is drawn with. Pure functions."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft2, rfftfreq
from scipy.ndimage import map_coordinates

CELL = 0.22e-3  # m
SHAPE = (240, 324)  # deep x across: 53 x 71 mm, then the field repeats


def smooth_noise(rng: np.random.Generator, deep: float, across: float) -> np.ndarray:
    """SHAPE float32, zero mean and unit deviation; Gaussian smoothing with the deviations `deep`, `across` (m).

    Drawn as a random spectrum, so that it repeats without a seam.
    """
    rows, columns = SHAPE
    spectrum = rng.standard_normal((2, rows, columns // 2 + 1), dtype=np.float32)
    fz, fx = np.fft.fftfreq(rows, CELL), rfftfreq(columns, CELL)
    envelope = np.outer(np.exp(-2 * (np.pi * deep * fz) ** 2), np.exp(-2 * (np.pi * across * fx) ** 2))
    field = irfft2((spectrum[0] + 1j * spectrum[1]) * envelope.astype(np.float32), s=SHAPE)
    return ((field - field.mean()) / field.std()).astype(np.float32)


def sample(field: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Bilinear values of a field at world positions (m) of any one shape; periodic."""
    return map_coordinates(field, [z / CELL, x / CELL], order=1, mode="grid-wrap", prefilter=False)


def step(x: np.ndarray) -> np.ndarray:
    """Logistic function, 0 far below 0 and 1 far above."""
    return 1.0 / (1.0 + np.exp(np.clip(-x, -30.0, 30.0)))


def bump(x: np.ndarray) -> np.ndarray:
    """exp(-x^2), cut off where it would fall into slow subnormal numbers."""
    return np.exp(-np.minimum(x * x, 30.0))


def line(
    level: np.ndarray, thickness: float, facing: float, pitch_z: np.ndarray | float, pitch_x: np.ndarray | float
) -> np.ndarray:
    """Thin sheets of even thickness (m) where the field `level` crosses zero, 0..1, brightest where they face the beam.

    The distance to the zero set is |level| / |gradient|. A sheet reflects by the cosine of its angle with the beam to
    the power of `facing`: sheets along the beam are hardly seen. pitch_z, pitch_x: m per row and column of the grid.
    """
    down = np.gradient(level, axis=0) / pitch_z
    along = np.gradient(level, axis=1) / pitch_x
    slope = np.hypot(down, along) + 1e-6
    return bump(level / (slope * thickness)) * (np.abs(down) / slope) ** facing
