"""Anatomy of the phantom: layers, texture, ligaments and lesions as echogenicity and attenuation maps.

Everything is a function of position (x, z) in meters, so that another view of a patient (the probe moved by a few
millimeters) shows the same tissue. Levels are in dB relative to the background, attenuation in dB / (cm MHz).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

BACKGROUND_ATTENUATION = 0.55
# Area of a lesion as a share of the image: medians and p5-p95 of BUSI as log-normal distributions (median, sigma of ln)
AREA = {"benign": (0.038, 1.12), "malignant": (0.121, 0.79)}
AREA_LIMITS = (0.005, 0.42)


@dataclass(frozen=True)
class Lesion:
    """An ellipse with a wavy boundary (recipe 8.2.3).

    x, z: center, m; a, b: half axes across and along depth before rotation, m; angle: rad; waves: (n, 3) rows of order
    k, amplitude and phase of the boundary beta(phi) = 1 + sum A_k cos(k phi + psi_k); softness: width q of the edge;
    level: dB against the surrounding; excess: attenuation against it, dB/(cm MHz); heterogeneity: dB inside; capsule:
    dB of the rim, bright and thin above 0, a dark halo below; calcifications: (n, 3) rows x, z, size, m.
    """

    x: float
    z: float
    a: float
    b: float
    angle: float
    waves: np.ndarray
    softness: float
    level: float
    excess: float
    heterogeneity: float
    capsule: float
    calcifications: np.ndarray

    def rho(self, x: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Distance from the center relative to the boundary: below 1 is inside."""
        dx, dz = x - self.x, z - self.z
        u = np.cos(self.angle) * dx + np.sin(self.angle) * dz
        v = -np.sin(self.angle) * dx + np.cos(self.angle) * dz
        radius, phi = np.hypot(u / self.a, v / self.b), np.arctan2(v / self.b, u / self.a)
        beta = np.ones_like(radius)
        for k, amplitude, phase in self.waves.tolist():
            beta += amplitude * np.cos(k * phi + phase)
        return radius / np.maximum(beta, 0.3)


@dataclass(frozen=True)
class Anatomy:
    """One patient. Depths are shares of the image depth; waves (n, 3): wave number 1/m, amplitude (share), phase."""

    width: float
    depth: float
    layers: tuple[float, ...]
    levels: tuple[float, ...]
    interfaces: tuple[np.ndarray, ...]
    textures: np.ndarray
    fibers: np.ndarray
    ligaments: np.ndarray
    lobules: np.ndarray
    shadows: np.ndarray
    lesions: tuple[Lesion, ...]


@dataclass(frozen=True)
class Tissue:
    """On a (rows, columns) grid: echogenicity, dB; attenuation, dB/(cm MHz); lesion masks (L, rows, columns)."""

    echogenicity: np.ndarray
    attenuation: np.ndarray
    masks: np.ndarray


def draw_anatomy(rng: np.random.Generator, class_name: str, lesions: int = 1) -> Anatomy:
    """Draw one patient of a class (benign, malignant, normal) with that many lesions (0 for normal)."""
    width = 0.040
    depth = width / rng.uniform(0.85, 1.55)
    fat = rng.uniform(0.14, 0.36)
    gland = fat + rng.uniform(0.28, 0.42)
    layers = (rng.uniform(0.025, 0.05), fat, min(gland, 0.80), min(gland, 0.80) + rng.uniform(0.09, 0.16))
    levels = (
        rng.uniform(1.0, 5.0),  # skin
        rng.uniform(-6.0, -1.0),  # subcutaneous fat
        rng.uniform(-1.0, 4.0),  # gland
        rng.uniform(-7.0, -1.0),  # muscle
        rng.uniform(-10.0, -4.0),  # chest wall
    )
    anatomy = Anatomy(
        width=width,
        depth=depth,
        layers=layers,
        levels=levels,
        interfaces=tuple(_waves(rng, scale) for scale in (0.004, 0.03, 0.035, 0.02)),
        textures=np.stack([_noise(rng, (sigma * 0.75, sigma * 1.3)) for sigma in (1.2, 2.5, 6.0)]),
        fibers=_noise(rng, (0.8, rng.uniform(4.0, 9.0)), rows=192),
        ligaments=_ligaments(rng, fat),
        lobules=_lobules(rng, depth, fat, min(gland, 0.80)),
        shadows=_shadows(rng),
        lesions=(),
    )
    found: list[Lesion] = []
    for index in range(lesions if class_name != "normal" else 0):
        found.append(_draw_lesion(rng, class_name, anatomy, index, lesions))
    return replace(anatomy, lesions=tuple(found))


def move(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """Another view of the patient: the probe shifted by up to 3 mm, another slice through the lesion."""
    dx, dz, grow = rng.uniform(-0.003, 0.003), rng.uniform(-0.0008, 0.0008), rng.uniform(0.85, 1.08)
    lesions = tuple(
        replace(
            lesion,
            x=float(np.clip(lesion.x + dx, lesion.a * 0.6, anatomy.width - lesion.a * 0.6)),
            z=lesion.z + dz,
            a=lesion.a * grow,
            b=lesion.b * grow * rng.uniform(0.94, 1.06),
            angle=lesion.angle + rng.normal(0.0, 0.06),
        )
        for lesion in anatomy.lesions
    )
    shift = dx / anatomy.width
    return replace(
        anatomy,
        lesions=lesions,
        interfaces=tuple(
            np.stack([waves[:, 0], waves[:, 1], waves[:, 2] - waves[:, 0] * dx], 1) for waves in anatomy.interfaces
        ),
        textures=np.roll(anatomy.textures, round(shift * 128), axis=2),
        fibers=np.roll(anatomy.fibers, round(shift * 128), axis=1),
        ligaments=anatomy.ligaments + np.array([shift, 0, 0, 0, 0]),
        lobules=anatomy.lobules + np.array([shift, 0, 0, 0, 0]),
    )


def render(anatomy: Anatomy, rows: int, columns: int) -> Tissue:
    """Evaluate the anatomy on a (rows, columns) grid of the rectangle width x depth; row 0 is the skin."""
    zs = ((np.arange(rows) + 0.5) / rows).astype(np.float32)
    xs = ((np.arange(columns) + 0.5) / columns).astype(np.float32)
    echogenicity = _layered(anatomy, zs, xs)
    x, z = np.meshgrid(xs * anatomy.width, zs * anatomy.depth)
    attenuation = np.full((rows, columns), BACKGROUND_ATTENUATION, np.float32)
    attenuation += _contact_shadows(anatomy, xs, zs)
    texture = _sample(anatomy.textures[0], zs, xs)
    masks = np.zeros((len(anatomy.lesions), rows, columns), bool)
    for index, lesion in enumerate(anatomy.lesions):
        rho = lesion.rho(x, z)
        inside = _step((1.0 - rho) / lesion.softness)
        near = (rho > 1.0) & (rho < 1.5)
        around = float(echogenicity[near].mean()) if near.any() else 0.0
        level = around + lesion.level + lesion.heterogeneity * texture
        echogenicity = echogenicity * (1.0 - inside) + level * inside
        echogenicity += lesion.capsule * _bump((rho - 1.0) / (0.05 if lesion.capsule > 0 else 0.13))
        for cx, cz, size in lesion.calcifications.tolist():
            echogenicity += 16.0 * _bump(np.hypot(x - cx, z - cz) / (1.4 * size))
        attenuation += (lesion.excess * inside).astype(np.float32)
        masks[index] = rho < 1.0
    return Tissue(echogenicity.astype(np.float32), attenuation, masks)


def _layered(anatomy: Anatomy, zs: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """Echogenicity without lesions: layers with wavy interfaces and own textures, fascia, lobules, ligaments."""
    x = xs * anatomy.width
    fine, middle, coarse = (_sample(texture, zs, xs) for texture in anatomy.textures)
    # fibers run along the layers: the field is sampled at a depth that follows the waves of the deepest interface
    waves = anatomy.interfaces[2]
    bend = 0.6 * _height(waves[:2], x)
    fibers = _sample(anatomy.fibers, zs[:, None] - bend[None, :] - 0.015 * coarse, xs)
    fibers = fibers * np.clip(0.9 + 0.6 * middle, 0.1, 2.0)  # bundles end, new ones begin
    textures = (
        0.5 * fine,
        1.0 * coarse + 0.8 * fine + 0.8 * np.clip(fibers - 1.2, 0, None) * 4,
        1.8 * coarse + 1.5 * middle + 2.6 * fibers,
        1.0 * coarse + 3.6 * fibers,
        1.5 * coarse + 3.0 * fibers,
    )
    level = np.full((len(zs), len(xs)), anatomy.levels[0], np.float32) + textures[0]
    for boundary, waves, value, texture in zip(
        anatomy.layers, anatomy.interfaces, anatomy.levels[1:], textures[1:], strict=True
    ):
        distance = zs[:, None] - boundary - _height(waves, x)[None, :]
        below = _step(distance / 0.006)
        level = level * (1 - below) + (value + texture) * below
        # fascia: a thin bright line, broken where the coarse texture is low
        level += np.clip(5.0 + 3.0 * coarse, 0, 10) * _bump(distance / 0.006)
    for cx, cz, a, b, contrast in anatomy.lobules.tolist():
        rho = np.hypot((xs[None, :] - cx) / a, (zs[:, None] - cz) / b) * (1.0 + 0.12 * coarse)
        level += contrast * _step((1.0 - rho) / 0.15)
        level += 4.0 * _bump((rho - 1.05) / 0.10) * np.clip(0.5 + 0.7 * middle, 0, 2)
    for cx, cz, slope, length, brightness in anatomy.ligaments.tolist():
        along = xs[None, :] - cx
        line = zs[:, None] - cz - slope * along - 0.025 * coarse
        level += brightness * _bump(line / 0.006) * _bump(along / length)
    return level


def _step(x: np.ndarray) -> np.ndarray:
    """Logistic function, 0 far below 0 and 1 far above."""
    return 1.0 / (1.0 + np.exp(np.clip(-x, -30.0, 30.0)))


def _bump(x: np.ndarray) -> np.ndarray:
    """exp(-x^2), cut off where it would fall into slow subnormal numbers."""
    return np.exp(-np.minimum(x * x, 30.0))


def _height(waves: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Deviation of a wavy interface from its mean depth at x (m), as a share of the image depth."""
    return (waves[:, 1, None] * np.sin(waves[:, 0, None] * x + waves[:, 2, None])).sum(0).astype(np.float32)


def _draw_lesion(rng: np.random.Generator, class_name: str, anatomy: Anatomy, index: int, count: int) -> Lesion:
    malignant = class_name == "malignant"
    median, sigma = AREA[class_name]
    share = float(np.clip(median * np.exp(sigma * rng.standard_normal()), *AREA_LIMITS)) / count
    # half axes from the area pi a b; a / b is the width over the depth of the lesion
    ratio = rng.uniform(0.75, 1.5) if malignant else rng.uniform(1.15, 2.1)
    area = share * anatomy.width * anatomy.depth
    b = np.sqrt(area / (np.pi * ratio))
    b = float(min(b, 0.44 * anatomy.depth))
    a = float(min(area / (np.pi * b), 0.46 * anatomy.width))
    lane = anatomy.width / count
    low, high = max(0.6 * a, 0.004), lane - max(0.6 * a, 0.004)
    x = lane * index + (float(rng.uniform(low, high)) if high > low else lane / 2)
    top = max(0.07 * anatomy.depth + b, 0.22 * anatomy.depth)
    z = float(rng.uniform(top, max(top, min(0.72 * anatomy.depth, 0.93 * anatomy.depth - b))))
    roughness, orders = (0.16, np.arange(2, 9)) if malignant else (0.04, np.arange(2, 5))
    waves = np.stack(
        [orders, roughness / orders * rng.standard_normal(len(orders)), rng.uniform(0, 2 * np.pi, len(orders))], 1
    )
    level, excess, cyst = _draw_contrast(rng, malignant)
    spots = int(rng.integers(2, 9)) if malignant and rng.random() < 0.35 else 0
    angle, radius = rng.uniform(0, 2 * np.pi, spots), np.sqrt(rng.random(spots)) * 0.7
    return Lesion(
        x=x,
        z=z,
        a=a,
        b=b,
        angle=float(rng.normal(0.0, 0.25 if malignant else 0.15)),
        waves=waves,
        softness=0.07 if malignant else 0.025,
        level=level,
        excess=excess,
        heterogeneity=0.3 if cyst else float(rng.uniform(0.8, 2.5 if malignant else 1.2)),
        capsule=_draw_rim(rng, malignant, level),
        calcifications=np.stack(
            [x + a * radius * np.cos(angle), z + b * radius * np.sin(angle), rng.uniform(1.2e-4, 2.5e-4, spots)], 1
        ),
    )


def _draw_contrast(rng: np.random.Generator, malignant: bool) -> tuple[float, float, bool]:
    """(level dB, attenuation excess, cyst). At least 30 % of all lesions are within 3 dB of their surrounding."""
    kind = rng.random()
    cyst = False
    if kind < 0.31:
        level = float(rng.uniform(-3.0, -2.0 if rng.random() < 0.9 else 2.0))
    elif kind < 0.96 or malignant:
        level = float(rng.uniform(-22.0, -10.0))
    else:
        level, cyst = -32.0, True
    if malignant:
        excess = float(rng.uniform(0.1, 0.6)) if rng.random() < 0.7 else float(rng.uniform(-0.1, 0.15))
    else:
        excess = float(rng.uniform(-0.45, -0.15)) if rng.random() < 0.65 else float(rng.uniform(-0.1, 0.2))
    return level, excess, cyst


def _draw_rim(rng: np.random.Generator, malignant: bool, level: float) -> float:
    """dB of the rim. A lesion as bright as its surrounding is recognized by a dark halo, or hardly at all."""
    if abs(level) <= 3.0:
        return float(rng.uniform(-11.0, -5.0))
    return float(rng.uniform(0.0, 2.0) if malignant else rng.uniform(0.5, 4.5))


def _waves(rng: np.random.Generator, scale: float) -> np.ndarray:
    """(4, 3): wave numbers of 12 to 60 mm wavelength, amplitudes falling with the wave number, phases."""
    wavelength = np.array([0.060, 0.034, 0.020, 0.012]) * rng.uniform(0.8, 1.2, 4)
    amplitude = scale * rng.standard_normal(4) * np.array([1.0, 0.6, 0.3, 0.1])
    return np.stack([2 * np.pi / wavelength, amplitude, rng.uniform(0, 2 * np.pi, 4)], 1)


def _noise(rng: np.random.Generator, sigma: tuple[float, float], rows: int = 96) -> np.ndarray:
    """(rows, 128) smooth noise, zero mean and unit deviation; sigma (deep, across) in cells; periodic across."""
    field = gaussian_filter(rng.standard_normal((rows, 128)), sigma, mode="wrap")
    return ((field - field.mean()) / field.std()).astype(np.float32)


def _sample(field: np.ndarray, zs: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """Bilinear sampling at relative positions xs (columns,) and depths zs (rows,) or (rows, columns), in 0..1."""
    rows = np.broadcast_to(zs[:, None] if zs.ndim == 1 else zs, (len(zs), len(xs))) * (field.shape[0] - 1)
    columns = np.broadcast_to(xs[None, :], rows.shape) * (field.shape[1] - 1)
    return map_coordinates(field, [rows, columns], order=1, mode="mirror")


def _ligaments(rng: np.random.Generator, fat: float) -> np.ndarray:
    """(n, 5): x, z (shares), slope, half length (share of the width), brightness dB."""
    count = int(rng.integers(3, 9))
    return np.stack(
        [
            rng.uniform(-0.1, 1.1, count),
            rng.uniform(0.05, fat + 0.25, count),
            rng.uniform(-0.9, 0.9, count),
            rng.uniform(0.05, 0.22, count),
            rng.uniform(3.0, 9.0, count),
        ],
        1,
    )


def _lobules(rng: np.random.Generator, depth: float, fat: float, gland: float) -> np.ndarray:
    """(n, 5): fat lobules, x, z, half axes (shares) and level dB: dark ovals that are no lesions."""
    count = int(rng.integers(1, 5))
    return np.stack(
        [
            rng.uniform(-0.05, 1.05, count),
            rng.uniform(0.08, gland, count),
            rng.uniform(0.06, 0.20, count),
            rng.uniform(0.025, 0.07, count),
            rng.uniform(-4.0, -0.8, count),
        ],
        1,
    )


def _shadows(rng: np.random.Generator) -> np.ndarray:
    """(3, 4): position, width, depth at which it starts (shares), excess attenuation dB/(cm MHz).

    The first two lie at the sides, where a probe loses contact; the third anywhere, as below a dense ligament.
    """
    return np.array(
        [
            [rng.uniform(-0.15, 0.05), rng.uniform(0.08, 0.20), 0.0, rng.uniform(0.0, 0.25)],
            [rng.uniform(0.95, 1.15), rng.uniform(0.08, 0.20), 0.0, rng.uniform(0.0, 0.25)],
            [
                rng.random(),
                rng.uniform(0.04, 0.12),
                rng.uniform(0.1, 0.6),
                rng.uniform(0.0, 0.4) * (rng.random() < 0.3),
            ],
        ]
    )


def _contact_shadows(anatomy: Anatomy, xs: np.ndarray, zs: np.ndarray) -> np.ndarray:
    """Extra attenuation (rows, columns), dB/(cm MHz)."""
    total = np.zeros((len(zs), len(xs)), np.float32)
    for center, width, start, excess in anatomy.shadows.tolist():
        column = np.exp(-(((xs - center) / width) ** 2))
        total += excess * np.clip((zs - start) / 0.15, 0.0, 1.0)[:, None] * column[None, :]
    return total
