"""UDIAT Dataset B (Yap et al., IEEE JBHI, 2018) as released: `BUS/original/000001.png`, `BUS/GT/000001.png`.

The outer folder may be missing. In a pack derived from it the names end in the class: `000009_Benign.png`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.files import by_stem, check_total, find_base, images_of, list_files, pair_up, unread

CLASS = re.compile(r"^.+_(?P<name>benign|malignant)$", re.IGNORECASE)
COUNT = 163
TERMS = "signed release agreement: no redistribution in any form, nor of what is derived from it"
CITATION = "Yap et al., IEEE Journal of Biomedical and Health Informatics, 2018"


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Cases by file name; patients and parts are not published. No argument but `root` is used."""
    findings: list[Finding] = []
    files = list_files(root, findings)
    base = find_base(root, files, ("BUS", ""), ("original", "GT"), findings)
    cases: list[Case] = []
    if base is not None:
        inside = images_of(files)
        image_files = [path for path in inside if path.parent == base / "original"]
        mask_files = [path for path in inside if path.parent == base / "GT"]
        findings += unread(root, files, [*image_files, *mask_files])
        images, masks = by_stem(root, image_files, findings), by_stem(root, mask_files, findings, mask_of=str)
        pairs = pair_up(root, images, masks, "GT/{}.png", findings)
        cases = [Case(stem, images[stem], own, class_of(stem)) for stem, own in pairs.items()]
    classes = tuple(sorted({case.class_name for case in cases}))
    if "none" in classes and len(classes) > 1:
        found = f"{sum(case.class_name == 'none' for case in cases)} of {len(cases)} names without one"
        remedy = "two packs may be mixed; keep one"
        findings.append(Finding("layout", "", "", "the class in all names or in none", found, remedy))
    return Dataset(
        name="udiat",
        adapter="udiat",
        cases=tuple(cases),
        classes=classes,
        foreground=("lesion",),
        terms=TERMS,
        citation=CITATION,
        layout="pack with classes in the names" if classes and "none" not in classes else "",
        findings=(*findings, *check_total("images", COUNT, len(cases))),
    )


def class_of(stem: str) -> str:
    """benign or malignant where the name ends in it, else none."""
    match = CLASS.match(stem)
    return match["name"].lower() if match else "none"
