"""STU-Hospital (repository xbhlk/STU-Hospital) as published: 42 breast images of 128 x 128 with masks of other sizes.

`Hospital/Test_Image_1.png`, `Hospital/mask_1.png`, numbers 1 to 42 without padding; the outer folder may be missing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.files import (
    by_stem,
    check_total,
    find_base,
    images_of,
    list_files,
    pair_up,
    relative,
    renamed,
    unread,
)

NAME = re.compile(r"^(?P<kind>Test_Image|mask)_(?P<number>\d{1,9})$")
COUNT = 42
TERMS = "none stated by the owner: evaluation only, do not redistribute"
CITATION = "repository xbhlk/STU-Hospital"


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Cases `Test_Image_<number>`; nothing is known of patients, classes or parts. No argument but `root` is used."""
    findings: list[Finding] = []
    files = list_files(root, findings)
    folder = root / "Hospital"
    base = folder if any(path.is_relative_to(folder) for path in files) else root
    kinds: dict[str, list[Path]] = {"Test_Image": [], "mask": []}
    for path in images_of(files):
        match = NAME.match(path.stem) if path.parent == base else None
        if match:
            kinds[match["kind"]].append(path)
    if kinds["Test_Image"]:
        findings += unread(root, files, [path for paths in kinds.values() for path in paths])
    else:
        find_base(root, files, ("Hospital", ""), ("Test_Image_1.png", "mask_1.png"), findings)
    images, drawn = (_by_number(root, kinds[kind], findings, masks=kind == "mask") for kind in kinds)
    unpaired: list[Finding] = []
    pairs = pair_up(root, images, drawn, "mask_{}", unpaired)
    findings += renamed(unpaired, "Test_Image_")
    cases = [
        Case(f"Test_Image_{number}", images[number], own, "none", resize_mask=True) for number, own in pairs.items()
    ]
    return Dataset(
        name="stu",
        adapter="stu",
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        classes=("none",),
        foreground=("lesion",),
        terms=TERMS,
        citation=CITATION,
        findings=(*findings, *check_total("images", COUNT, len(cases))),
    )


def _image_of(mask: str) -> str:
    return f"Test_Image_{int(mask.rpartition('_')[2])}"


def _by_number(root: Path, files: list[Path], findings: list[Finding], *, masks: bool) -> dict[str, Path]:
    """Number without padding -> file; mask_7 and mask_07 are one number."""
    found: dict[str, Path] = {}
    for stem, path in by_stem(root, files, findings, mask_of=_image_of if masks else None).items():
        number = str(int(stem.rpartition("_")[2]))
        first = found.setdefault(number, path)
        if first != path:
            clash = f"{relative(first, root)} of the same number"
            check, case = ("ambiguous mask", _image_of(stem)) if masks else ("name", stem)
            findings.append(Finding(check, case, relative(path, root), "a number of its own", clash, "remove one"))
    return found
