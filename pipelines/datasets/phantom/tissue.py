"""An anatomy evaluated on the beams of its probe: the maps that the scanner insonifies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.datasets.phantom.anatomy import Anatomy
from pipelines.datasets.phantom.fields import sample
from pipelines.datasets.phantom.geometry import beam_grid, beam_pitch
from pipelines.datasets.phantom.layers import background
from pipelines.datasets.phantom.lesion import Maps, insert

BACKGROUND_ATTENUATION = 0.55  # dB/(cm MHz)


@dataclass(frozen=True)
class Tissue:
    """On (rows, columns) of the beams: echogenicity, dB; attenuation, dB/(cm MHz); density, the share of cells that
    hold a scatterer; masks (L, rows, columns) bool.
    """

    echogenicity: np.ndarray
    attenuation: np.ndarray
    density: np.ndarray
    masks: np.ndarray


def render(anatomy: Anatomy, rows: int, columns: int) -> Tissue:
    """Evaluate the anatomy on `columns` beams of `rows` samples each; row 0 touches the probe."""
    x, z = beam_grid(anatomy.geometry, rows, columns)
    x, z = x + anatomy.x, z / anatomy.press
    pitch_z = anatomy.geometry.depth / rows
    pitch_x = beam_pitch(anatomy.geometry, rows, columns)[:, None]
    fields = anatomy.layers.fields
    bent_x, bent_z = x, z
    for lesion in anatomy.lesions:
        bent_x, bent_z = lesion.displace(bent_x, bent_z)
    echogenicity, excess, density = background(anatomy.layers, bent_x, bent_z, pitch_z, pitch_x)
    # two independent noises of each kind: the second is read from another place of the same field
    slow, quick = (
        np.stack([sample(fields[name], x + dx, z + dz) for dx, dz in ((0.0, 0.0), (0.031, 0.017))])
        for name in ("coarse", "middle")
    )
    attenuation = excess + np.float32(BACKGROUND_ATTENUATION)
    maps = Maps(x, z, pitch_x, pitch_z, slow, quick, echogenicity, attenuation, density)
    masks = [insert(lesion, maps) for lesion in anatomy.lesions]
    np.maximum(maps.attenuation, 0.0, out=maps.attenuation)
    return Tissue(maps.echogenicity, maps.attenuation, maps.density, np.array(masks, bool).reshape(-1, rows, columns))
