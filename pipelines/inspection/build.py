"""`python -m pipelines inspect`: data/inspection/index.html, one page complete in itself, to look at and not to share.

It shows images of patients where the data are real: .gitignore and the page say so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from scipy.ndimage import binary_erosion

from pipelines.inspection.gather import (
    Group,
    Prepared,
    counts_of,
    groups_of,
    histogram,
    read_prepared,
    rows_by_check,
    rows_by_flag,
)
from pipelines.report.figures import data_uri, evenly, png
from pipelines.runtime.artifacts import write_bytes
from pipelines.runtime.errors import SonoSynthError

MOST_GROUPS, MOST_IN_GROUP, MOST_FLAGGED, MOST_FINDINGS = 400, 24, 36, 300  # shown; the page says what is left out
OUTLINE = (45, 212, 191)
EVIDENCE = (
    *("kind", "rule", "phash_distance", "ncc", "mirrored", "shift_x", "shift_y", "scale_x", "scale_y"),
    *("aligned_phash_distance", "aligned_ncc", "aligned_detail"),
)


def main(root: Path) -> int:
    """Write the page; 0 done, 1 an expected error."""
    try:
        found = read_prepared(root)
        place = root / "data" / "inspection" / "index.html"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place, page(found).encode())
    except SonoSynthError as error:
        print(error)
        return 1
    print(f"{place.relative_to(root)}: {len(found.cases)} cases, {place.stat().st_size / 1e6:.1f} MB; open it by hand")
    return 0


def page(found: Prepared) -> str:
    """The page as text. Everything that came from a file is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups = groups_of(found)
    parts, lines = counts_of(found)
    context = {
        "dataset": found.dataset,
        "integrity": found.integrity,
        "notice": found.notice,
        "cases": len(found.cases),
        "pairs": len(found.pairs),
        "clusters": len(groups),
        "clustered": sum(len(group.rows) for group in groups),
        "conflicts": sum(len(group.classes) > 1 for group in groups),
        "parts": parts,
        "lines": lines,
        "charts": charts(found),
        "findings": rows_by_check(found),
        "most_findings": MOST_FINDINGS,
        "evidence": EVIDENCE,
        "groups": [show_group(found, group) for group in groups[:MOST_GROUPS]],
        "groups_left": max(0, len(groups) - MOST_GROUPS),
        "flagged": [show_flag(found, name, rows) for name, rows in rows_by_flag(found)],
    }
    return environment.get_template("page.html").render(context)


def charts(found: Prepared) -> list[dict[str, Any]]:
    """Histograms: native width and height, and the lesion's share of the image per class."""
    shown = [
        ("width, pixels", [float(row["width"]) for row in found.cases], 0),
        ("height, pixels", [float(row["height"]) for row in found.cases], 0),
    ]
    for name in sorted({row["class"] for row in found.cases}):
        areas = [100 * float(row["area"]) for row in found.cases if row["class"] == name and float(row["area"]) > 0]
        if areas:
            shown.append((f"lesion area, % of the image{': ' + name if name else ''}", areas, 1))
    return [{"title": title, "bins": histogram(values), "digits": digits} for title, values, digits in shown]


def show_group(found: Prepared, group: Group) -> dict[str, Any]:
    """Pictures and links of one cluster."""
    rows = group.rows[:MOST_IN_GROUP]
    return {
        "pictures": [{"uri": data_uri(png(found.thumbnails[row])), **label(found, row)} for row in rows],
        "left": len(group.rows) - len(rows),
        "links": group.links,
        "conflict": len(group.classes) > 1,
        "parts": sorted({found.parts[row] for row in group.rows} - {""}),
    }


def show_flag(found: Prepared, name: str, rows: list[int]) -> dict[str, Any]:
    """Pictures of cases with one flag, evenly chosen, the lesion outlined."""
    chosen = [rows[place] for place in evenly(len(rows), MOST_FLAGGED)]
    pictures = [
        {"uri": data_uri(png(outlined(found.images[row], found.labels[row]))), **label(found, row)} for row in chosen
    ]
    return {"name": name, "count": len(rows), "pictures": pictures}


def label(found: Prepared, row: int) -> dict[str, str]:
    case = found.cases[row]
    return {
        "case": case["case"],
        "class": case["class"],
        "part": found.parts[row],
        "size": f"{case['width']} x {case['height']}",
    }


def outlined(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(H, W) uint8 and its label map to (H, W, 3) uint8 with the border of the foreground in color."""
    picture = np.repeat(np.asarray(image)[..., None], 3, axis=2)
    lesion = np.asarray(labels) > 0
    picture[lesion & ~binary_erosion(lesion)] = OUTLINE
    return picture
