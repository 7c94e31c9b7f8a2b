"""How beams cover the tissue: a linear probe looks straight down, a convex one fans out. Scan conversion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates


@dataclass(frozen=True)
class Geometry:
    """depth: along the beams, m; width: of the picture, m; radius: of a convex probe's face, m, 0 for a linear one;
    fan: full angle between the outer beams, rad.
    """

    depth: float
    width: float
    radius: float = 0.0
    fan: float = 0.0

    @property
    def height(self) -> float:
        """Of the picture, m: a fan also shows the corners beside the probe's face."""
        return self.depth + self.radius * (1.0 - np.cos(self.fan / 2)) if self.radius else self.depth

    @property
    def area(self) -> float:
        """Of the picture, m^2."""
        return self.width * self.height


def linear(depth: float, width: float) -> Geometry:
    return Geometry(depth, width)


def convex(depth: float, radius: float, fan: float) -> Geometry:
    return Geometry(depth, 2 * (radius + depth) * np.sin(fan / 2), radius, fan)


def beam_grid(geometry: Geometry, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Tissue positions (x, z) in m of `rows` samples on `columns` beams, each (rows, columns); x = 0 is the middle.

    Below a convex probe the skin follows the probe's face and deep layers lie flat: z goes from the distance to the
    face over to the depth below its middle.
    """
    down = ((np.arange(rows) + 0.5) / rows * geometry.depth)[:, None]
    across = (np.arange(columns) + 0.5)[None, :] / columns - 0.5
    if not geometry.radius:
        return np.broadcast_to(across * geometry.width, (rows, columns)), np.broadcast_to(down, (rows, columns))
    angle = across * geometry.fan
    x, straight = (geometry.radius + down) * np.sin(angle), (geometry.radius + down) * np.cos(angle) - geometry.radius
    near = np.exp(-down / (0.35 * geometry.depth))
    return x, down * near + straight * (1.0 - near)


def beam_pitch(geometry: Geometry, rows: int, columns: int) -> np.ndarray:
    """Distance between neighboring beams at each sample, (rows,) m."""
    if not geometry.radius:
        return np.full(rows, geometry.width / columns)
    return (geometry.radius + (np.arange(rows) + 0.5) / rows * geometry.depth) * geometry.fan / columns


def convert(samples: np.ndarray, geometry: Geometry, pixels: tuple[int, int], order: int) -> np.ndarray:
    """Samples (rows, columns) on the beams to a picture of `pixels` = (h, w).

    order 1: float32, bilinear, for images; order 0: the nearest sample, for masks. Outside a fan it is 0. The
    convex case is the inverse polar mapping: each pixel looks up its distance and angle from the fan's apex.
    """
    if not geometry.radius:
        resample = Image.Resampling.BILINEAR if order else Image.Resampling.NEAREST
        return np.array(Image.fromarray(samples).resize((pixels[1], pixels[0]), resample))
    rows, columns = samples.shape
    apex = geometry.radius * np.cos(geometry.fan / 2)
    x = ((np.arange(pixels[1]) + 0.5) / pixels[1] - 0.5)[None, :] * geometry.width
    z = ((np.arange(pixels[0]) + 0.5) / pixels[0])[:, None] * geometry.height + apex
    row = (np.hypot(x, z) - geometry.radius) / geometry.depth * rows - 0.5
    column = (np.arctan2(x, z) / geometry.fan + 0.5) * columns - 0.5
    inside = (row > -0.5) & (row < rows - 0.5) & (column > -0.5) & (column < columns - 0.5)
    found = map_coordinates(samples.astype(np.float32), [row, column], order=order, mode="nearest", prefilter=False)
    return np.where(inside, found, 0).astype(samples.dtype)
