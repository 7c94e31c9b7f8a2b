"""Oddities of BUSI, planted on purpose and listed in phantom.json: the checks of `prepare` have something to find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipelines.datasets.phantom.plan import View

MINIMUM = 48  # images: below that a set has no room for oddities
# Kind and the classes of its images; of a pair the second becomes a copy of the first. Pairs choose first, since they
# ask for patients with one view: another view of the original would resemble the copy as well.
KINDS = (
    ("reframed", ("malignant", "malignant")),
    ("identical", ("malignant", "benign")),
    ("mirrored", ("benign", "benign")),
    ("two_masks", ("benign",)),
    ("three_masks", ("benign",)),
    ("nested", ("benign",)),
    ("rgba_mask", ("benign",)),
    ("color", ("benign",)),
    ("calipers", ("malignant",)),
)
PAIRS = ("reframed", "identical", "mirrored")
REFRAME = {"left": 0.03, "right": 0.02, "top": 0.0, "bottom": 0.04, "zoom": 0.9}  # shares cut off, then the new size
CHANGES: dict[str, dict[str, Any]] = {  # fields of the View
    "two_masks": {"lesions": 2},
    "three_masks": {"lesions": 3},
    "nested": {"nested": True},
}
PARAMETERS: dict[str, dict[str, Any]] = {**CHANGES, "reframed": REFRAME, "rgba_mask": {"mode": "RGBA"}}


@dataclass(frozen=True)
class Oddity:
    """kind; views: the images that show it, of a pair the original and then the copy."""

    kind: str
    views: tuple[View, ...]

    def facts(self) -> dict[str, Any]:
        cases = [view.case for view in self.views]
        return {"kind": self.kind, "cases": cases, "parameters": PARAMETERS.get(self.kind, {})}


def choose(views: Sequence[View]) -> tuple[list[Oddity], list[str]]:
    """Places for the oddities among the images of site A, each in a patient of its own, and the kinds without a place.

    They lie among the first 48 images where these have room, so that a longer plan plants the same ones. Patients with
    one view are preferred. None below 48 images, or without benign and malignant ones.
    """
    if len(views) < MINIMUM or {"benign", "malignant"} - {view.class_name for view in views}:
        return [], []
    counts = Counter(view.patient for view in views)
    first = {view.patient: place for place, view in reversed(list(enumerate(views)))}
    # A patient at the very end may have been cut: in a longer plan he has more views.
    hosts = [
        view
        for view in views
        if view.site == "A" and view.view == 0 and view.lesions == 1 and first[view.patient] <= len(views) - 3
    ]
    hosts.sort(key=lambda view: (first[view.patient] > MINIMUM - 3, counts[view.patient] > 1, first[view.patient]))
    found: list[Oddity] = []
    missing: list[str] = []
    for kind, classes in KINDS:
        chosen: list[View] = []
        for class_name in classes:
            fits = [view for view in hosts if view.class_name == class_name and view not in chosen]
            chosen += fits[:1]
        if len(chosen) < len(classes):
            missing.append(kind)
            continue
        hosts = [view for view in hosts if view not in chosen]
        found.append(Oddity(kind, tuple(chosen)))
    return found, missing


def reframe(image: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Another cut of the same picture at another size: image (h, w) uint8, masks (L, h, w) bool."""
    height, width = image.shape
    rows = slice(round(REFRAME["top"] * height), round((1 - REFRAME["bottom"]) * height))
    columns = slice(round(REFRAME["left"] * width), round((1 - REFRAME["right"]) * width))
    size = (
        round(REFRAME["zoom"] * (columns.stop - columns.start)),
        round(REFRAME["zoom"] * (rows.stop - rows.start)),
    )
    small = np.array(Image.fromarray(image[rows, columns]).resize(size, Image.Resampling.BILINEAR))
    cut = [np.array(Image.fromarray(mask[rows, columns]).resize(size, Image.Resampling.NEAREST)) for mask in masks]
    return small, np.array(cut, bool).reshape(-1, *small.shape)


def mirror(image: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(masks[:, :, ::-1])


def overlay_color(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A Doppler window over the middle: (h, w) uint8 gray to (h, w, 3) uint8 with red and blue vessels."""
    height, width = image.shape
    rows, columns = slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4)
    colored = np.repeat(image[..., None], 3, axis=2)
    window = colored[rows, columns]
    flow = gaussian_filter(rng.standard_normal(window.shape[:2]), 7.0)
    flow /= flow.std()
    for channel, vessel in ((0, flow > 1.3), (2, flow < -1.3)):
        window[vessel] //= 4
        window[vessel, channel] = 210
    for edge in (np.s_[0, :], np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
        window[edge] = (230, 200, 40)
    return colored
