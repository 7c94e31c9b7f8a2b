"""One patient: layers and lesions in world coordinates, so that another view shows the same tissue."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipelines.datasets.phantom.geometry import Geometry
from pipelines.datasets.phantom.layers import Layers, draw_layers, drift
from pipelines.datasets.phantom.lesion import Lesion
from pipelines.datasets.phantom.population import draw_lesion, nested_in

SHIFT = 3e-3  # m: how far the probe moves between the views of a patient
SLICE = 0.12  # share of the tissue's variance that is new in a neighboring slice


@dataclass(frozen=True)
class Anatomy:
    """geometry: of the probe; x: where its middle stands, m; press: factor on depths, below 1 is pressed flat."""

    geometry: Geometry
    layers: Layers
    lesions: tuple[Lesion, ...]
    x: float = 0.0
    press: float = 1.0


def draw_anatomy(
    rng: np.random.Generator,
    class_name: str,
    geometry: Geometry,
    lesions: int = 1,
    nested: bool = False,
    *,
    quantiles: tuple[float, float],
) -> Anatomy:
    """Draw one patient of a class (benign, malignant, normal: no lesions) with that many lesions side by side.

    nested: one more, inside the first. quantiles: of size and contrast of the first, 0..1; further ones are drawn.
    """
    layers = draw_layers(rng, geometry.depth, geometry.width)
    number = 0 if class_name == "normal" else lesions
    ranks = [quantiles, *((float(rng.random()), float(rng.random())) for _ in range(1, number))]
    found = [draw_lesion(rng, class_name, geometry, *ranks[index], index, number) for index in range(number)]
    if nested:
        found.insert(1, nested_in(found[0], rng))
    return Anatomy(geometry, layers, tuple(found))


def move(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """Another view of the patient: the probe shifted and pressed a little, another slice through the lesion."""
    shift, grow, turn = rng.uniform(-SHIFT, SHIFT), rng.uniform(0.88, 1.06), rng.normal(0.0, 0.06)
    lesions = tuple(
        replace(one, a=one.a * grow, b=one.b * grow * rng.uniform(0.95, 1.05), angle=one.angle + turn)
        for one in anatomy.lesions
    )
    return replace(
        anatomy,
        layers=drift(anatomy.layers, rng, SLICE),
        lesions=lesions,
        x=anatomy.x + float(shift),
        press=float(rng.uniform(0.96, 1.04)),
    )
