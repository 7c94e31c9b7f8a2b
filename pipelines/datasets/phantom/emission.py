"""Phantom images as files in the BUSI layout, and as arrays. A pure function of (seed, patient, view)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.datasets.phantom.scanner import Scanner, draw_scanner, scan
from pipelines.datasets.phantom.tissue import draw_anatomy, move, render
from pipelines.runtime.artifacts import write_json
from pipelines.runtime.randomness import numpy_generator_for

FOLDER = "Dataset_BUSI_with_GT"
RATIO = {"benign": 437, "malignant": 210, "normal": 133}  # images of BUSI
VIEWS, VIEW_SHARES = (1, 2, 3), (0.5, 0.3, 0.2)
GRID = (320, 256)  # rows and columns of the anatomy
TWO_LESIONS = 1  # index of the first benign patient with two lesions, thus two mask files


@dataclass(frozen=True)
class View:
    """One image to make. lesions: how many the patient has; number: k in `benign (k).png`."""

    patient: int
    view: int
    class_name: str
    lesions: int
    number: int

    @property
    def case(self) -> str:
        return f"{self.class_name} ({self.number})"


@dataclass(frozen=True)
class PhantomImage:
    """image (h, w) uint8; masks (L, h, w) bool; the scanner that made it."""

    view: View
    image: np.ndarray
    masks: np.ndarray
    scanner: Scanner


def plan(seed: int, count: int, classes: tuple[str, ...]) -> list[View]:
    """`count` views in the class ratio of BUSI: each next patient is of the class that lags most behind its share.

    A longer plan begins with the shorter one (but for a last patient whose views were cut).
    """
    total = sum(RATIO[name] for name in classes)
    made = dict.fromkeys(classes, 0)
    patients = dict.fromkeys(classes, 0)
    views: list[View] = []
    patient = 0
    while len(views) < count:
        name = max(classes, key=lambda key: RATIO[key] / total * (len(views) + 1) - made[key])
        rng = numpy_generator_for(seed, "phantom/views", patient)
        two = name == "benign" and patients[name] % 24 == TWO_LESIONS
        lesions = 0 if name == "normal" else 2 if two else 1
        for view in range(min(int(rng.choice(VIEWS, p=VIEW_SHARES)), count - len(views))):
            made[name] += 1
            views.append(View(patient, view, name, lesions, made[name]))
        patients[name] += 1
        patient += 1
    return views


def make_image(seed: int, view: View) -> PhantomImage:
    """Draw the patient's anatomy, move the probe for later views, scan with new speckle."""
    rng = numpy_generator_for(seed, "phantom/anatomy", view.patient)
    anatomy = draw_anatomy(rng, view.class_name, view.lesions)
    scanner = draw_scanner(rng)
    width = int(rng.integers(256, 337))
    pixels = (round(width * anatomy.depth / anatomy.width), width)
    own = numpy_generator_for(seed, f"phantom/view/{view.patient}", view.view)
    if view.view:
        anatomy = move(anatomy, own)
    tissue = render(anatomy, *GRID)
    image, masks = scan(tissue, anatomy.width, anatomy.depth, scanner, pixels, own)
    return PhantomImage(view, image, masks, scanner)


def make_images(seed: int, count: int, classes: tuple[str, ...]) -> Iterator[PhantomImage]:
    """The images of `plan`, in its order.

    Threads share the work: each image has random streams of its own, so the bytes do not depend on their number.
    """
    views = plan(seed, count, classes)
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(views), 32):  # in portions, so that few images wait in memory
            yield from pool.map(lambda view: make_image(seed, view), views[start : start + 32])


def emit(folder: Path, seed: int, count: int, classes: tuple[str, ...]) -> None:
    """Write `count` images in the BUSI layout, and phantom.json: per case patient, view, class, physics."""
    facts = []
    for name in classes:
        (folder / FOLDER / name).mkdir(parents=True)
    for made in make_images(seed, count, classes):
        view = made.view
        place = folder / FOLDER / view.class_name
        Image.fromarray(np.repeat(made.image[..., None], 3, axis=2)).save(place / f"{view.case}.png", compress_level=1)
        if view.class_name == "normal":
            empty = np.zeros((*made.image.shape, 3), np.uint8)
            Image.fromarray(empty).save(place / f"{view.case}_mask.png")
        for index, mask in enumerate(made.masks):
            suffix = f"_{index}" if index else ""
            Image.fromarray(mask).save(place / f"{view.case}_mask{suffix}.png")
        facts.append(
            {
                "case": view.case,
                "class": view.class_name,
                "patient": f"patient-{view.patient:04d}",
                "view": view.view,
                "site": "A",
                "lesions": len(made.masks),
                "scanner": made.scanner.facts(),
            }
        )
    write_json(folder / "phantom.json", {"phantom": True, "seed": seed, "count": count, "images": facts})
