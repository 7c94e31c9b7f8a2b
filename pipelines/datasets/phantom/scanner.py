"""Physics of the phantom: scatterers, point spread function, envelope, log compression, scan conversion.

Convolution model: echo = scatterer map * point spread function (Bamber and Dickinson 1980; Meunier and Bertrand 1995).
Axial and lateral blur are separable, so the axial pulse is applied per line in the frequency domain, and only its band
is kept: the inverse transform of that band alone is the complex envelope at a lower sampling rate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image
from scipy.fft import ifft, next_fast_len, rfft
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from pipelines.datasets.phantom.geometry import Geometry, beam_pitch, convert
from pipelines.datasets.phantom.lesion import largest_part
from pipelines.datasets.phantom.tissue import BACKGROUND_ATTENUATION, Tissue

SOUND = 1540.0  # m/s
COLUMNS = 256
PAD = 24  # samples
SPREAD = 0.12  # share of the loss that a beam takes from each neighbor per row


@dataclass(frozen=True)
class Scanner:
    """site: A or B; fc: center frequency, Hz; cycles: of the pulse; focus: share of the depth; lateral: full width at
    half maximum of the beam at the focus, m; dynamic_range: dB; gamma and bend: of the gray curve; gain: factor on the
    gray value; gain_error: delta of the depth gain; decay: dB that the gain lacks at the bottom; noise: dB against the
    99.5th percentile; level: dB that this percentile is shown above white; looks: angles of the spatial compounding;
    smoothing: share of the speckle reduction filter.
    """

    site: str
    fc: float
    cycles: float
    focus: float
    lateral: float
    dynamic_range: float
    gamma: float
    bend: float
    gain: float
    gain_error: float
    decay: float
    noise: float
    level: float
    looks: int
    smoothing: float

    def facts(self) -> dict[str, float | str]:
        return {name: value if name == "site" else round(float(value), 6) for name, value in asdict(self).items()}


def draw_scanner(rng: np.random.Generator, site: str) -> Scanner:
    """Site A: a linear probe of 7.5 to 10 MHz. Site B: a convex one of 4 to 6 MHz, louder, with another gray curve."""
    here = site == "A"
    return Scanner(
        site=site,
        fc=float(rng.uniform(7.5e6, 10e6) if here else rng.uniform(4e6, 6e6)),
        cycles=float(rng.uniform(2.0, 3.0)),
        focus=float(rng.uniform(0.3, 0.65)),
        lateral=0.35e-3 if here else 0.55e-3,
        dynamic_range=float(rng.uniform(52.0, 58.0) if here else rng.uniform(46.0, 50.0)),
        gamma=float(rng.uniform(1.2, 1.8) if here else rng.uniform(1.2, 1.5)),
        bend=0.0 if here else 0.7,
        gain=1.0 if here else 1.15,
        gain_error=float(rng.uniform(-0.10, 0.10)),
        decay=float(rng.uniform(8.0, 22.0) if here else rng.uniform(2.0, 24.0)),
        noise=float(rng.uniform(-55.0, -45.0) if here else rng.uniform(-47.0, -40.0)),
        level=float(rng.uniform(-10.0, -2.0)),
        looks=int(rng.integers(2, 5) if here else rng.integers(2, 4)),
        smoothing=float(rng.uniform(0.0, 0.35) if here else rng.uniform(0.0, 0.4)),
    )


def rows_of(depth: float, fc: float) -> int:
    """Samples along a line of `depth` m at fs = 4 fc, two-way."""
    return round(2 * depth * 4 * fc / SOUND)


def envelope(tissue: Tissue, geometry: Geometry, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Linear envelope (rows, COLUMNS) float32 before compression, rows about 3 per pulse length.

    The maps of `tissue` may lie on any grid over the beams; they are interpolated.
    """
    depth = geometry.depth
    fine = rows_of(depth, scanner.fc)
    echogenicity = tissue.echogenicity
    amplitude = 10.0 ** ((echogenicity + _loss_and_gain(tissue.attenuation, depth, scanner)) / 20.0)
    # interfaces: strong scatterers where the echogenicity changes along depth
    amplitude = amplitude * (1.0 + 0.15 * np.abs(np.gradient(echogenicity, axis=0)))
    strength = _stretch(amplitude, fine)
    if tissue.density.min() < 1.0:
        # few scatterers per resolution cell, of the same mean power: K-distributed instead of Rayleigh
        density = _stretch(tissue.density, fine)
        held = rng.random(density.shape, dtype=np.float32) < density
        strength = strength * held / np.sqrt(density)
    widths = _beam_widths(geometry, scanner)
    # Compounding adds envelopes seen from angles so far apart that their speckle is independent.
    total = np.zeros(())
    for _ in range(scanner.looks):
        echo = _axial(rng.standard_normal((fine, COLUMNS), dtype=np.float32) * strength, scanner)
        total = total + _blur(echo, widths)
    return total / scanner.looks


def _stretch(grid: np.ndarray, rows: int) -> np.ndarray:
    """To (rows, COLUMNS) float32, bilinear."""
    return np.array(Image.fromarray(grid.astype(np.float32)).resize((COLUMNS, rows), Image.Resampling.BILINEAR))


def _loss_and_gain(attenuation: np.ndarray, depth: float, scanner: Scanner) -> np.ndarray:
    """Two-way loss -2 f integral(alpha) plus depth gain 2 * .55 f z (1 + delta), dB (z in cm, f in MHz)."""
    rows = len(attenuation)
    step, mhz = depth * 100.0 / rows, scanner.fc / 1e6
    path = np.array(attenuation, np.float64)
    share = SPREAD if scanner.looks > 1 else 0.0
    for row in range(1, rows):  # the angles of compounding pass beside an obstacle: shadows soften with depth
        above = path[row - 1]
        path[row] += above
        path[row, 1:] += share * (above[:-1] - above[1:])
        path[row, :-1] += share * (above[1:] - above[:-1])
    loss = -2.0 * mhz * path * step
    gain = 2.0 * BACKGROUND_ATTENUATION * mhz * (np.arange(rows) + 1) * step * (1.0 + scanner.gain_error)
    gain -= scanner.decay * ((np.arange(rows) + 0.5) / rows) ** 1.5
    return loss + gain[:, None]


def _axial(scatterers: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Complex envelope of lines convolved with exp(-t^2 / (2 s^2)) cos(2 pi fc t), s = cycles / (3 fc).

    The spectrum of the pulse is a Gaussian about fc with deviation 1 / (2 pi s); three deviations each side are kept.
    """
    fs = 4.0 * scanner.fc
    rows = next_fast_len(len(scatterers) + PAD, real=True)  # empty rows, so that the pulse does not wrap around
    deviation = 1.0 / (2 * np.pi * scanner.cycles / (2 * scanner.fc) / 1.5)
    spectrum = rfft(scatterers, rows, axis=0)
    bins = np.arange(len(spectrum)) * fs / rows
    low = max(0, int(np.searchsorted(bins, scanner.fc - 3 * deviation)))
    high = min(len(bins), int(np.searchsorted(bins, scanner.fc + 3 * deviation)))
    pulse = np.exp(-((bins[low:high] - scanner.fc) ** 2) / (2 * deviation**2)).astype(np.float32)
    band = ifft(spectrum[low:high] * pulse[:, None], axis=0)
    return band[: round(len(band) * len(scatterers) / rows)]


def _beam_widths(geometry: Geometry, scanner: Scanner, rows: int = 512) -> np.ndarray:
    """Deviation of the lateral Gaussian in columns along depth, (rows,): full width
    lateral * (1 + 1.6 |z - z_f| / D).
    """
    relative = np.abs((np.arange(rows) + 0.5) / rows - scanner.focus)
    return scanner.lateral * (1.0 + 1.6 * relative) / 2.355 / beam_pitch(geometry, rows, COLUMNS)


def _blur(echo: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """|lateral Gaussian * echo|, energy-normalized; 3 blurred copies are blended along depth."""
    sigma = np.interp(np.linspace(0.0, 1.0, len(echo)), np.linspace(0.0, 1.0, len(widths)), widths)
    low, high = float(sigma.min()), float(sigma.max())
    position = (sigma - low) / max(high - low, 1e-9) * 2
    result = np.zeros(echo.shape, np.complex64)
    for index, own in enumerate(np.linspace(low, high, 3).tolist()):
        weight = np.clip(1.0 - np.abs(position - index), 0.0, 1.0).astype(np.float32)
        rows = np.flatnonzero(weight)
        blurred = gaussian_filter1d(echo[rows], own, axis=1)
        result[rows] += (blurred * (weight[rows, None] * np.sqrt(2 * np.sqrt(np.pi) * own))).astype(np.complex64)
    return np.abs(result)


def compress(env: np.ndarray, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Noise, log compression to the dynamic range, speckle reduction, gray curve: (rows, columns) float32 in 0..1."""
    reference = float(np.percentile(env, 99.5))
    deeper = np.linspace(0.0, 8.0, len(env))[:, None]  # noise rises with the depth gain
    sigma = (reference * 10.0 ** ((scanner.noise + deeper) / 20.0)).astype(np.float32)
    noise = sigma * rng.standard_normal((2, *env.shape), dtype=np.float32)
    noisy = np.hypot(env + noise[0], noise[1])
    decibel = 20.0 * np.log10(np.maximum(noisy, reference * 1e-6) / reference) + scanner.level
    if scanner.smoothing:
        decibel += scanner.smoothing * (gaussian_filter(decibel, 1.2) - decibel)
    shown = np.clip((decibel + scanner.dynamic_range) / scanner.dynamic_range * scanner.gain, 0.0, 1.0) ** scanner.gamma
    shown += scanner.bend * (shown * shown * (3.0 - 2.0 * shown) - shown)
    return shown.astype(np.float32)


def scan(
    tissue: Tissue, geometry: Geometry, scanner: Scanner, pixels: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One B-mode image: (h, w) uint8 and the lesion masks (L, h, w) bool at `pixels` = (h, w)."""
    shown = convert(compress(envelope(tissue, geometry, scanner, rng), scanner, rng), geometry, pixels, order=1)
    image = np.clip(np.rint(shown * 255.0), 0, 255).astype(np.uint8)
    # the nearest samples may leave a pixel behind a thin bridge
    masks = [largest_part(convert(mask.astype(np.uint8), geometry, pixels, order=0) > 0) for mask in tissue.masks]
    return image, np.array(masks, bool).reshape(-1, *pixels)
