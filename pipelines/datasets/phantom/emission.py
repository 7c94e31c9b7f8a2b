"""Phantom images as files in the BUSI layout, and as arrays. A pure function of (seed, patient, view)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.datasets.phantom.image import PhantomImage, make_image
from pipelines.datasets.phantom.plan import View, plan
from pipelines.datasets.phantom.planted import CHANGES, PAIRS, Oddity, choose, mirror, overlay_color, reframe
from pipelines.runtime.artifacts import write_json
from pipelines.runtime.randomness import numpy_generator_for

FOLDER = "Dataset_BUSI_with_GT"
PORTION = 32  # images that wait in memory


@dataclass(frozen=True)
class Emitted:
    """One case as it is written. pixels: (h, w, 3) uint8; mode: of the mask files; kind: of the oddity, "" for none."""

    made: PhantomImage
    pixels: np.ndarray
    mode: str = "1"
    kind: str = ""


def make_images(seed: int, count: int, classes: tuple[str, ...], site_b: float = 0.0) -> Iterator[PhantomImage]:
    """The images of `plan`, in its order, without oddities."""
    yield from _in_threads(lambda view: make_image(seed, view), plan(seed, count, classes, site_b))


def emit(
    folder: Path, seed: int, count: int, classes: tuple[str, ...], site_b: float = 0.0, plant: bool = False
) -> None:
    """Write `count` images in the BUSI layout, and phantom.json: per case patient, site, class, physics, nuisances.

    plant: replace a few images by the oddities of `planted.KINDS`, which phantom.json lists.
    """
    views = plan(seed, count, classes, site_b)
    oddities, missing = choose(views) if plant else ([], [])
    # of a pair only the copy is changed
    roles = {oddity.views[-1].case: oddity for oddity in oddities}
    for name in classes:
        (folder / FOLDER / name).mkdir(parents=True)
    facts = []
    for emitted in _in_threads(lambda view: compose(seed, view, roles.get(view.case)), views):
        _write(folder / FOLDER / emitted.made.view.class_name, emitted)
        facts.append(_facts(emitted, roles.get(emitted.made.view.case)))
    write_json(
        folder / "phantom.json",
        {
            "phantom": True,
            "seed": seed,
            "count": count,
            "images": facts,
            "planted": [oddity.facts() for oddity in oddities],
            "not_planted": missing,
        },
    )


def compose(seed: int, view: View, oddity: Oddity | None) -> Emitted:
    """The image of a view, or what an oddity puts in its place."""
    kind = oddity.kind if oddity else ""
    if oddity and kind in PAIRS:
        source = make_image(seed, oddity.views[0])
        image, masks = source.image, source.masks
        if kind == "reframed":
            image, masks = reframe(image, masks)
        elif kind == "mirrored":
            image, masks = mirror(image, masks)
        made = replace(source, view=view, image=image, masks=masks)
    elif kind == "calipers":
        made = make_image(seed, view, ("calipers",))
    else:
        made = make_image(seed, replace(view, **CHANGES.get(kind, {})))
    pixels = np.repeat(made.image[..., None], 3, axis=2)
    if kind == "color":
        pixels = overlay_color(made.image, numpy_generator_for(seed, "phantom/color", view.patient))
    return Emitted(made, pixels, "RGBA" if kind == "rgba_mask" else "1", kind)


def _in_threads(make: Callable[[View], Any], views: Sequence[View]) -> Iterator[Any]:
    """Threads share the work: each image has random streams of its own, so the bytes do not depend on their number."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(views), PORTION):
            yield from pool.map(make, views[start : start + PORTION])


def _write(place: Path, emitted: Emitted) -> None:
    view = emitted.made.view
    Image.fromarray(emitted.pixels).save(place / f"{view.case}.png", compress_level=1)
    if view.class_name == "normal":
        Image.fromarray(np.zeros_like(emitted.pixels)).save(place / f"{view.case}_mask.png")
    for index, mask in enumerate(emitted.made.masks):
        suffix = f"_{index}" if index else ""
        Image.fromarray(mask).convert(emitted.mode).save(place / f"{view.case}_mask{suffix}.png")


def _facts(emitted: Emitted, oddity: Oddity | None) -> dict[str, Any]:
    made, view = emitted.made, emitted.made.view
    return {
        "case": view.case,
        "class": view.class_name,
        "patient": f"patient-{view.patient:04d}",
        "view": view.view,
        "site": view.site,
        "lesions": [
            {"level_db": round(one.level, 3), "attenuation_excess": round(one.excess, 3)} for one in made.lesions
        ],
        "masks": len(made.masks),
        "mm_per_pixel": round(made.millimeters, 5),
        "nuisances": list(made.nuisances),
        "planted": emitted.kind,
        "copy_of": oddity.views[0].case if oddity and oddity.kind in PAIRS else "",
        "scanner": made.scanner.facts(),
    }
