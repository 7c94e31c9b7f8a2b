"""TN3K (Gong et al., ISBI 2021, doi 10.1109/ISBI48211.2021.9434087) as published: thyroid nodules.

`tn3k/{trainval-image,trainval-mask,test-image,test-mask}/0000.jpg`, `tn3k-trainval-fold{0..4}.json`; the outer folder
may be missing or lie in `Thyroid Dataset/`. Optional `label4trainval.csv`, `label4test.csv`: lines `0000.jpg,0` with
0 = benign, 1 = malignant and no header.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.files import by_stem, check_total, find_base, images_of, list_files, pair_up, renamed, unread
from pipelines.datasets.tables import outside, read_text, stem_of

WRAPPERS = ("tn3k", "Thyroid Dataset/tn3k", "")
SIGNS = ("trainval-image", "trainval-mask", "test-image", "test-mask")
COUNTS = {"trainval": 2879, "test": 614}
CLASSES = {"0": "benign", "1": "malignant"}
TERMS = "called open access, no license text found: research use, do not redistribute"
CITATION = "Gong et al., ISBI 2021, doi 10.1109/ISBI48211.2021.9434087"


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Cases `trainval-<number>` and `test-<number>`; patients are not published.

    Official parts: test, and of the rest what the lists of fold settings.fold say (None: the lists are not read). They
    count positions among the files in numeric order, so one missing file would shift them all: then nothing is
    assigned and the finding `order` says so. `work` and `count` are not used here.
    """
    findings: list[Finding] = []
    files = list_files(root, findings)
    base = find_base(root, files, WRAPPERS, SIGNS, findings)
    cases = [] if base is None else read_halves(root, base, files, settings.fold, findings)
    return Dataset(
        name="tn3k",
        adapter="tn3k",
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        classes=tuple(sorted({case.class_name for case in cases})),
        foreground=("nodule",),
        terms=TERMS,
        citation=CITATION,
        findings=tuple(findings),
    )


def read_halves(root: Path, base: Path, files: Sequence[Path], fold: int | None, findings: list[Finding]) -> list[Case]:
    """The cases of trainval and test."""
    cases: list[Case] = []
    used: list[Path] = []
    inside = images_of(files)
    for half, expected in COUNTS.items():
        image_files = [path for path in inside if path.parent == base / f"{half}-image"]
        mask_files = [path for path in inside if path.parent == base / f"{half}-mask"]
        used += [*image_files, *mask_files]
        own: list[Finding] = []
        images, masks = by_stem(root, image_files, own), by_stem(root, mask_files, own, mask_of=str)
        pairs = pair_up(root, images, masks, half + "-mask/{}.jpg", own)
        classes = read_classes(root, base / f"label4{half}.csv", files, images, own)
        findings += renamed(own, f"{half}-")
        if half == "test":
            parts = dict.fromkeys(images, "test")
        else:
            parts = read_parts(root, base, files, sorted(images), fold, findings)
        findings += check_total(f"{half} images", expected, len(images))
        cases += [
            Case(f"{half}-{stem}", images[stem], found, classes.get(stem, "none"), official_part=parts.get(stem, ""))
            for stem, found in pairs.items()
        ]
    findings += unread(root, files, used)
    return cases


def read_parts(
    root: Path, base: Path, files: Sequence[Path], stems: Sequence[str], fold: int | None, findings: list[Finding]
) -> dict[str, str]:
    """train or val for each of `stems`; {} where fold is None, or with the finding `order`."""
    if fold is None:
        return {}
    name = f"tn3k-trainval-fold{fold}.json"
    if base / name not in files:
        findings.append(_order(name, "the owner's list", "none"))
        return {}
    text = read_text(root, base / name, findings)
    if text is None:
        return {}
    try:
        tree = json.loads(text)
        lists = {part: list(tree[part]) for part in ("train", "val")}
    except (ValueError, KeyError, TypeError, RecursionError):
        lists = {}
    positions = [position for part in lists.values() for position in part]
    if not positions or not all(type(position) is int for position in positions):
        findings.append(_order(name, '{"train": [positions], "val": [positions]}', "something else"))
        return {}
    if sorted(positions) != list(range(len(positions))):
        repeated = [position for position, times in Counter(positions).items() if times > 1]
        found = f"{repeated[0]} twice" if repeated else f"{min(positions)} to {max(positions)}"
        expected = f"each position from 0 to {len(positions) - 1} once"
        findings.append(_order(name, expected, found))
        return {}
    odd = [stem for stem in stems if not stem.isdecimal() or len(stem) > 9]
    numbers = {int(stem): stem for stem in stems if stem not in odd}
    if odd or len(numbers) < len(stems):
        found = f"{odd[0]!r}" if odd else f"{len(stems)} names of {len(numbers)} numbers"
        findings.append(_order(name, "file names that are numbers of their own", found))
        return {}
    if len(stems) != len(positions):
        findings.append(_order(name, f"{len(positions)} images, as the lists count", str(len(stems))))
        return {}
    ordered = [numbers[number] for number in sorted(numbers)]
    return {ordered[position]: part for part, listed in lists.items() for position in listed}


def _order(name: str, expected: str, found: str) -> Finding:
    remedy = "fetch the set again, or set datasets.tn3k.fold: null and split.protocol: clean"
    return Finding("order", "", name, expected, found, remedy)


def read_classes(
    root: Path, path: Path, files: Sequence[Path], images: dict[str, Path], findings: list[Finding]
) -> dict[str, str]:
    """Image name -> class from the optional table; a warning for each line that names no image or no class."""
    if path not in files:
        return {}
    found: dict[str, str] = {}
    for line in filter(str.strip, (read_text(root, path, findings) or "").splitlines()):
        name, _, label = (part.strip() for part in line.rpartition(","))
        stem = stem_of(name)
        if stem is None:
            findings.append(outside(path.name, name))
        elif stem not in images or label not in CLASSES:
            expected, remedy = "an image and 0 or 1", "the line is not read; correct it"
            findings.append(Finding("table", stem, path.name, expected, repr(line[:80]), remedy))
        elif found.setdefault(stem, CLASSES[label]) != CLASSES[label]:
            findings.append(Finding("layout", stem, path.name, "one class per image", "two", "correct the table"))
    for stem in sorted(set(images) - set(found)):
        findings.append(Finding("table", stem, path.name, f"a line for {stem}", "none", "its class is `none`"))
    return found
