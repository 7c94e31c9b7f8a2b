"""Physics of the phantom: scatterers, point spread function, envelope, log compression.

Convolution model: echo = scatterer map * point spread function (Bamber and Dickinson 1980; Meunier and Bertrand 1995).
Axial and lateral blur are separable, so the axial pulse is applied per line in the frequency domain, and only its band
is kept: the inverse transform of that band alone is the complex envelope at a lower sampling rate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image
from scipy.fft import ifft, rfft
from scipy.ndimage import gaussian_filter1d

from pipelines.datasets.phantom.tissue import BACKGROUND_ATTENUATION, Tissue

SOUND = 1540.0  # m/s
COLUMNS = 256
RESOLUTION = 0.35e-3  # lateral full width at half maximum at the focus, m


@dataclass(frozen=True)
class Scanner:
    """fc: center frequency, Hz; cycles: of the pulse; focus: share of the depth; dynamic_range: dB; gamma: gray curve;
    gain_error: delta of the depth gain; decay: dB that the gain lacks at the bottom; noise: dB against the 99.5th
    percentile; level: dB that this percentile is shown above white; looks: angles of the spatial compounding.
    """

    fc: float
    cycles: float
    focus: float
    dynamic_range: float
    gamma: float
    gain_error: float
    decay: float
    noise: float
    level: float
    looks: int

    def facts(self) -> dict[str, float]:
        return {name: round(float(value), 6) for name, value in asdict(self).items()}


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Site A: a linear probe of 7.5 to 10 MHz."""
    return Scanner(
        fc=float(rng.uniform(7.5e6, 10e6)),
        cycles=float(rng.uniform(2.0, 3.0)),
        focus=float(rng.uniform(0.3, 0.65)),
        dynamic_range=float(rng.uniform(45.0, 58.0)),
        gamma=float(rng.uniform(1.2, 1.8)),
        gain_error=float(rng.uniform(-0.10, 0.05)),
        decay=float(rng.uniform(6.0, 15.0)),
        noise=float(rng.uniform(-55.0, -45.0)),
        level=float(rng.uniform(-9.0, -1.0)),
        looks=int(rng.integers(2, 6)),
    )


def rows_of(depth: float, fc: float) -> int:
    """Samples along a line of `depth` m at fs = 4 fc, two-way."""
    return round(2 * depth * 4 * fc / SOUND)


def envelope(
    echogenicity: np.ndarray,
    attenuation: np.ndarray,
    width: float,
    depth: float,
    scanner: Scanner,
    rng: np.random.Generator,
) -> np.ndarray:
    """Linear envelope (rows, COLUMNS) float32 before compression, rows about 3 per pulse length.

    echogenicity (dB) and attenuation (dB/(cm MHz)): any grid over the width x depth rectangle (m); it is interpolated.
    """
    fine = rows_of(depth, scanner.fc)
    amplitude_db = echogenicity + _loss_and_gain(attenuation, depth, scanner)
    amplitude = 10.0 ** (amplitude_db / 20.0)
    # interfaces: strong scatterers where the echogenicity changes along depth
    edge = np.abs(np.gradient(echogenicity, axis=0))
    amplitude = amplitude * (1.0 + 0.15 * edge)
    upright = Image.fromarray(amplitude.astype(np.float32)).resize((COLUMNS, fine), Image.Resampling.BILINEAR)
    strength = np.array(upright)
    # Compounding adds envelopes seen from angles so far apart that their speckle is independent.
    looks = [
        _blur(_axial(rng.standard_normal((fine, COLUMNS), dtype=np.float32) * strength, scanner), width, scanner)
        for _ in range(scanner.looks)
    ]
    return np.mean(looks, axis=0)


def _loss_and_gain(attenuation: np.ndarray, depth: float, scanner: Scanner) -> np.ndarray:
    """Two-way loss -2 f integral(alpha) plus depth gain 2 * .55 f z (1 + delta), dB (z in cm, f in MHz)."""
    rows = len(attenuation)
    step, mhz = depth * 100.0 / rows, scanner.fc / 1e6
    loss = -2.0 * mhz * np.cumsum(attenuation, axis=0) * step
    gain = 2.0 * BACKGROUND_ATTENUATION * mhz * (np.arange(rows) + 1) * step * (1.0 + scanner.gain_error)
    gain -= scanner.decay * ((np.arange(rows) + 0.5) / rows) ** 1.5
    return loss + gain[:, None]


def _axial(scatterers: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Complex envelope of lines convolved with exp(-t^2 / (2 s^2)) cos(2 pi fc t), s = cycles / (3 fc).

    The spectrum of the pulse is a Gaussian about fc with deviation 1 / (2 pi s); three deviations each side are kept.
    """
    rows = len(scatterers)
    fs = 4.0 * scanner.fc
    deviation = 1.0 / (2 * np.pi * scanner.cycles / (2 * scanner.fc) / 1.5)
    spectrum = rfft(scatterers, axis=0)
    bins = np.arange(len(spectrum)) * fs / rows
    low = max(0, int(np.searchsorted(bins, scanner.fc - 3 * deviation)))
    high = min(len(bins), int(np.searchsorted(bins, scanner.fc + 3 * deviation)))
    pulse = np.exp(-((bins[low:high] - scanner.fc) ** 2) / (2 * deviation**2)).astype(np.float32)
    return ifft(spectrum[low:high] * pulse[:, None], axis=0)


def _blur(echo: np.ndarray, width: float, scanner: Scanner) -> np.ndarray:
    """Lateral Gaussian, full width .35 mm (1 + 1.6 |z - z_f| / D), energy-normalized; 3 blurred copies are blended."""
    pitch = width / echo.shape[1]
    relative = np.abs((np.arange(len(echo)) + 0.5) / len(echo) - scanner.focus)
    reach = max(scanner.focus, 1.0 - scanner.focus)
    sigmas = np.array([RESOLUTION * (1.0 + 1.6 * share * reach) / 2.355 / pitch for share in (0.0, 0.5, 1.0)])
    position = relative / reach * 2
    result = np.zeros(echo.shape, np.complex64)
    for index, sigma in enumerate(sigmas):
        weight = np.clip(1.0 - np.abs(position - index), 0.0, 1.0).astype(np.float32)
        rows = np.flatnonzero(weight)
        part = echo[rows]
        blurred = gaussian_filter1d(part, sigma, axis=1)
        result[rows] += (blurred * (weight[rows, None] * np.sqrt(2 * np.sqrt(np.pi) * sigma))).astype(np.complex64)
    return np.abs(result)


def compress(env: np.ndarray, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Noise, log compression to the dynamic range, gray curve: (rows, columns) float32 in 0..1."""
    reference = float(np.percentile(env, 99.5))
    deeper = np.linspace(0.0, 8.0, len(env))[:, None]  # noise rises with the depth gain
    sigma = (reference * 10.0 ** ((scanner.noise + deeper) / 20.0)).astype(np.float32)
    noise = sigma * rng.standard_normal((2, *env.shape), dtype=np.float32)
    noisy = np.hypot(env + noise[0], noise[1])
    decibel = 20.0 * np.log10(np.maximum(noisy, reference * 1e-6) / reference) + scanner.level
    shown = np.clip((decibel + scanner.dynamic_range) / scanner.dynamic_range, 0.0, 1.0)
    return (shown**scanner.gamma).astype(np.float32)


def scan(
    tissue: Tissue, width: float, depth: float, scanner: Scanner, pixels: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One B-mode image of a linear probe: (h, w) uint8 and the lesion masks (L, h, w) bool at `pixels` = (h, w)."""
    env = envelope(tissue.echogenicity, tissue.attenuation, width, depth, scanner, rng)
    gray = Image.fromarray(compress(env, scanner, rng)).resize((pixels[1], pixels[0]), Image.Resampling.BILINEAR)
    image = np.clip(np.rint(np.array(gray) * 255.0), 0, 255).astype(np.uint8)
    size = (pixels[1], pixels[0])
    masks = [np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)) for mask in tissue.masks]
    return image, np.array(masks, bool).reshape(-1, *pixels)
