"""One lesion: its outline, and what it does to echogenicity, attenuation and scatterer density around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from pipelines.datasets.phantom.fields import bump, line, step

Rows = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Lesion:
    """An ellipse with a wavy boundary. x, z: center, m; a, b: half axes across and along depth before rotation, m;
    angle: rad.

    waves: (n, 3) rows of order k, amplitude and phase of the boundary beta(phi) = 1 + sum A_k cos(k phi + psi_k);
    bend, roughness: m by which slow and quick noise displaces the boundary; softness: width q of the edge, in rho;
    level: dB against the surrounding; excess: attenuation against it, dB/(cm MHz); heterogeneity: dB inside;
    density: share of the cells that hold a scatterer; capsule: dB of a thin sheet around it; halo: dB of a broad rim,
    bright above 0; edge: refraction shadows at the sides, dB/(cm MHz); push: share by which it displaces the tissue
    around; calcifications: (n, 3) rows x, z, size, m; spicules: (n, 3) rows angle, length in rho, dB; stone: half width
    of a calcified shell, m.
    """

    x: float
    z: float
    a: float
    b: float
    angle: float
    level: float
    waves: Rows = ()
    bend: float = 0.0
    roughness: float = 0.0
    softness: float = 0.02
    excess: float = 0.0
    heterogeneity: float = 0.0
    density: float = 1.0
    capsule: float = 0.0
    halo: float = 0.0
    edge: float = 0.0
    push: float = 0.0
    calcifications: Rows = ()
    spicules: Rows = ()
    stone: float = 0.0

    def polar(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rho, phi): the distance from the center relative to the boundary (below 1 is inside), and the angle."""
        dx, dz = x - self.x, z - self.z
        u = np.cos(self.angle) * dx + np.sin(self.angle) * dz
        v = -np.sin(self.angle) * dx + np.cos(self.angle) * dz
        radius, phi = np.hypot(u / self.a, v / self.b), np.arctan2(v / self.b, u / self.a)
        beta = np.ones_like(radius)
        for k, amplitude, phase in self.waves:
            beta += amplitude * np.cos(k * phi + phase)
        return radius / np.maximum(beta, 0.3), phi

    def displace(self, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the tissue now at (x, z) would lie without the lesion: layers arch around a mass."""
        if not self.push:
            return x, z
        radius = np.hypot((x - self.x) / self.a, (z - self.z) / self.b)
        shrink = 1.0 - self.push * np.exp(-np.maximum(radius - 1.0, 0.0) / 0.45)
        return self.x + (x - self.x) * shrink, self.z + (z - self.z) * shrink


@dataclass(frozen=True)
class Maps:
    """Tissue on the beams, all (rows, columns), changed in place. x, z: m; pitch_x: (rows, 1) m; pitch_z: m.

    slow, quick: (2, rows, columns) smooth noise of unit deviation on the same grid.
    """

    x: np.ndarray
    z: np.ndarray
    pitch_x: np.ndarray
    pitch_z: float
    slow: np.ndarray
    quick: np.ndarray
    echogenicity: np.ndarray
    attenuation: np.ndarray
    density: np.ndarray


def insert(lesion: Lesion, maps: Maps) -> np.ndarray:
    """Put the lesion into the maps; returns its mask rho < beta, (rows, columns) bool (recipe 8.2.3)."""
    noise = lesion.bend * maps.slow + lesion.roughness * maps.quick
    rho, phi = lesion.polar(maps.x + noise[0], maps.z + noise[1])
    rho[(rho < 1.0) & ~largest_part(rho < 1.0)] = 1.2  # islands that the noise has cut off are no lesions
    inside = step((1.0 - rho) / lesion.softness).astype(np.float32)
    ring = (rho > 1.0) & (rho < 1.5)
    around = float(maps.echogenicity[ring].mean()) if ring.any() else 0.0
    echo = maps.echogenicity
    if lesion.halo:
        echo += lesion.halo * bump((rho - 1.12) / 0.16) * np.clip(0.7 + 0.6 * maps.slow[0], 0.0, 1.5)
    if lesion.spicules:
        echo += _spicules(lesion, rho, phi)
    level = around + lesion.level + lesion.heterogeneity * (0.8 * maps.quick[0] + 0.6 * maps.slow[0])
    echo += (level - echo) * inside
    if lesion.capsule:
        sheet = line(rho - 1.02, 0.13e-3, 2.0, maps.pitch_z, maps.pitch_x)
        echo += lesion.capsule * sheet * np.clip(0.8 + 0.6 * maps.slow[0], 0.0, 1.5)
    for cx, cz, size in lesion.calcifications:
        near = np.abs(maps.x - cx) < 5 * size
        spot = bump(np.hypot(maps.x - cx, maps.z - cz)[near] / (1.4 * size))
        echo[near] += 16.0 * spot
        maps.attenuation[near] += 2.0 * spot
    if lesion.stone:
        _stone(lesion, maps)
    maps.attenuation[...] += lesion.excess * inside
    if lesion.edge:
        side = bump((np.abs(maps.x - lesion.x) / lesion.a - 1.0) / 0.10) * bump((maps.z - lesion.z) / lesion.b)
        maps.attenuation[...] += lesion.edge * side
    maps.density[...] += (lesion.density - maps.density) * (inside > 0.5)
    return rho < 1.0


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected region of a mask, (rows, columns) bool."""
    parts, count = label(mask)
    return parts == np.bincount(parts[parts > 0]).argmax() if count > 1 else mask


def _spicules(lesion: Lesion, rho: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """dB of the lines that radiate from a malignant mass."""
    total = np.zeros_like(rho)
    outside = rho > 0.85
    for angle, length, brightness in lesion.spicules:
        turn = np.abs((phi[outside] - angle + np.pi) % (2 * np.pi) - np.pi)
        reach = np.exp(-np.maximum(rho[outside] - 1.0, 0.0) / length)
        total[outside] += brightness * bump(turn * rho[outside] / 0.09) * reach
    return total


def _stone(lesion: Lesion, maps: Maps) -> None:
    """A calcified shell: a bright arc at the top of the lesion's middle and a clean shadow below."""
    u, v = (maps.x - lesion.x) / lesion.stone, (maps.z - lesion.z) / (0.6 * lesion.stone)
    shell = np.hypot(u, v)
    maps.echogenicity[...] += 22.0 * bump((shell - 1.0) / 0.15) * (v < 0.0)
    maps.attenuation[...] += 6.0 * step((1.0 - shell) / 0.1)
