"""From the masks, label map or outlines of a case to one label map at native size, with what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipelines.datasets.case import Case, Finding
from pipelines.datasets.images import ImageFault, read_pixels, to_gray, to_values

THRESHOLD = 127  # above it a mask's gray value is foreground: right for 0 / 255, JPEG and resampled masks alike
GRAY_RANGE = (20, 235)
MAX_COORDINATE = 1e6  # of an outline, in pixels; beyond it a number is a fault, not a place
LOSSY = (".jpg", ".jpeg")
# How masks as JPEG are read: here, and by two published loaders of TN3K (docs/datasets.md). They differ at the rim.
RULES = ("above 127", "at least 150", "equal to the maximum")


@dataclass(frozen=True)
class Labeled:
    """label: (h, w) uint8, 0 = background; gray: largest share of gray pixels (20 to 235) in a black and white mask.

    rules: foreground pixels in the lossy mask files by each of `RULES`, () where there is no such file.
    """

    label: np.ndarray
    gray: float
    rules: tuple[int, ...] = ()


def read_labels(
    case: Case, size: tuple[int, int] | None, foreground: int, name: Callable[[Path], str]
) -> tuple[Labeled | None, list[Finding]]:
    """Decode and merge what a case has; None where a fault leaves no label.

    size: (height, width) of the image, None where it did not decode: then the files are only read for their own faults.
    foreground: number K of foreground classes. name: of a file, for messages. Masks of one class are merged with OR; of
    overlapping ones of different classes the higher class wins.
    """
    findings: list[Finding] = []
    numbers = case.mask_classes or (1,) * len(case.masks)
    if len(numbers) != len(case.masks) or any(not 1 <= number <= foreground for number in numbers):
        raise ValueError(f"{case.case}: mask classes {case.mask_classes}; the adapter gives 1 to {foreground} per file")
    layers: list[np.ndarray] = []
    gray, rules = 0.0, np.zeros((0, len(RULES)), np.int64)
    for path, number in zip(case.masks, numbers, strict=True):
        try:
            if case.label_map:
                values = read_pixels(path, to_values)
                check_values(path, values, foreground)
            else:
                values = read_pixels(path, to_gray).gray
                gray = max(gray, float(((values > GRAY_RANGE[0]) & (values < GRAY_RANGE[1])).mean()))
                check_white(case, path, values)
                if path.suffix.lower() in LOSSY:
                    rules = np.vstack([rules, areas_by_rule(values)])
        except ImageFault as fault:
            findings.append(Finding(fault.check, case.case, name(path), fault.expected, fault.found, fault.remedy))
            continue
        layer = values.astype(np.uint8) if case.label_map else (values > THRESHOLD) * np.uint8(number)
        if size is not None and layer.shape != size:
            findings.append(size_finding(case, name(path), layer.shape, size))
            if not case.resize_mask:
                continue
            layer = np.array(Image.fromarray(layer).resize(size[::-1], Image.Resampling.NEAREST))
        layers.append(layer)
    if len(layers) < len(case.masks) or size is None:
        return None, findings
    label = np.zeros(size, np.uint8)
    contested = np.zeros(size, bool)
    for layer in layers:
        contested |= (label > 0) & (layer > 0) & (label != layer)
        label = np.maximum(label, layer)
    if contested.any():
        expected, found = "classes that do not overlap", f"{int(contested.sum())} pixels of several"
        findings.append(Finding("overlap", case.case, name(case.masks[0]), expected, found, "the higher class wins"))
    if case.polygons:
        outlines, more = fill(case, size, name(case.image))
        findings += more
        if outlines is None:
            return None, findings
        label = np.maximum(label, outlines)
    return Labeled(label, gray, tuple(rules.sum(0).tolist()) if len(rules) else ()), findings


def areas_by_rule(values: np.ndarray) -> tuple[int, ...]:
    """Foreground pixels of a mask's gray values (h, w) uint8 by each of `RULES`; a black mask has none by any."""
    top = int(values.max())
    return tuple(int(found.sum()) for found in (values > THRESHOLD, values >= 150, (values == top) & (top > 0)))


def check_values(path: Path, values: np.ndarray, foreground: int) -> None:
    """ImageFault for a label map that holds more than 0 ... K, or whose format does not keep values."""
    if path.suffix.lower() in LOSSY:
        raise ImageFault("value range", path.name, "a lossless label map", "a JPEG", "export it as PNG")
    strange = np.unique(values[(values < 0) | (values > foreground)])
    if len(strange):
        found = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
        remedy = "correct the file, or name each class in `foreground`"
        if _few_bits(path):
            remedy = "a gray PNG of less than 8 bits is read scaled: save with 8 bits"
        elif np.isin(values, (0, 255)).all():
            remedy = "set `masks: binary`, or write the labels themselves"
        raise ImageFault("value range", path.name, f"labels 0 to {foreground}", f"also {found}", remedy)


def _few_bits(path: Path) -> bool:
    """Whether a PNG's header says gray with 2 or 4 bits, which Pillow scales to 0 ... 255."""
    with path.open("rb") as file:
        header = file.read(26)
    return header.startswith(b"\x89PNG") and header[24] in (2, 4) and header[25] == 0


def check_white(case: Case, path: Path, values: np.ndarray) -> None:
    """ImageFault for a lesion's mask that is drawn, but nowhere above the threshold: read by the rule it were empty."""
    top = int(values.max())
    if case.lesion and 0 < top <= THRESHOLD:
        remedy = "write the lesion as 255"
        raise ImageFault("value range", path.name, "0 and 255", f"nothing above {top}", remedy)


def size_finding(case: Case, file: str, found: tuple[int, ...], size: tuple[int, int]) -> Finding:
    """A mask of another size than its image: a fault, or, where the owner publishes such, a note."""
    expected, shape = f"{size[1]} x {size[0]} like its image", f"{found[1]} x {found[0]}"
    if case.resize_mask:
        return Finding("resized mask", case.case, file, expected, shape, "brought to the image by nearest neighbor")
    return Finding("mask size", case.case, file, expected, shape, "mend or remove the pair")


def fill(case: Case, size: tuple[int, int], file: str) -> tuple[np.ndarray | None, list[Finding]]:
    """Outlines to an (h, w) uint8 map of class 1, merged with OR; what lies outside the image is cut off and named."""
    height, width = size
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    outside = 0
    for points in case.polygons:
        sound = all(math.isfinite(value) and abs(value) < MAX_COORDINATE for point in points for value in point)
        if len(points) < 3 or not sound:
            expected, found = "an outline of 3 points or more, in pixels", f"{len(points)} points"
            found += "" if sound else ", one of them no place"
            return None, [Finding("value range", case.case, file, expected, found, "correct the outline")]
        outside += sum(not (0 <= x <= width and 0 <= y <= height) for x, y in points)
        draw.polygon(list(points), fill=1, outline=1)
    filled = np.array(canvas)
    if not outside:
        return filled, []
    expected, found = f"outlines inside {width} x {height}", f"{outside} points outside"
    return filled, [Finding("clipped outline", case.case, file, expected, found, "cut at the border; correct it")]
