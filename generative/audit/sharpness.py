"""Real images made as smooth as the samples: the control for "similar because blurred".

A smooth image correlates with many images, since little is left to differ in. A young generator draws such images, and
they are no copies. So what the samples show is compared with real images of other patients twice: as they are, and
filtered to the samples' mean power spectrum.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dctn, idctn


def radial_spectrum(images: np.ndarray) -> np.ndarray:
    """Mean power per radial frequency, (bins,), of (N, H, W) uint8; bin r holds r - .5 ... r + .5 half-cycles a side.

    The cosine transform is taken, as it knows no jump between the dark lower and the bright upper edge.
    """
    radius = _radius(images.shape[1:])
    power = np.zeros(images.shape[1:])
    for image in images:
        power += dctn(image.astype(np.float64), norm="ortho") ** 2
    total = np.bincount(radius.ravel(), weights=power.ravel())
    return total / (np.bincount(radius.ravel()) * len(images))


def smoothed_like(images: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Filter (N, H, W) uint8 so that their mean radial spectrum is at most that of `model` (M, H, W) uint8.

    Only taken away, never amplified: the gain of a frequency is sqrt(model / images), 1 at most, and never rises with
    the frequency, so that noise on a smooth image does not count as detail. The mean gray level stays.
    """
    ratio = radial_spectrum(model) / np.maximum(radial_spectrum(images), 1e-12)
    ratio[0] = 1.0
    gain = np.minimum.accumulate(np.sqrt(np.minimum(ratio, 1.0)))[_radius(images.shape[1:])]
    filtered = [idctn(dctn(image.astype(np.float64), norm="ortho") * gain, norm="ortho") for image in images]
    return np.clip(np.rint(filtered), 0, 255).astype(np.uint8)


def _radius(shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) integer frequency; the shorter side sets the unit."""
    rows, columns = (np.arange(n) * (min(shape) / n) for n in shape)
    return np.rint(np.hypot(rows[:, None], columns[None, :])).astype(int)
