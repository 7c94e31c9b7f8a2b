"""The checks of one case, and of the list of cases: decoded pixels in, findings out."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label as connected_components

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.images import COLOR_SHARE, MIN_SIDE, Decoded
from pipelines.datasets.integrity import printable
from pipelines.datasets.labels import GRAY_RANGE

MAX_NAME = 120
AREA_RANGE = (0.0005, 0.9)
MAX_COMPONENTS, MIN_COMPONENT = 5, 20
GRAY_SHARE = 0.001
IMAGE_SHARE = 0.05  # of gray pixels: masks as JPEG have .033 at most; the lowest of 1771 real images has .237
HALF_DEEP = 32768


def shown_name(name: str) -> str:
    """A case's name as findings give it."""
    return printable(name)[:MAX_NAME]


def check_names(cases: Sequence[Case]) -> list[Finding]:
    """Case names must be safe as text and distinct on every file system (upper/lower case, Unicode forms)."""
    findings: list[Finding] = []
    seen: dict[str, str] = {}
    for case in cases:
        name, shown = case.case, shown_name(case.case)

        def add(expected: str, found: str, remedy: str = "rename the file", shown: str = shown) -> None:
            findings.append(Finding("name", shown, shown, expected, found, remedy))

        if printable(name) != name or "/" in name or "\\" in name or not name.strip(". "):
            add("a plain file name", f"control or path characters in {shown!r}")
        if len(name) > MAX_NAME:
            add(f"at most {MAX_NAME} characters", str(len(name)))
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            add("a name of its own on every file system", f"that of {seen[key]}", "rename one")
        seen.setdefault(key, shown)
    return findings


def check_counts(dataset: Dataset) -> list[Finding]:
    """Images per class: none at all is an error; a subset of the published numbers is only worth a warning."""
    found = Counter(case.class_name for case in dataset.cases)
    absent = [
        Finding("layout", "", "", f"at least 1 image of class {name}", "0", "add images or drop the class")
        for name in dataset.classes
        if not found[name]
    ]
    return absent + [
        Finding("count", "", "", f"{expected} images of class {name} as published", str(found[name]), "see what lacks")
        for name, expected in sorted(dataset.expected.items())
        if 0 < found[name] != expected
    ]


def check_image(case: Case, file: str, image: Decoded) -> list[Finding]:
    """One decoded image."""
    findings: list[Finding] = []
    gray = image.gray
    height, width = gray.shape
    middle = float(((gray > GRAY_RANGE[0]) & (gray < GRAY_RANGE[1])).mean())
    size = f"{width} x {height}"

    def add(check: str, expected: str, found: str, remedy: str) -> None:
        findings.append(Finding(check, case.case, file, expected, found, remedy))

    if min(height, width) < MIN_SIDE:
        add("small image", f"at least {MIN_SIDE} pixels per side", size, "remove the image")
    if gray.min() == gray.max():
        add("constant image", "an image that shows something", f"every pixel is {int(gray.min())}", "look at the file")
    elif middle < IMAGE_SHARE:
        expected = f"{100 * IMAGE_SHARE:g} % of pixels between {GRAY_RANGE[0]} and {GRAY_RANGE[1]}"
        add("swapped", expected, f"{100 * middle:.1f} %", "black and white alone: see if image and mask are swapped")
    if 0 < image.deep < HALF_DEEP:
        expected, remedy = f"16 bits that reach {HALF_DEEP}", "scale to the full range or save with 8 bits"
        add("dark image", expected, f"none above {image.deep}", remedy)
    if case.published_size not in (None, (width, height)):
        said = "{} x {}".format(*case.published_size or (0, 0))
        add("table", f"{said} as the owner's table says", size, "the file is taken")
    if image.color > COLOR_SHARE:
        add("color", "a gray image", f"{100 * image.color:.1f} % colored pixels", "see if it is Doppler or an overlay")
    return findings


def check_label(case: Case, file: str, label: np.ndarray, gray: float) -> list[Finding]:
    """One native label map (h, w) uint8; gray: share of gray pixels in the files that it was made from."""
    findings: list[Finding] = []

    def add(check: str, expected: str, found: str, remedy: str) -> None:
        findings.append(Finding(check, case.case, file, expected, found, remedy))

    foreground = label > 0
    if gray > GRAY_SHARE:
        found = f"{100 * gray:.1f} % gray pixels"
        add("mask values", "black and white", found, "above 127 is taken as lesion; look at the file")
    share = float(foreground.mean())
    if not case.lesion:
        if share > 0:
            expected = f"an empty mask, as class {case.class_name} is free of lesions"
            add("lesion in a normal case", expected, f"{100 * share:.2f} % lesion", "correct the class or the mask")
        return findings
    if share == 0:
        expected = f"a lesion, as class {case.class_name} has one"
        add("empty mask", expected, "an empty mask", "draw it; left out till then")
        return findings
    if share == 1:
        add("full mask", "background around the lesion", "lesion in every pixel", "correct the mask")
        return findings
    border = float(np.concatenate([foreground[0], foreground[-1], foreground[:, 0], foreground[:, -1]]).mean())
    if share > 0.5 and border > 0.8:
        add("inverted mask", "background at the border", f"{100 * border:.0f} % lesion", "invert the mask")
        return findings
    if not AREA_RANGE[0] <= share <= AREA_RANGE[1]:
        low, high = (100 * limit for limit in AREA_RANGE)
        add("area", f"a lesion of {low:g} to {high:g} % of the image", f"{100 * share:.3f} %", "look at the mask")
    components, count = connected_components(foreground)
    small = int((np.bincount(components.ravel())[1:] < MIN_COMPONENT).sum())
    if count > MAX_COMPONENTS:
        add("components", f"at most {MAX_COMPONENTS} separate regions", str(count), "look at the mask")
    elif small:
        add("components", f"regions of {MIN_COMPONENT} pixels", f"{small} of {count} below", "look at the mask")
    return findings


def check_working_size(case: Case, file: str, native: np.ndarray, label: np.ndarray) -> list[Finding]:
    """Classes of the native label map (h, w) that are gone at working size (size, size)."""
    highest = int(native.max())
    gone = [number for number in range(1, highest + 1) if (native == number).any() and not (label == number).any()]
    if not gone:
        return []
    size = f"{label.shape[1]} x {label.shape[0]}"
    found = ", ".join(f"{int((native == number).sum())} native pixels" for number in gone)
    remedy = "raise the working size"
    return [Finding("vanished lesion", case.case, file, f"a lesion that can be seen at {size}", found, remedy)]


def check_reduced(dataset: Dataset, longest: int) -> list[Finding]:
    """A set whose longest side (pixels) is below the published one's is a reduced copy."""
    if not dataset.reduced_below or not 0 < longest <= dataset.reduced_below:
        return []
    expected, found = f"a side above {dataset.reduced_below} pixels", f"none above {longest}"
    remedy = "a reduced copy: native-size scores are not those of the set"
    return [Finding("reduced copy", "", "", expected, found, remedy)]
