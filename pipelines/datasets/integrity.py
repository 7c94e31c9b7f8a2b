"""The integrity check: every fault of a dataset in one report, before anything is written."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.ndimage import label as connected_components

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.images import COLOR_SHARE, MIN_SIDE

MAX_NAME = 120
AREA_RANGE = (0.0005, 0.9)
MAX_COMPONENTS, MIN_COMPONENT = 5, 20
GRAY_RANGE, GRAY_SHARE = (20, 235), 0.001
ORDER = {"error": 0, "warning": 1, "flag": 2}


def check_names(cases: Sequence[Case]) -> list[Finding]:
    """Case names must be safe as text and distinct on every file system (upper/lower case, Unicode forms)."""
    findings: list[Finding] = []
    seen: dict[str, str] = {}
    for case in cases:
        name = case.case
        shown = "".join(char if char.isprintable() else "?" for char in name)[:MAX_NAME]
        if any(not char.isprintable() for char in name) or "/" in name or "\\" in name or not name.strip(". "):
            findings.append(Finding("error", "name", shown, f"{shown!r}: control or path characters; rename the file"))
        if len(name) > MAX_NAME:
            message = f"{shown}...: {len(name)} characters; expected at most {MAX_NAME}; rename the file"
            findings.append(Finding("error", "name", shown, message))
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            message = f"{shown}: the same name as {seen[key]} on some file systems; rename one"
            findings.append(Finding("error", "name", shown, message))
        seen.setdefault(key, shown)
    return findings


def check_counts(dataset: Dataset) -> list[Finding]:
    """Images per class: none at all is an error; a subset of the published numbers is only worth a warning."""
    found = Counter(case.class_name for case in dataset.cases)
    absent = [
        Finding("error", "count", "", f"class {name}: expected at least 1 image, found 0; add images or drop the class")
        for name in dataset.classes
        if not found[name]
    ]
    return absent + [
        Finding("warning", "count", "", f"class {name}: expected {expected} images as published, found {found[name]}")
        for name, expected in sorted(dataset.expected.items())
        if 0 < found[name] != expected
    ]


def check_image(case: Case, gray: np.ndarray, color: float) -> list[Finding]:
    """One decoded image (h, w) uint8; color: its share of colored pixels."""
    findings: list[Finding] = []
    height, width = gray.shape
    if min(height, width) < MIN_SIDE:
        message = f"{case.case}: {width} x {height} pixels; expected at least {MIN_SIDE} per side; remove the image"
        findings.append(Finding("error", "size", case.case, message))
    elif gray.min() == gray.max():
        message = f"{case.case}: every pixel is {int(gray.min())}; the image shows nothing"
        findings.append(Finding("warning", "constant image", case.case, message))
    elif float(((gray > 5) & (gray < 250)).mean()) < 0.005:
        message = f"{case.case}: the image is black and white; are image and mask swapped?"
        findings.append(Finding("error", "swapped", case.case, message))
    if case.published_size not in (None, (width, height)):
        said = "{} x {}".format(*case.published_size or (0, 0))
        message = f"{case.case}: the owner's table says {said}, the file is {width} x {height}; the file is taken"
        findings.append(Finding("warning", "table", case.case, message))
    if color > COLOR_SHARE:
        message = f"{case.case}: {100 * color:.1f} % colored pixels (Doppler or overlay)"
        findings.append(Finding("flag", "color", case.case, message))
    return findings


def check_mask(case: Case, raw: Sequence[np.ndarray], merged: np.ndarray) -> list[Finding]:
    """raw: the decoded mask files (h, w) uint8; merged: (h, w) bool, their union."""
    findings: list[Finding] = []

    def add(severity: str, check: str, message: str) -> None:
        findings.append(Finding(severity, check, case.case, f"{case.case}: {message}"))

    gray = max((float(((mask > GRAY_RANGE[0]) & (mask < GRAY_RANGE[1])).mean()) for mask in raw), default=0.0)
    if gray > GRAY_SHARE:
        add("warning", "mask values", f"{100 * gray:.1f} % of the mask is neither black nor white; above 127 is lesion")
    share = float(merged.mean())
    if not case.lesion:
        if share > 0:
            add("error", "mask", f"class {case.class_name} is free of lesions, found a mask of {100 * share:.2f} %")
        return findings
    if share == 0:
        add("warning", "empty mask", f"class {case.class_name} has a lesion, found an empty mask; the case is left out")
        return findings
    border = np.concatenate([merged[0], merged[-1], merged[:, 0], merged[:, -1]])
    if share > 0.5 and float(border.mean()) > 0.8:
        add("error", "inverted mask", f"{100 * float(border.mean()):.0f} % of the border is lesion; invert the mask")
        return findings
    if not AREA_RANGE[0] <= share <= AREA_RANGE[1]:
        low, high = (100 * limit for limit in AREA_RANGE)
        add("warning", "area", f"the lesion is {100 * share:.3f} % of the image; expected {low:g} to {high:g} %")
    components, count = connected_components(merged)
    small = int((np.bincount(components.ravel())[1:] < MIN_COMPONENT).sum())
    if count > MAX_COMPONENTS:
        add("warning", "components", f"{count} separate regions; expected at most {MAX_COMPONENTS}")
    elif small:
        add("warning", "components", f"{small} of {count} regions under {MIN_COMPONENT} pixels")
    return findings


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first; the same order on every file system."""
    return sorted(findings, key=lambda item: (ORDER[item.severity], item.check, item.case, item.message))


def table(findings: Sequence[Finding], limit: int = 12) -> str:
    """The findings as text: all errors, and of each warning or flag the count and the first few cases."""
    lines: list[str] = []
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in ordered(findings):
        groups.setdefault((finding.severity, finding.check), []).append(finding)
    for (severity, check), members in groups.items():
        lines.append(f"{severity:8}{check:20}{len(members):5}")
        shown = members if severity == "error" else members[:limit]
        lines += [f"            {finding.message}" for finding in shown]
        if len(members) > len(shown):
            lines.append(f"            ... and {len(members) - len(shown)} more, see integrity.json")
    return "\n".join(lines)


def as_report(dataset: Dataset, findings: Sequence[Finding], facts: dict[str, Any]) -> dict[str, Any]:
    """The content of integrity.json."""
    counts = Counter(finding.severity for finding in findings)
    return {
        "dataset": dataset.name,
        "errors": counts["error"],
        "warnings": counts["warning"],
        "flags": counts["flag"],
        "findings": [
            {"severity": item.severity, "check": item.check, "case": item.case, "message": item.message}
            for item in ordered(findings)
        ],
        **facts,
    }
