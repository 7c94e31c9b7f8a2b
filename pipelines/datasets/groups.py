"""groups.csv: what only the user knows of the images, read beside any folder.

Columns: case (the file's name, with or without its ending; `<class>/<name>` in class folders), and any of group
(patient, lesion or video), class, site, spacing_x, spacing_y (mm per native pixel). Upper and lower case are the same
in the table's name and in its header.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.datasets.case import Case, Finding
from pipelines.datasets.files import name_of, relative
from pipelines.datasets.tables import index_rows, outside, read_table, stem_of

NAME = "groups.csv"
COLUMNS = ("case", "group", "class", "site", "spacing_x", "spacing_y")


def with_groups(root: Path, files: Sequence[Path], cases: Sequence[Case], findings: list[Finding]) -> list[Case]:
    """The cases with what the table says of them; a case without a row keeps what it has and is named.

    A table in another place, without `group` but with a column that is not known, of which no row names an image, or
    with two rows for one case that differ, is an error: read as if it were not there, it would let a patient lie on
    both sides of the split.
    """
    tables = tables_of(files)
    path = next((path for path in tables if path.parent == root), None)
    for other in tables:
        if other != path:
            place = relative(path, root) if path else "the top folder"
            found, remedy = "one that is not read", f"move its rows to {place}, or remove it"
            findings.append(
                Finding("layout", "", relative(other, root), f"one {NAME} in the top folder", found, remedy)
            )
    if path is None or not cases:
        return list(cases)
    table = read_table(root, path, ("case",), findings, known=COLUMNS)
    rows = _by_case(root, path, table, cases, findings)
    if not rows:
        return list(cases)
    unknown = [column for column in table[0] if column not in COLUMNS]
    if unknown:
        expected, found = f"the columns {', '.join(COLUMNS)}", ", ".join(unknown)
        grouped = "group" in table[0]
        remedy = (
            "not read; rename or ignore" if grouped else "rename the one that names patients to group, or remove it"
        )
        findings.append(Finding("table" if grouped else "layout", "", NAME, expected, found, remedy))
    named = []
    for case in cases:
        row = rows.get(case.case)
        if row is None:
            remedy = "it counts as a patient of its own; add the row"
            findings.append(Finding("table", case.case, NAME, f"a row for {case.case}", "none", remedy))
            named.append(case)
            continue
        class_name = row.get("class", "").strip() or case.class_name
        named.append(
            replace(
                case,
                identity=row.get("group", "").strip() or case.identity,
                class_name=class_name,
                lesion=class_name.lower() != "normal",
                site=row.get("site", "").strip(),
                spacing=read_spacing(case.case, row, findings),
            )
        )
    return named


def tables_of(files: Sequence[Path]) -> list[Path]:
    """The files called groups.csv, in whichever case and place, the highest first."""
    return sorted((path for path in files if path.name.lower() == NAME), key=lambda path: (len(path.parts), path.name))


def _by_case(
    root: Path, path: Path, table: Sequence[dict[str, str]], cases: Sequence[Case], findings: list[Finding]
) -> dict[str, dict[str, str]]:
    """Rows by the case that they mean; a bare file name that lies in several class folders means none of them."""
    names: dict[str, list[str]] = {}
    for case in cases:
        folder = unicodedata.normalize("NFC", case.image.parent.name)
        for name in {case.case, name_of(case.image), f"{folder}/{name_of(case.image)}"}:
            names.setdefault(name, []).append(case.case)
    folders = sorted({unicodedata.normalize("NFC", case.image.parent.name) for case in cases})
    meant: list[dict[str, str]] = []
    for row in table:
        stem = stem_of(row["case"], folders)
        if stem is None:
            findings.append(outside(NAME, row["case"]))
            continue
        parent = row["case"].strip().rpartition("/")[0]
        found = names.get(f"{parent}/{stem}" if parent else stem, [])
        if len(found) == 1:
            meant.append({key: (found[0] if key == "case" else text.strip()) for key, text in row.items()})
        else:
            several = f"{stem}, which means {' and '.join(found)}" if found else f"{stem}, no image"
            remedy = "write folder/name" if found else "remove the row"
            check = "layout" if found else "table"
            findings.append(Finding(check, stem, NAME, "rows of images", several, remedy))
    if table and not meant:
        found_none, remedy = f"none, first {table[0]['case']!r}", "correct the names or remove the table"
        findings.append(Finding("layout", "", NAME, "names of images in column case", found_none, remedy))
    return index_rows(root, path, meant, "case", findings)


def read_spacing(case: str, row: dict[str, str], findings: list[Finding]) -> tuple[float, float] | None:
    """(x, y) in mm per native pixel; None, with a warning unless both cells are empty, where it is not two numbers."""
    texts = [row.get(column, "").strip() for column in ("spacing_x", "spacing_y")]
    if not any(texts):
        return None
    try:
        x, y = (float(text) for text in texts)
    except ValueError:
        x = y = math.nan
    if math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0:
        return x, y
    expected, remedy = "spacing_x and spacing_y above 0, in mm per pixel", "no scores in mm for it; correct the row"
    findings.append(Finding("table", case, NAME, expected, " and ".join(repr(text) for text in texts), remedy))
    return None
