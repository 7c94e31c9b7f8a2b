"""Your own data in one of four plain layouts, recognized by the folders that are there (see docs/datasets.md).

pairs:    images/*, masks/* (or labels/, gt/), by file name, or that plus _mask, _gt, _seg
lists:    the same with train.txt, val.txt, test.txt, which become the owner's parts
classes:  images/ID.png, masks/0/ID.png (one foreground class)
sidecar:  benign/X.png, benign/X_mask.png, benign/X_mask_1.png in one folder per class, names free

An optional groups.csv (case, group, class) names patients and classes; `case` is the file's name with or without its
ending. A class called `normal` is free of lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.adapters.busi import read_layout
from pipelines.datasets.case import PARTS, Case, Dataset, Finding
from pipelines.datasets.files import by_stem, list_files, read_table, relative, unread
from pipelines.datasets.images import EXTENSIONS
from pipelines.runtime.errors import DataError

MASK_FOLDERS = ("masks", "labels", "gt")
SUFFIXES = ("", "_mask", "_gt", "_seg")


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Cases of whichever layout is there; settings.foreground says what the masks show."""
    files = [path for path in list_files(root) if path.suffix.lower() in EXTENSIONS]
    if (root / "images").is_dir():
        folder = next((root / name for name in MASK_FOLDERS if (root / name).is_dir()), None)
        if folder is None:
            raise DataError(
                f"{root.name}: expected masks/, labels/ or gt/ beside images/, found none; every image needs a mask"
            )
        cases, findings = read_pairs(root, files, folder)
        cases = [replace(case, official_part=part) for case, part in zip(cases, read_parts(root, cases), strict=True)]
        classes: tuple[str, ...] = ("none",)
    else:
        classes = tuple(sorted({path.parent.name for path in files if path.parent.parent == root}))
        if not classes:
            raise DataError(
                f"{root.name}: expected images/ and masks/, or one folder per class with X.png and X_mask.png, found "
                "neither; see docs/datasets.md"
            )
        layout = read_layout(root, classes, name="folder")
        cases, findings = list(layout.cases), list(layout.findings)
    cases = with_groups(root, cases, findings)
    return Dataset(
        name="folder",
        adapter="folder",
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        classes=tuple(sorted({case.class_name for case in cases})) or classes,
        foreground=(settings.foreground,),
        terms="unknown (own data): treated as not to be shared",
        citation="own data",
        findings=tuple(findings),
    )


def read_pairs(root: Path, files: Sequence[Path], folder: Path) -> tuple[list[Case], list[Finding]]:
    """images/ against the mask folder by stem; every image needs one mask, and a file elsewhere is a warning."""
    findings: list[Finding] = []
    inner = sorted({path.parent.name for path in files if path.parent.parent == folder})
    if len(inner) > 1:
        listing = ", ".join(inner)
        raise DataError(f"{folder.name}: expected one class folder, found {listing}; one foreground class is read")
    source = folder / inner[0] if inner else folder
    image_files = [path for path in files if path.parent == root / "images"]
    mask_files = [path for path in files if path.parent == source]
    images = by_stem(root, image_files, findings)
    masks = by_stem(root, mask_files, findings)
    findings += unread(root, files, [*image_files, *mask_files])
    cases = []
    used: set[str] = set()
    for stem, image in sorted(images.items()):
        names = [stem + suffix for suffix in SUFFIXES if stem + suffix in masks]
        used.update(names)
        if len(names) != 1:
            found = " and ".join(names) or "none"
            check, expected = (
                "missing mask" if not names else "ambiguous mask",
                f"one mask in {relative(source, root)}/",
            )
            remedy = "add the mask" if not names else "keep one of them"
            findings.append(Finding(check, stem, relative(image, root), expected, found, remedy))
        cases.append(Case(stem, image, tuple(masks[name] for name in names), "none"))
    for stem in sorted(set(masks) - used):
        where, remedy = relative(masks[stem], root), "add the image or remove the mask"
        findings.append(Finding("mask without image", stem, where, "an image of that name in images/", "none", remedy))
    return cases, findings


def _stem(name: str) -> str:
    """A case from a file's name in a list or table of the owner, which may have the image's ending or not."""
    path = Path(name.strip())
    return path.stem if path.suffix.lower() in EXTENSIONS else name.strip()


def read_parts(root: Path, cases: Sequence[Case]) -> list[str]:
    """The owner's part of each case from train.txt, val.txt, test.txt; "" without lists; every case must be listed."""
    lists = {part: root / f"{part}.txt" for part in PARTS if (root / f"{part}.txt").is_file()}
    if not lists:
        return [""] * len(cases)
    listed: dict[str, str] = {}
    for part, path in lists.items():
        for line in filter(str.strip, path.read_text(encoding="utf-8", errors="replace").splitlines()):
            stem = _stem(line)
            if listed.setdefault(stem, part) != part:
                raise DataError(f"{path.name}: {stem} is also in {listed[stem]}.txt; expected one part per image")
    unlisted = [case.case for case in cases if case.case not in listed]
    if unlisted:
        names = ", ".join(path.name for path in lists.values())
        raise DataError(f"{names}: {len(unlisted)} images are in no list, first {unlisted[0]}; add them or remove them")
    return [listed[case.case] for case in cases]


def with_groups(root: Path, cases: Sequence[Case], findings: list[Finding]) -> list[Case]:
    """Patients and classes from groups.csv, when there is one; a case without a row keeps what it has and is named.

    A table of which no row names an image, or with two groups or classes for one case, is an error: read as if it were
    not there, it would let a patient lie on both sides of the split.
    """
    path = root / "groups.csv"
    if path not in list_files(root):
        return list(cases)
    rows: dict[str, tuple[str, str]] = {}
    for row in read_table(path, ("case", "group")):
        name, found = _stem(row["case"]), (row["group"].strip(), row.get("class", "").strip())
        known = rows.setdefault(name, found)
        for kind, first, second in zip(("groups", "classes"), known, found, strict=True):
            if first != second:
                found_two = f"{kind} {first!r} and {second!r}"
                findings.append(
                    Finding("layout", name, "groups.csv", f"one of {kind} for {name}", found_two, "correct it")
                )
    if not rows.keys() & {case.case for case in cases}:
        found_none, remedy = f"none, first {next(iter(rows))!r}", "correct the names or remove the table"
        findings.append(Finding("layout", "", "groups.csv", "names of images in column case", found_none, remedy))
        return list(cases)
    named = []
    for case in cases:
        if case.case not in rows:
            remedy = "it counts as a patient of its own; add the row"
            findings.append(Finding("table", case.case, "groups.csv", f"a row for {case.case}", "none", remedy))
            named.append(case)
            continue
        group, class_name = rows[case.case][0], rows[case.case][1] or case.class_name
        named.append(replace(case, identity=group, class_name=class_name, lesion=class_name != "normal"))
    for name in sorted(set(rows) - {case.case for case in cases}):
        findings.append(Finding("table", name, "groups.csv", "rows of images", f"{name}, no image", "remove the row"))
    return named
