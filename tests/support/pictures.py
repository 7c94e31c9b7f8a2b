"""Pictures for tests of comparisons: smooth random scenes with speckle, and what may befall a copy."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def scene(seed: int, height: int = 150, width: int = 200) -> np.ndarray:
    """A smooth random picture with fine grain, (height, width) uint8, distinct for each seed."""
    rng = np.random.default_rng(seed)
    coarse = gaussian_filter(rng.standard_normal((height, width)), 9)
    fine = gaussian_filter(rng.standard_normal((height, width)), 1.5)
    return np.clip(128 + 45 * coarse / coarse.std() + 12 * fine / fine.std(), 0, 255).astype(np.uint8)


def reencoded(image: np.ndarray, quality: int = 60) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def layers(grain: int) -> np.ndarray:
    """(400, 400) uint8: one broad random picture, the same in every call, under grain of its own."""
    broad = gaussian_filter(np.random.default_rng(0).standard_normal((400, 400)), 25)
    fine = gaussian_filter(np.random.default_rng(grain).standard_normal((400, 400)), 3)
    return np.clip(128 + 45 * broad / broad.std() + 12 * fine / fine.std(), 0, 255).astype(np.uint8)
