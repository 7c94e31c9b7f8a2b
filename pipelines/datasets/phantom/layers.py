"""The breast without a lesion: skin, fat with septa, gland with ducts, muscle with fibers, chest wall."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipelines.datasets.phantom.fields import bump, line, sample, smooth_noise, step

# deviations of the noise fields (deep, across), m
FIELDS = {
    "warp": (3.5e-3, 6.0e-3),  # displaces everything below
    "coarse": (3.0e-3, 5.0e-3),  # slow changes of brightness
    "middle": (0.7e-3, 1.8e-3),  # texture of the gland
    "fine": (0.25e-3, 0.8e-3),
    "septa": (1.5e-3, 4.0e-3),  # level sets are ligaments between fat lobules
    "strands": (0.9e-3, 3.2e-3),
    "fibers": (0.6e-3, 8.0e-3),
    "ducts": (0.75e-3, 1.5e-3),
}


@dataclass(frozen=True)
class Layers:
    """depths: lower limits of skin, fat, gland and muscle, m; levels: dB of skin, fat, gland, muscle, chest wall.

    interfaces: per limit (n, 3) rows of wave number 1/m, amplitude m, phase; fields: smooth noise by name; septa,
    strands, fibers, ducts: dB; ducts_share: threshold of the ducts' field; ribs: (n, 3) rows x, half width, depth, m;
    shadows: (n, 4) rows x, width, start, m, and dB/(cm MHz).
    """

    depths: tuple[float, ...]
    levels: tuple[float, ...]
    interfaces: tuple[np.ndarray, ...]
    fields: dict[str, np.ndarray]
    septa: float
    strands: float
    fibers: float
    ducts: float
    ducts_share: float
    streaks: float
    ribs: np.ndarray
    shadows: np.ndarray


def draw_layers(rng: np.random.Generator, depth: float, width: float) -> Layers:
    """One patient's tissue down to `depth` (m) below a probe `width` m wide."""
    dense = rng.random()  # from a fatty breast to a dense one
    skin = rng.uniform(0.7e-3, 1.7e-3)
    fat = skin + depth * rng.uniform(0.08, 0.20 + 0.16 * (1.0 - dense))
    gland = fat + depth * rng.uniform(0.22, 0.46)
    muscle = gland + depth * rng.uniform(0.12, 0.26)
    fields = {name: smooth_noise(rng, *size) for name, size in FIELDS.items()}
    return Layers(
        depths=(skin, fat, gland, muscle),
        levels=(
            rng.uniform(-2.0, 3.0),
            rng.uniform(-7.0, -2.0),
            rng.uniform(-2.5, 1.5) + 3.0 * dense,
            rng.uniform(-10.0, -4.0),
            rng.uniform(-16.0, -8.0),
        ),
        interfaces=tuple(_waves(rng, scale) for scale in (0.1e-3, 0.9e-3, 1.0e-3, 0.8e-3)),
        fields=fields,
        septa=rng.uniform(6.0, 15.0),
        strands=rng.uniform(4.0, 12.0),
        fibers=rng.uniform(5.0, 13.0),
        ducts=rng.uniform(2.0, 7.0),
        ducts_share=rng.uniform(0.6, 1.8),
        streaks=rng.uniform(0.02, 0.12),
        ribs=_ribs(rng, muscle, depth, width),
        shadows=_shadows(rng, depth, width),
    )


def drift(layers: Layers, rng: np.random.Generator, share: float) -> Layers:
    """A neighboring slice of the same tissue: every field is mixed with a new one, `share` of its variance."""
    keep, add = np.sqrt(1.0 - share), np.sqrt(share)
    fields = {
        name: (keep * layers.fields[name] + add * smooth_noise(rng, *size)).astype(np.float32)
        for name, size in FIELDS.items()
    }
    return replace(layers, fields=fields)


def background(
    layers: Layers, x: np.ndarray, z: np.ndarray, pitch_z: float, pitch_x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(echogenicity dB, attenuation excess dB/(cm MHz), scatterer density 0..1), each (rows, columns) float32.

    x, z: positions in the tissue, m, (rows, columns); pitch_z, pitch_x: spacing of the grid, m.
    """

    def field(name: str) -> np.ndarray:
        return sample(layers.fields[name], x, bent)

    bent = z
    # nothing moves at the probe; further down layers and fibers undulate together
    bent = z + 0.9e-3 * field("warp") * np.minimum(z / 6e-3, 1.0)
    coarse, middle, fine = field("coarse"), field("middle"), field("fine")
    patches = np.clip(0.6 + 0.6 * coarse + 0.5 * middle, 0.0, 2.0)
    other = np.clip(0.6 - 0.5 * coarse - 0.5 * middle + 0.3 * fine, 0.0, 2.0)

    def sheets(name: str, turns: float, thickness: float, facing: float) -> np.ndarray:
        # several level sets of one field never cross: bundles that run side by side
        rough = field(name) + 0.12 * middle + 0.06 * fine
        return line(np.sin(turns * rough), thickness, facing, pitch_z, pitch_x)

    fibers = layers.fibers * sheets("fibers", 2.0, 0.12e-3, 4.0)
    tissue = (
        1.5 * fine + 0.8 * middle,
        1.4 * coarse + 0.8 * middle + 1.4 * fine + layers.septa * patches * sheets("septa", 1.3, 0.13e-3, 4.0),
        2.2 * coarse
        + 2.4 * middle
        + 2.0 * fine
        + layers.strands * other * sheets("strands", 2.2, 0.16e-3, 4.0)
        - layers.ducts * step((field("ducts") - layers.ducts_share) / 0.2),
        1.8 * coarse + 1.0 * middle + 1.5 * fine + fibers * patches,
        2.0 * coarse + 1.0 * fine + 0.6 * fibers * other,
    )
    level = layers.levels[0] + tissue[0] + 7.0 * bump((z - 0.15e-3) / 0.12e-3)
    borders = (6.0, 6.0, 9.0, 6.0)  # dB of skin line and fasciae
    for boundary, waves, value, texture, border in zip(
        layers.depths, layers.interfaces, layers.levels[1:], tissue[1:], borders, strict=True
    ):
        distance = bent - boundary - _height(waves, x)
        below = step(distance / 0.2e-3)
        level += (value + texture - level) * below
        level += border * bump(distance / 0.16e-3) * patches
    attenuation = _streaks(layers, x) + _contact(layers, x, z)
    for center, half, top in layers.ribs.tolist():
        arc = (z - top) / half - 0.25 * ((x - center) / half) ** 2
        wide = step((1.0 - np.abs(x - center) / half) / 0.08)
        level += 20.0 * bump(arc * half / 0.35e-3) * wide
        attenuation += 4.0 * step(arc * half / 0.2e-3) * wide
    density = np.where(middle > 1.2, 0.25, 1.0)  # clumps of few scatterers: K-distributed instead of Rayleigh
    return level.astype(np.float32), attenuation.astype(np.float32), density.astype(np.float32)


def _height(waves: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Deviation of a wavy interface from its mean depth at x, both in m."""
    places = np.linspace(float(x.min()), float(x.max()), 512)
    heights = np.zeros_like(places)
    for number, amplitude, phase in waves.tolist():
        heights += amplitude * np.sin(number * places + phase)
    return np.interp(x, places, heights)


def _waves(rng: np.random.Generator, scale: float) -> np.ndarray:
    """(4, 3): wave numbers of 12 to 60 mm wavelength, amplitudes falling with the wave number, phases."""
    wavelength = np.array([0.060, 0.034, 0.020, 0.012]) * rng.uniform(0.8, 1.2, 4)
    amplitude = scale * rng.standard_normal(4) * np.array([1.0, 0.8, 0.5, 0.25])
    return np.stack([2 * np.pi / wavelength, amplitude, rng.uniform(0, 2 * np.pi, 4)], 1)


def _ribs(rng: np.random.Generator, muscle: float, depth: float, width: float) -> np.ndarray:
    """(0 or 1, 3): a rib below the muscle, in a quarter of the patients whose chest wall is in view."""
    seen = rng.random() < 0.25 and muscle < 0.86 * depth
    rib = [rng.uniform(-0.5, 0.5) * width, rng.uniform(0.10, 0.22) * width, muscle + rng.uniform(0.03, 0.10) * depth]
    return np.array([rib] if seen else np.zeros((0, 3)))


def _shadows(rng: np.random.Generator, depth: float, width: float) -> np.ndarray:
    """(4, 4): the first two at the sides, where a probe loses contact; the others below dense ligaments."""
    sides = [
        [side * width * rng.uniform(0.45, 0.62), width * rng.uniform(0.06, 0.16), 0.0, rng.uniform(0.0, 0.5)]
        for side in (-1, 1)
    ]
    inner = [
        [
            width * rng.uniform(-0.5, 0.5),
            width * rng.uniform(0.025, 0.12),
            depth * rng.uniform(0.05, 0.5),
            rng.uniform(0.1, 0.6) * (rng.random() < 0.4),
        ]
        for _ in range(2)
    ]
    return np.array(sides + inner)


def _contact(layers: Layers, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    total = np.zeros(x.shape, np.float32)
    for center, width, start, excess in layers.shadows.tolist():
        total += excess * np.clip((z - start) / 5e-3, 0.0, 1.0) * bump((x - center) / width)
    return total


def _streaks(layers: Layers, x: np.ndarray) -> np.ndarray:
    """Beams pass through fat of changing thickness: some columns stay darker all the way down."""
    return layers.streaks * sample(layers.fields["strands"], x, np.full(x.shape, 0.02))
