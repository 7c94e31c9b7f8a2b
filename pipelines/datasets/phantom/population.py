"""What lesions look like in a population: size, shape, contrast and signs, by class (generation recipe 8.2 and 8.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from pipelines.datasets.phantom.geometry import Geometry
from pipelines.datasets.phantom.lesion import Lesion, Rows

# Area of a lesion as a share of the image: medians and p5-p95 of BUSI as log-normal distributions (median, sigma of ln)
AREA = {"benign": (0.038, 1.12), "malignant": (0.125, 0.80)}
AREA_LIMITS = (0.004, 0.42)
NEAR = 3.0  # dB: a lesion this close to its surrounding is near-isoechoic
NEAR_SHARE = 0.38


def draw_lesion(
    rng: np.random.Generator,
    class_name: str,
    geometry: Geometry,
    size: float,
    contrast: float,
    index: int = 0,
    count: int = 1,
) -> Lesion:
    """Lesion `index` of `count` that lie side by side, each in a lane of its own; class_name: benign or malignant.

    size, contrast: where it stands in the population of its class, quantiles 0..1; all else is drawn.
    """
    malignant = class_name == "malignant"
    median, sigma = AREA[class_name]
    share = float(np.clip(median * np.exp(sigma * ndtri(size)), *AREA_LIMITS)) / count
    x, z, a, b = _place(rng, share * geometry.area, malignant, geometry, index, count)
    kind, level = _draw_level(rng, contrast, malignant)
    roughness, orders = (0.16, np.arange(2, 9)) if malignant else (0.04, np.arange(2, 5))
    waves = [orders, roughness / orders * rng.standard_normal(len(orders)), rng.uniform(0, 2 * np.pi, len(orders))]
    radius = np.sqrt(a * b)
    signs = _malignant(rng, kind, x, z, a, b) if malignant else _benign(rng, kind, a)
    return Lesion(
        x=x,
        z=z,
        a=a,
        b=b,
        angle=float(rng.normal(0.0, 0.25 if malignant else 0.15)),
        level=level,
        waves=_rows(waves),
        bend=float(radius * rng.uniform(0.04, 0.12)),
        roughness=min(float(radius * (rng.uniform(0.05, 0.11) if malignant else rng.uniform(0.0, 0.02))), 0.5e-3),
        softness=0.06 if malignant else 0.02,
        **signs,
    )


def nested_in(outer: Lesion, rng: np.random.Generator) -> Lesion:
    """A smaller lesion inside another, as a cyst in a solid mass."""
    return Lesion(
        x=outer.x + 0.2 * outer.a * float(rng.uniform(-1, 1)),
        z=outer.z + 0.2 * outer.b * float(rng.uniform(-1, 1)),
        a=0.45 * outer.a,
        b=0.45 * outer.b,
        angle=outer.angle,
        level=-14.0,
        capsule=3.0,
    )


def _place(
    rng: np.random.Generator, area: float, malignant: bool, geometry: Geometry, index: int, count: int
) -> tuple[float, float, float, float]:
    """Center and half axes, m; the area is pi a b as long as it fits into the picture."""
    ratio = rng.uniform(0.75, 1.6) if malignant else rng.uniform(1.1, 2.3)
    depth = geometry.depth
    b = float(min(np.sqrt(area / (np.pi * ratio)), 0.42 * depth))
    top = max(0.06 * depth + b, 0.17 * depth)
    z = float(rng.uniform(top, max(top, min(0.66 * depth, 0.92 * depth - b))))
    half = (geometry.radius + z) * np.sin(geometry.fan / 2) if geometry.radius else geometry.width / 2
    lane = 2 * half / count
    apart = 1.0 if count == 1 else 1.15  # neighbors keep a gap
    a = float(min(area / (np.pi * b), 0.48 / apart * lane))
    reach = max(lane / 2 - 0.97 * apart * a, 0.0)
    x = -half + lane * (index + 0.5) + float(rng.uniform(-reach, reach))
    return x, z, a, b


def _draw_level(rng: np.random.Generator, kind: float, malignant: bool) -> tuple[str, float]:
    """(kind, level dB): near-isoechoic, hypoechoic, hyperechoic (rare, benign), cyst (benign)."""
    if kind < NEAR_SHARE:
        return "near", float(rng.uniform(-NEAR, -1.8 if rng.random() < 0.85 else 2.0))
    if malignant or kind < 0.78:
        return "hypo", float(rng.uniform(-22.0, -8.0))
    if kind < 0.87:
        return "hyper", float(rng.uniform(4.0, 7.0))
    return "cyst", float(rng.uniform(-34.0, -19.0))


def _benign(rng: np.random.Generator, kind: str, a: float) -> dict[str, Any]:
    if kind == "cyst":
        return {
            "excess": float(rng.uniform(-0.5, -0.3)),
            "heterogeneity": 0.3,
            "capsule": float(rng.uniform(2.0, 7.0)),
            "edge": float(rng.uniform(0.1, 0.7)),
            "push": float(rng.uniform(0.2, 0.5)),
        }
    brightens = rng.random() < 0.55
    return {
        "excess": float(rng.uniform(-0.5, -0.2)) if brightens else float(rng.uniform(-0.1, 0.25)),
        "heterogeneity": float(rng.uniform(0.5, 2.2)),
        "density": float(rng.uniform(0.2, 0.5)) if rng.random() < 0.3 else 1.0,
        "capsule": float(rng.uniform(5.0, 10.0)) if kind == "near" else float(rng.uniform(2.0, 8.0)),
        "halo": float(rng.uniform(-5.0, -2.0)) if kind == "near" else float(rng.uniform(0.0, 2.0)),
        "edge": float(rng.uniform(0.0, 0.6)),
        "push": float(rng.uniform(0.15, 0.45)),
        "stone": 0.3 * a if rng.random() < 0.015 else 0.0,
    }


def _malignant(rng: np.random.Generator, kind: str, x: float, z: float, a: float, b: float) -> dict[str, Any]:
    shadows = rng.random() < 0.6
    spots = int(rng.integers(2, 10)) if rng.random() < 0.35 else 0
    spikes = int(rng.integers(3, 9)) if rng.random() < 0.6 else 0
    angle, radius = rng.uniform(0, 2 * np.pi, spots), np.sqrt(rng.random(spots)) * 0.7
    dots = [x + a * radius * np.cos(angle), z + b * radius * np.sin(angle), rng.uniform(1.2e-4, 2.2e-4, spots)]
    rays = [rng.uniform(-np.pi, np.pi, spikes), rng.uniform(0.15, 0.45, spikes), rng.uniform(-7.0, 4.0, spikes)]
    return {
        "excess": float(rng.uniform(0.2, 0.9)) if shadows else float(rng.uniform(-0.25, 0.15)),
        "heterogeneity": float(rng.uniform(1.0, 3.5)),
        "density": float(rng.uniform(0.15, 0.4)) if rng.random() < 0.4 else 1.0,
        "halo": float(rng.uniform(-5.0, -2.0)) if kind == "near" else float(rng.uniform(0.0, 5.0)),
        "push": float(rng.uniform(0.0, 0.15)),
        "calcifications": _rows(dots),
        "spicules": _rows(rays),
    }


def _rows(columns: list[np.ndarray]) -> Rows:
    return tuple((float(first), float(second), float(third)) for first, second, third in zip(*columns, strict=True))
