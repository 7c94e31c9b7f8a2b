"""DDTI's XML files: outlines of nodules as JSON, read without entities, network or trust in their size.

`<case><number>1</number>...<mark><image>1</image><svg>[{"points": [{"x": 250, "y": 72}, ...]}]</svg></mark></case>`
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pipelines.datasets.case import Finding
from pipelines.datasets.files import name_of, relative
from pipelines.datasets.tables import read_text

Polygon = tuple[tuple[float, float], ...]
Outlines = dict[str, tuple[Polygon, ...]]

MAX_BYTES = 2**20  # a published file has some kilobytes
MAX_COORDINATE = 65535.0
# A document without a type has no entities but the five built-in ones: nothing expands, nothing is fetched.
FORBIDDEN = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)


def read_outlines(root: Path, path: Path, findings: list[Finding]) -> Outlines:
    """Image name `N_k` -> its polygons of (x, y) in native pixels, for one file `N.xml`.

    A file that is refused or damaged gives none, and each damaged outline is left out, with a finding.
    """
    tree = _parse(root, path, findings)
    if tree is None:
        return {}
    where = relative(path, root)
    number = (tree.findtext("number") or "").strip()
    if number and number != path.stem:
        expected, remedy = f"number {path.stem}, as the file is named", "the file's name is taken"
        findings.append(Finding("table", path.stem, where, expected, repr(number[:20]), remedy))
    found: Outlines = {}
    for mark in tree.iter("mark"):
        index, text = (mark.findtext("image") or "").strip(), (mark.findtext("svg") or "").strip()
        if not index.isdecimal():
            expected, remedy = "the number of an image in each <mark>", "correct it; its outline is not read"
            findings.append(Finding("table", path.stem, where, expected, repr(index[:20]), remedy))
        elif text:
            name = f"{path.stem}_{index}"
            polygons = read_polygons(text)
            if polygons is None:
                expected, remedy = f"outlines of {name} as JSON lists of points", "correct it; they are not read"
                findings.append(Finding("table", name, where, expected, "a damaged text", remedy))
            elif polygons:
                found[name] = found.get(name, ()) + polygons
    return found


def _parse(root: Path, path: Path, findings: list[Finding]) -> ElementTree.Element | None:
    where = relative(path, root)
    size = path.stat().st_size
    fault = None
    if size > MAX_BYTES:
        fault = f"{size // 1024} KiB, above {MAX_BYTES // 1024}"
    else:
        own: list[Finding] = []
        text = read_text(root, path, own)
        findings += [replace(item, check="missing mask", case=name_of(path)) for item in own]
        if text is None:
            return None
        if FORBIDDEN.search(text):
            fault = "a document type or entity, which is not read"
        else:
            try:
                return ElementTree.fromstring(text)
            except (ElementTree.ParseError, ValueError) as error:
                fault = f"damage ({error})"
    findings.append(
        Finding("missing mask", name_of(path), where, "a small XML file with <mark>", fault, "fetch it again")
    )
    return None


def read_polygons(text: str) -> tuple[Polygon, ...] | None:
    """The regions of one <svg>; None where the text is damaged. A region of fewer than three points is no outline."""
    try:
        regions = json.loads(text)
        polygons = [tuple(_point(point) for point in region["points"]) for region in regions]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return tuple(polygon for polygon in polygons if len(polygon) > 2)


def _point(point: Any) -> tuple[float, float]:
    x, y = float(point["x"]), float(point["y"])
    if not (math.isfinite(x) and math.isfinite(y) and max(abs(x), abs(y)) <= MAX_COORDINATE):
        raise ValueError(f"point {x}, {y}")
    return x, y
