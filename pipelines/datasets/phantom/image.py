"""One phantom image from beginning to end: geometry, scanner and anatomy are drawn, scanned, and drawn over."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipelines.datasets.phantom.anatomy import Anatomy, draw_anatomy, move
from pipelines.datasets.phantom.geometry import Geometry, convex, linear
from pipelines.datasets.phantom.lesion import Lesion
from pipelines.datasets.phantom.nuisance import annotate, draw_kinds
from pipelines.datasets.phantom.plan import View
from pipelines.datasets.phantom.scanner import Scanner, draw_scanner, scan
from pipelines.datasets.phantom.tissue import render
from pipelines.runtime.randomness import numpy_generator_for

GRID = (320, 256)  # samples and beams on which the anatomy is evaluated


@dataclass(frozen=True)
class PhantomImage:
    """image (h, w) uint8; masks (L, h, w) bool; millimeters: per pixel, both ways; what made it."""

    view: View
    image: np.ndarray
    masks: np.ndarray
    scanner: Scanner
    lesions: tuple[Lesion, ...]
    millimeters: float
    nuisances: tuple[str, ...] = ()


def draw_geometry(rng: np.random.Generator, site: str) -> tuple[Geometry, int]:
    """Field of view, and width in pixels. Site A: linear, aspect .8 to 1.6. Site B: a small convex probe, a fan of 60
    to 70 degrees.
    """
    if site == "A":
        width = float(rng.uniform(0.036, 0.046))
        return linear(width / float(rng.uniform(0.8, 1.6)), width), int(rng.integers(256, 337))
    fan = float(np.deg2rad(rng.uniform(60.0, 70.0)))
    depth = float(rng.uniform(0.045, 0.064))
    return convex(depth, depth * float(rng.uniform(0.2, 0.48)), fan), int(rng.integers(300, 381))


def draw_scene(seed: int, view: View) -> tuple[Anatomy, Scanner, tuple[int, int], np.random.Generator]:
    """What a view shows: the patient's anatomy under the probe, the scanner, (h, w) of the image, and the generator for
    its speckle.
    """
    rng = numpy_generator_for(seed, "phantom/anatomy", view.patient)
    geometry, width = draw_geometry(rng, view.site)
    scanner = draw_scanner(rng, view.site)
    anatomy = draw_anatomy(
        rng, view.class_name, geometry, view.lesions, view.nested, quantiles=(view.size, view.contrast)
    )
    own = numpy_generator_for(seed, f"phantom/view/{view.patient}", view.view)
    if view.view:
        anatomy = move(anatomy, own)
    return anatomy, scanner, (round(width * geometry.height / geometry.width), width), own


def scan_image(seed: int, view: View) -> PhantomImage:
    """Draw the patient's anatomy, move the probe for later views, scan with new speckle. Nothing is drawn over it."""
    anatomy, scanner, pixels, rng = draw_scene(seed, view)
    image, masks = scan(render(anatomy, *GRID), anatomy.geometry, scanner, pixels, rng)
    return PhantomImage(view, image, masks, scanner, anatomy.lesions, anatomy.geometry.width / pixels[1] * 1000.0)


def make_image(seed: int, view: View, nuisances: tuple[str, ...] | None = None) -> PhantomImage:
    """`scan_image`, with the nuisances that are asked for, or by chance (None)."""
    made = scan_image(seed, view)
    rng = numpy_generator_for(seed, f"phantom/nuisance/{view.patient}", view.view)
    kinds = draw_kinds(rng, len(made.masks) > 0) if nuisances is None else nuisances
    image, masks = annotate(made.image, made.masks, kinds, rng)
    return replace(made, image=image, masks=masks, nuisances=kinds)
