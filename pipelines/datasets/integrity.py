"""The integrity check: every fault of a dataset in one report, before anything is written."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.ndimage import label as connected_components

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.images import COLOR_SHARE, MIN_SIDE
from pipelines.runtime.errors import DataError

MAX_NAME = 120
AREA_RANGE = (0.0005, 0.9)
MAX_COMPONENTS, MIN_COMPONENT = 5, 20
GRAY_RANGE, GRAY_SHARE = (20, 235), 0.001
ORDER = {"error": 0, "exclude": 1, "warning": 2, "flag": 3}


@dataclass(frozen=True)
class Check:
    """severity: by default. unusable: such a case cannot become a row of the arrays, so it can only be left out."""

    severity: str
    unusable: bool = False


CHECKS = {
    "unreadable": Check("error", unusable=True),
    "link": Check("error", unusable=True),
    "name": Check("error"),
    "dimensions": Check("error", unusable=True),
    "small image": Check("error"),
    "missing mask": Check("error", unusable=True),
    "mask without image": Check("error"),
    "ambiguous mask": Check("error", unusable=True),
    "mask size": Check("error", unusable=True),
    "value range": Check("error", unusable=True),
    "swapped": Check("error"),
    "constant image": Check("warning"),
    "empty mask": Check("exclude", unusable=True),
    "full mask": Check("error"),
    "inverted mask": Check("error"),
    "lesion in a normal case": Check("error"),
    "different masks": Check("warning"),
    "class conflict": Check("warning"),
    "duplicates": Check("warning"),
    "duplicate chain": Check("warning"),
    "mask values": Check("warning"),
    "overlap": Check("warning"),
    "area": Check("warning"),
    "components": Check("warning"),
    "vanished lesion": Check("warning"),
    "count": Check("warning"),
    "order": Check("error"),
    "table": Check("warning"),
    "unread": Check("warning"),
    "layout": Check("error"),
    "color": Check("flag"),
    "reduced copy": Check("flag"),
}


def policy_of(overrides: Mapping[str, str], *, strict: bool) -> dict[str, str]:
    """Severity per check: the defaults of CHECKS, changed by `prepare.policy`, warnings raised to errors by `strict`.

    DataError where a case that cannot be used is to be kept.
    """
    policy = {name: check.severity for name, check in CHECKS.items()} | dict(overrides)
    for name, severity in overrides.items():
        if CHECKS[name].unusable and severity not in ("error", "exclude"):
            raise DataError(
                f"prepare.policy: {name}: expected error or exclude, as such a case cannot be used, found {severity}"
            )
    return {name: "error" if strict and severity == "warning" else severity for name, severity in policy.items()}


def check_names(cases: Sequence[Case]) -> list[Finding]:
    """Case names must be safe as text and distinct on every file system (upper/lower case, Unicode forms)."""
    findings: list[Finding] = []
    seen: dict[str, str] = {}
    for case in cases:
        name = case.case
        shown = "".join(char if char.isprintable() else "?" for char in name)[:MAX_NAME]

        def add(expected: str, found: str, remedy: str = "rename the file", shown: str = shown) -> None:
            findings.append(Finding("name", shown, shown, expected, found, remedy))

        if any(not char.isprintable() for char in name) or "/" in name or "\\" in name or not name.strip(". "):
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
        Finding(
            "count", "", "", f"{expected} images of class {name} as published", str(found[name]), "see if some lack"
        )
        for name, expected in sorted(dataset.expected.items())
        if 0 < found[name] != expected
    ]


def check_image(case: Case, gray: np.ndarray, color: float) -> list[Finding]:
    """One decoded image (h, w) uint8; color: its share of colored pixels."""
    findings: list[Finding] = []
    height, width = gray.shape
    size = f"{width} x {height}"

    def add(check: str, expected: str, found: str, remedy: str) -> None:
        findings.append(Finding(check, case.case, case.image.name, expected, found, remedy))

    if min(height, width) < MIN_SIDE:
        add("small image", f"at least {MIN_SIDE} pixels per side", size, "remove the image")
    elif gray.min() == gray.max():
        add("constant image", "an image that shows something", f"every pixel is {int(gray.min())}", "look at the file")
    elif float(((gray > 5) & (gray < 250)).mean()) < 0.005:
        add("swapped", "gray levels", "black and white alone", "see if image and mask are swapped")
    if case.published_size not in (None, (width, height)):
        said = "{} x {}".format(*case.published_size or (0, 0))
        add("table", f"{said} as the owner's table says", size, "the file is taken")
    if color > COLOR_SHARE:
        add("color", "a gray image", f"{100 * color:.1f} % colored pixels", "see if it is Doppler or an overlay")
    return findings


def check_mask(case: Case, raw: Sequence[np.ndarray], merged: np.ndarray) -> list[Finding]:
    """raw: the decoded mask files (h, w) uint8; merged: (h, w) bool, their union."""
    findings: list[Finding] = []
    file = case.masks[0].name if case.masks else case.image.name

    def add(check: str, expected: str, found: str, remedy: str) -> None:
        findings.append(Finding(check, case.case, file, expected, found, remedy))

    gray = max((float(((mask > GRAY_RANGE[0]) & (mask < GRAY_RANGE[1])).mean()) for mask in raw), default=0.0)
    if gray > GRAY_SHARE and not case.label_map:
        found = f"{100 * gray:.1f} % gray pixels"
        add("mask values", "black and white", found, "above 127 is taken as lesion; look at the file")
    share = float(merged.mean())
    if not case.lesion:
        if share > 0:
            expected = f"an empty mask, as class {case.class_name} is free of lesions"
            add("lesion in a normal case", expected, f"{100 * share:.2f} % lesion", "correct the class or the mask")
        return findings
    if share == 0:
        add(
            "empty mask",
            f"a lesion, as class {case.class_name} has one",
            "an empty mask",
            "draw it; left out till then",
        )
        return findings
    if share == 1:
        add("full mask", "background around the lesion", "lesion in every pixel", "correct the mask")
        return findings
    border = np.concatenate([merged[0], merged[-1], merged[:, 0], merged[:, -1]])
    if share > 0.5 and float(border.mean()) > 0.8:
        add(
            "inverted mask", "background at the border", f"{100 * float(border.mean()):.0f} % lesion", "invert the mask"
        )
        return findings
    if not AREA_RANGE[0] <= share <= AREA_RANGE[1]:
        low, high = (100 * limit for limit in AREA_RANGE)
        add("area", f"a lesion of {low:g} to {high:g} % of the image", f"{100 * share:.3f} %", "look at the mask")
    components, count = connected_components(merged)
    small = int((np.bincount(components.ravel())[1:] < MIN_COMPONENT).sum())
    if count > MAX_COMPONENTS:
        add("components", f"at most {MAX_COMPONENTS} separate regions", str(count), "look at the mask")
    elif small:
        add("components", f"regions of {MIN_COMPONENT} pixels", f"{small} of {count} below", "look at the mask")
    return findings


def ordered(findings: Sequence[Finding], policy: Mapping[str, str]) -> list[Finding]:
    """Errors first; the same order on every file system."""
    return sorted(findings, key=lambda item: (ORDER[policy[item.check]], item.check, item.case, item.file, item.found))


def table(findings: Sequence[Finding], policy: Mapping[str, str], limit: int = 12) -> str:
    """The findings as text: all errors, and of each other check the count and the first few cases."""
    lines: list[str] = []
    groups: dict[str, list[Finding]] = {}
    for finding in ordered(findings, policy):
        groups.setdefault(finding.check, []).append(finding)
    for check, members in groups.items():
        lines.append(f"{policy[check]:8}{check:20}{len(members):5}")
        shown = members if policy[check] == "error" else members[:limit]
        lines += [f"            {finding.message}" for finding in shown]
        if len(members) > len(shown):
            lines.append(f"            ... and {len(members) - len(shown)} more, see integrity.json")
    return "\n".join(lines)


def as_report(
    dataset: Dataset, findings: Sequence[Finding], policy: Mapping[str, str], facts: dict[str, Any]
) -> dict[str, Any]:
    """The content of integrity.json."""
    counts = Counter(policy[finding.check] for finding in findings)
    return {
        "dataset": dataset.name,
        "errors": counts["error"],
        "excluded": counts["exclude"],
        "warnings": counts["warning"],
        "flags": counts["flag"],
        "findings": [{"severity": policy[item.check], **asdict(item)} for item in ordered(findings, policy)],
        **facts,
    }
