"""BUS-BRA (Gomez-Flores et al., Medical Physics 51(4):3110-3123, 2024) as published.

`BUSBRA/Images/bus_0001-l.png`, `BUSBRA/Masks/mask_0001-l.png`, `bus_data.csv`, `5-fold-cv.csv`; the outer folder may
be missing. Only the images of the folds that params name are opened: a fold kept for headline numbers stays closed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.files import list_files, read_table, relative
from pipelines.runtime.errors import DataError

FOLDER = "BUSBRA"
CLASSES = ("benign", "malignant")


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Cases of the folds in settings.folds, patient = column `Case`; `work` and `count` are not used here.

    Sizes in bus_data.csv disagree with some files: the files are right, and the difference becomes a warning.
    """
    base = root / FOLDER if (root / FOLDER).is_dir() else root
    files = set(list_files(root))
    needed = [base / "bus_data.csv", base / "5-fold-cv.csv"]
    missing = [path.name for path in needed if path not in files]
    if missing or not (base / "Images").is_dir() or not (base / "Masks").is_dir():
        found = ", ".join(sorted(path.name for path in base.iterdir())[:8]) or "nothing"
        raise DataError(
            f"{root.name}: expected {FOLDER}/ with Images, Masks, bus_data.csv, 5-fold-cv.csv, found {found}; "
            "copy the published folder there"
        )
    facts = {row["ID"]: row for row in read_table(needed[0], ("ID", "Case", "Pathology", "Width", "Height"))}
    folds = {row["ID"]: int(row["kFold"]) for row in read_table(needed[1], ("ID", "kFold"))}
    wanted = set(settings.folds)
    cases: list[Case] = []
    findings: list[Finding] = []
    for name in sorted(facts):
        if name not in folds:
            remedy = "left out; add it to the table of folds"
            findings.append(Finding("table", name, "5-fold-cv.csv", "a row for each image", f"none for {name}", remedy))
        elif folds[name] in wanted:
            image = base / "Images" / f"{name}.png"
            mask = base / "Masks" / f"{name.replace('bus', 'mask', 1)}.png"
            if image not in files:
                found = f"no file for {name}"
                findings.append(Finding("table", name, f"Images/{image.name}", "a file", found, "copy it there"))
                continue
            if mask not in files:
                where, remedy = relative(image, root), "add the mask or remove the image"
                findings.append(Finding("missing mask", name, where, f"Masks/{mask.name}", "none", remedy))
            cases.append(_case(name, image, mask, facts[name], findings))
    unknown = sorted(path.stem for path in files if path.parent == base / "Images" and path.stem not in facts)
    if unknown:
        found = f"none for {len(unknown)} images, first {unknown[0]}"
        findings.append(Finding("table", "", "bus_data.csv", "a row for each image", found, "left out; add the rows"))
    absent = sorted(wanted - set(folds.values()))
    if absent:
        have = sorted(set(folds.values()))
        raise DataError(f"5-fold-cv.csv: expected folds {sorted(wanted)}, found {have}; set datasets.bus_bra.folds")
    return Dataset(
        name="bus_bra",
        adapter="bus_bra",
        cases=tuple(cases),
        classes=CLASSES,
        foreground=("lesion",),
        terms="own permissive text: use, modify, distribute; cite the article and keep its notice",
        citation="Gomez-Flores et al., Medical Physics 51(4):3110-3123, 2024, doi 10.1002/mp.16812",
        findings=tuple(findings),
    )


def _case(name: str, image: Path, mask: Path, row: dict[str, str], findings: list[Finding]) -> Case:
    class_name = row["Pathology"].strip().lower()
    if class_name not in CLASSES:
        expected, found = f"Pathology {' or '.join(CLASSES)}", repr(row["Pathology"])
        findings.append(Finding("value range", name, "bus_data.csv", expected, found, "correct the row"))
    size = (int(row["Width"]), int(row["Height"])) if row["Width"].isdigit() and row["Height"].isdigit() else None
    identity = f"patient-{int(row['Case']):04d}" if row["Case"].isdigit() else f"patient-{row['Case']}"
    return Case(name, image, (mask,), class_name, identity=identity, published_size=size)
