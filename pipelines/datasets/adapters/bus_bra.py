"""BUS-BRA (Gomez-Flores et al., Medical Physics 51(4):3110-3123, 2024) as published.

`BUSBRA/Images/bus_0001-l.png`, `BUSBRA/Masks/mask_0001-l.png`, `bus_data.csv`, `5-fold-cv.csv`; the outer folder may
be missing. Only the images of the folds that params name are opened: a fold kept for headline numbers stays closed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.files import find_base, images_of, list_files, name_of, relative, unread
from pipelines.datasets.tables import index_rows, outside, read_table, stem_of

FOLDER = "BUSBRA"
TABLES = {
    "bus_data.csv": ("ID", "Case", "Pathology", "Device", "Width", "Height", "BBOX"),
    "5-fold-cv.csv": ("ID", "kFold"),
}
CLASSES = ("benign", "malignant")
PARTS = {"1": "train", "0": "val"}  # the table says 1 and 0; that 0 is the validation set is our reading
TERMS = "own permissive text: use, modify, distribute; cite the article and keep its notice"
CITATION = "Gomez-Flores et al., Medical Physics 51(4):3110-3123, 2024, doi 10.1002/mp.16812"


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Cases of the folds in settings.folds, patient = column `Case`; `work` and `count` are not used here.

    Official parts: the fold settings.test_fold = k is test; of the others, column `valid_k` says train (1) or
    validation (0). As published that column cuts patients (53 of 213 in fold 2 under k = 3): a patient in both is taken
    as train whole. Sizes and boxes in bus_data.csv disagree with some files: the files are right, and the difference
    becomes a warning.
    """
    findings: list[Finding] = []
    files = list_files(root, findings)
    base = find_base(root, files, (FOLDER, ""), ("Images", "Masks", *TABLES), findings)
    cases: list[Case] = []
    if base is not None:
        valid = f"valid_{settings.test_fold}"
        columns = {**TABLES, "5-fold-cv.csv": ("ID", "kFold", valid)}
        facts, folds = (
            index_rows(root, base / name, read_table(root, base / name, columns[name], findings), "ID", findings)
            for name in TABLES
        )
        if facts and folds:
            cases = read_cases(root, base, set(files), settings, facts, folds, findings)
    return Dataset(
        name="bus_bra",
        adapter="bus_bra",
        cases=tuple(cases),
        classes=tuple(name for name in CLASSES if any(case.class_name == name for case in cases)),
        foreground=("lesion",),
        terms=TERMS,
        citation=CITATION,
        findings=tuple(findings),
    )


def read_cases(
    root: Path,
    base: Path,
    files: set[Path],
    settings: Any,
    facts: dict[str, dict[str, str]],
    folds: dict[str, dict[str, str]],
    findings: list[Finding],
) -> list[Case]:
    """The cases of the folds asked for, sorted by name. facts, folds: rows of the two tables by ID."""
    wanted = {str(fold) for fold in settings.folds}
    have = {row["kFold"] for row in folds.values()}
    for fold in sorted(wanted - have):
        found, remedy = f"only {', '.join(sorted(have))}", "set datasets.bus_bra.folds"
        findings.append(Finding("layout", "", "5-fold-cv.csv", f"fold {fold}", found, remedy))
    cases: list[Case] = []
    masks: set[Path] = set()
    strange = {"bus_data.csv": facts, "5-fold-cv.csv": folds}
    findings += [outside(table, name) for table, rows in strange.items() for name in rows if stem_of(name) is None]
    for name in sorted(name for name in facts if stem_of(name) is not None):
        image, mask = base / "Images" / f"{name}.png", base / "Masks" / f"{name.replace('bus', 'mask', 1)}.png"
        masks.add(mask)
        if name not in folds:
            remedy = "left out; add it to the table of folds"
            findings.append(Finding("table", name, "5-fold-cv.csv", f"a row for {name}", "none", remedy))
        elif folds[name]["kFold"] not in wanted:
            continue
        elif image not in files:
            remedy = "copy it there"
            findings.append(Finding("table", name, "bus_data.csv", f"a file Images/{image.name}", "none", remedy))
        else:
            if mask not in files:
                where, remedy = relative(image, root), "add the mask or remove the image"
                findings.append(Finding("missing mask", name, where, f"Masks/{mask.name}", "none", remedy))
            part = read_part(name, folds[name], settings.test_fold, findings)
            own = (mask,) if mask in files else ()
            cases.append(read_case(name, image, own, facts[name], part, findings))
    unknown = [
        path for path in images_of(sorted(files)) if path.parent == base / "Images" and name_of(path) not in facts
    ]
    for path in unknown:
        remedy = "left out; add the row"
        findings.append(Finding("table", name_of(path), relative(path, root), "a row in bus_data.csv", "none", remedy))
    for path in sorted(path for path in images_of(files) if path.parent == base / "Masks" and path not in masks):
        where = relative(path, root)
        findings.append(Finding("unread", name_of(path), where, "a row in bus_data.csv", "none", "add the row"))
    findings += unread(
        root, sorted(files), [path for path in files if path.parent in (base / "Images", base / "Masks")]
    )
    return whole_patients(cases, findings)


def whole_patients(cases: list[Case], findings: list[Finding]) -> list[Case]:
    """A patient whose images the table divides among train and val, as train whole, with a warning."""
    parts: dict[str, set[str]] = {}
    for case in cases:
        parts.setdefault(case.identity, set()).add(case.official_part)
    cut = sorted(identity for identity, found in parts.items() if {"train", "val"} <= found)
    if cut:
        found = f"{len(cut)} patients in both, first {cut[0]}"
        remedy = "taken as train whole under split.protocol: official"
        findings.append(Finding("table", "", "5-fold-cv.csv", "patients in train or in validation", found, remedy))
    chosen = set(cut)
    return [replace(case, official_part="train") if case.identity in chosen else case for case in cases]


def read_part(name: str, row: dict[str, str], test_fold: int, findings: list[Finding]) -> str:
    """train, val or test by the table of folds; "" with a warning where it says neither."""
    if row["kFold"] == str(test_fold):
        return "test"
    found = row[f"valid_{test_fold}"]
    if found not in PARTS:
        expected, remedy = f"0 or 1 in column valid_{test_fold} for {name}", "correct the row; it has no official part"
        findings.append(Finding("table", name, "5-fold-cv.csv", expected, repr(found), remedy))
    return PARTS.get(found, "")


def read_case(
    name: str, image: Path, masks: tuple[Path, ...], row: dict[str, str], part: str, findings: list[Finding]
) -> Case:
    """One image with what bus_data.csv says of it."""
    class_name = row["Pathology"].strip().lower()
    if class_name not in CLASSES:
        expected, found = f"Pathology {' or '.join(CLASSES)}", repr(row["Pathology"])
        findings.append(Finding("value range", name, "bus_data.csv", expected, found, "correct the row"))
    patient, width, height = (read_number(row[column]) for column in ("Case", "Width", "Height"))
    identity = f"patient-{row['Case'].strip()}" if patient is None else f"patient-{patient:04d}"
    size = None if width is None or height is None else (width, height)
    box = read_box(row["BBOX"])
    if size is None or box is None:
        found, remedy = f"{row['Width']!r}, {row['Height']!r}, {row['BBOX']!r}", "the file is taken"
        findings.append(Finding("table", name, "bus_data.csv", "numbers in Width, Height and BBOX", found, remedy))
    elif box[0] + box[2] > size[0] or box[1] + box[3] > size[1]:
        expected = f"a BBOX inside {size[0]} x {size[1]} pixels"
        findings.append(Finding("table", name, "bus_data.csv", expected, row["BBOX"], "the mask is taken"))
    return Case(
        name,
        image,
        masks,
        class_name,
        identity=identity,
        official_part=part,
        published_size=size,
        site=row["Device"].strip(),
    )


def read_number(text: str) -> int | None:
    """A whole number of at most nine digits."""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def read_box(text: str) -> tuple[int, int, int, int] | None:
    """`[x, y, width, height]` in pixels; None where the text is no such box."""
    try:
        box = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(box, list) or len(box) != 4 or not all(type(value) is int and value >= 0 for value in box):
        return None
    return box[0], box[1], box[2], box[3]
