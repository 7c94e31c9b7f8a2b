"""BUSI (Al-Dhabyani et al., Data in Brief 28:104863, 2020) as published: class folders, masks beside the images.

`Dataset_BUSI_with_GT/{benign,malignant,normal}/benign (1).png`, `benign (1)_mask.png`, `benign (4)_mask_1.png`; the
outer folder may be missing, and a class folder may be split into `images/` and `mask/` as some mirrors do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.files import by_stem, contents, images_of, list_files, relative, unread

FOLDER = "Dataset_BUSI_with_GT"
CLASSES = ("benign", "malignant", "normal")
MASK = re.compile(r"^(?P<case>.+?)_mask(_(?P<number>\d+))?$")
MASK_FOLDERS = ("mask", "masks")
EXPECTED = {"benign": 437, "malignant": 210, "normal": 133}
MASKS = {"benign": 454, "malignant": 211, "normal": 133}  # files; 17 images have two or three
REDUCED = 352  # the published images are up to 1048 pixels wide: a set without a longer side is a reduced copy
TERMS = "no clear license: research use, do not redistribute"
CITATION = "Al-Dhabyani et al., Data in Brief 28:104863, 2020; Pawlowska et al., Data in Brief 48:109247, 2023"


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Read the published layout. settings.classes names the folders to read; `work` and `count` are not used here."""
    left_out = tuple(name for name in CLASSES if name not in settings.classes)
    dataset = read_layout(root, tuple(settings.classes), name="busi", left_out=left_out)
    return replace(
        dataset,
        expected={name: EXPECTED[name] for name in dataset.classes},
        reduced_below=REDUCED,
        findings=(*dataset.findings, *check_masks(dataset)),
    )


def check_masks(dataset: Dataset) -> list[Finding]:
    """A warning for each class that has all its images and another number of masks than published: a second mask that
    is lost leaves no other trace.
    """
    findings: list[Finding] = []
    for name in dataset.classes:
        own = [case for case in dataset.cases if case.class_name == name]
        masks = sum(len(case.masks) for case in own)
        if len(own) == EXPECTED[name] and masks != MASKS[name]:
            expected, remedy = f"{MASKS[name]} masks of class {name} as published", "see which mask lacks"
            findings.append(Finding("count", "", "", expected, str(masks), remedy))
    return findings


def read_layout(
    root: Path,
    classes: tuple[str, ...],
    *,
    name: str,
    identities: dict[str, str] | None = None,
    left_out: tuple[str, ...] = (),
) -> Dataset:
    """Cases of the BUSI layout; `identities` maps a case to its patient, which the layout itself does not tell.

    left_out: class folders that are not read on purpose; an image file outside these and `classes` is a warning.
    """
    findings: list[Finding] = []
    files = list_files(root, findings)
    base = next((base for base in (root / FOLDER, root) if any(_inside(files, base / name) for name in classes)), None)
    missing = [name for name in classes if base is None or not _inside(files, base / name)]
    if missing:
        expected = f"the folders {', '.join(classes)} in {FOLDER} or at the top"
        found = f"no {', '.join(missing)}" if base else _elsewhere(root, files, classes)
        findings.append(Finding("layout", "", "", expected, found, "copy the published folder there"))
    cases: list[Case] = []
    if base is not None:
        known = [base / class_name for class_name in (*classes, *left_out)]
        findings += unread(
            root, files, [path for path in files if any(path.is_relative_to(folder) for folder in known)]
        )
        for class_name in classes:
            inside = images_of(_inside(files, base / class_name))
            for case, image, masks in read_class(root, inside, findings):
                identity = (identities or {}).get(case, "")
                cases.append(Case(case, image, masks, class_name, lesion=class_name != "normal", identity=identity))
    return Dataset(
        name=name,
        adapter="busi",
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        classes=classes,
        foreground=("lesion",),
        terms=TERMS,
        citation=CITATION,
        findings=tuple(findings),
    )


def read_class(root: Path, files: Sequence[Path], findings: list[Finding]) -> list[tuple[str, Path, tuple[Path, ...]]]:
    """(case, image, its masks by their number) of one class folder.

    A mask is told by `_mask` in its name or by a folder `mask/`, in which it may have its image's own name. Its number
    is 0 or what follows `_mask_`: a gap in the numbers of an image says that a mask is lost.
    """
    mask_files = [path for path in files if MASK.match(path.stem) or path.parent.name.lower() in MASK_FOLDERS]
    taken = set(mask_files)
    images = by_stem(root, [path for path in files if path not in taken], findings)
    masks: dict[str, list[tuple[int, str, Path]]] = {}
    for stem, path in by_stem(root, mask_files, findings, mask_of=_image_of).items():
        match = MASK.match(stem)
        case, number = (match["case"], int(match["number"] or 0)) if match else (stem, 0)
        masks.setdefault(case, []).append((number, stem, path))
    for orphan in sorted(set(masks) - set(images)):
        where = relative(min(masks[orphan])[2], root)
        remedy = "add the image or remove the mask"
        findings.append(Finding("mask without image", orphan, where, f"an image {orphan}", "none", remedy))
    for case in sorted(set(images) - set(masks)):
        remedy = "add the mask or remove the image"
        findings.append(Finding("missing mask", case, relative(images[case], root), f"{case}_mask.png", "none", remedy))
    for case in sorted(set(images) & set(masks)):
        numbers = {number for number, _, _ in masks[case]}
        gaps = sorted(set(range(len(numbers))) - numbers)
        if gaps:
            expected = f"{case}_mask_{gaps[0]}" if gaps[0] else f"{case}_mask"
            found = "only " + ", ".join(stem for _, stem, _ in sorted(masks[case]))
            remedy = "add the mask, or number them _mask, _mask_1, _mask_2, ... without a gap"
            findings.append(Finding("missing mask", case, relative(images[case], root), expected, found, remedy))
    return [
        (case, image, tuple(path for _, _, path in sorted(masks.get(case, []))))
        for case, image in sorted(images.items())
    ]


def _image_of(mask: str) -> str:
    match = MASK.match(mask)
    return match["case"] if match else mask


def _inside(files: Sequence[Path], folder: Path) -> list[Path]:
    return [path for path in files if path.is_relative_to(folder)]


def _elsewhere(root: Path, files: Sequence[Path], classes: Sequence[str]) -> str:
    parents = {parent for path in files for parent in path.parents if parent.name in classes}
    if not parents:
        return contents(root, files)
    return f"them in {relative(min(parents).parent, root)}/: move that folder up"
