"""Uniform blocks of tissue under the phantom's scanner, and the golden images that other platforms are held against.

`python -m tests.support.phantom` writes the golden images anew, after a change that was meant.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.datasets.phantom.geometry import Geometry, linear
from pipelines.datasets.phantom.image import PhantomImage, make_image
from pipelines.datasets.phantom.plan import plan
from pipelines.datasets.phantom.scanner import COLUMNS, Scanner, envelope
from pipelines.datasets.phantom.tissue import BACKGROUND_ATTENUATION, Tissue

CLASSES = ("benign", "malignant", "normal")
GOLDEN = Path(__file__).parents[1] / "golden"
WIDTH, DEPTH = 0.04, 0.04
GEOMETRY = linear(DEPTH, WIDTH)
SCANNER = Scanner(
    site="A",
    fc=8e6,
    cycles=2.5,
    focus=0.5,
    lateral=0.35e-3,
    dynamic_range=55.0,
    gamma=1.0,
    bend=0.0,
    gain=1.0,
    gain_error=0.0,
    decay=0.0,
    noise=-80.0,
    level=0.0,
    looks=1,
    smoothing=0.0,
)


def uniform(rows: int = 200) -> Tissue:
    flat = np.zeros((rows, COLUMNS))
    return Tissue(flat, flat + BACKGROUND_ATTENUATION, flat + 1.0, np.zeros((0, rows, COLUMNS), bool))


def image(tissue: Tissue, scanner: Scanner = SCANNER, geometry: Geometry = GEOMETRY, seed: int = 0) -> np.ndarray:
    return envelope(tissue, geometry, scanner, np.random.default_rng(seed))


def decibel(env: np.ndarray) -> float:
    return float(10 * np.log10((env.astype(np.float64) ** 2).mean()))


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


def golden_images() -> dict[str, PhantomImage]:
    """The first malignant image of each site."""
    views = plan(0, 48, CLASSES, 0.2)
    return {
        site: make_image(0, next(view for view in views if (view.site, view.class_name) == (site, "malignant")))
        for site in ("A", "B")
    }


if __name__ == "__main__":
    for site, made in golden_images().items():
        Image.fromarray(made.image).save(GOLDEN / f"phantom-{site}.png", optimize=True)
        Image.fromarray(made.masks.any(axis=0)).save(GOLDEN / f"phantom-{site}-mask.png", optimize=True)
