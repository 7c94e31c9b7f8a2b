"""Your own data in one of several plain layouts, recognized by the folders that are there (see docs/datasets.md).

pairs:      images/*, masks/* (or labels/, gt/), by file name, or that plus _mask, _gt, _seg
lists:      the same with train.txt, val.txt, test.txt: they say what is read, and become the owner's parts
classes:    images/ID.png, masks/0/ID.png, masks/1/ID.png, ...: one folder per foreground class, or named as these are
sidecar:    benign/X.png, benign/X_mask.png, benign/X_mask_1.png in one folder per class, names free
unlabeled:  images/* alone, or class folders without masks: for `unlabeled:` in params.yaml

An optional groups.csv names patients, classes, sites and spacing (see pipelines/datasets/groups.py). A class called
`normal` is free of lesions.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.adapters.busi import read_class
from pipelines.datasets.case import PARTS, Case, Dataset, Finding
from pipelines.datasets.files import by_stem, contents, images_of, list_files, relative, renamed, unread
from pipelines.datasets.groups import NAME as GROUPS
from pipelines.datasets.groups import tables_of, with_groups
from pipelines.datasets.mask_folders import (
    choose_masks,
    class_fault,
    image_of,
    named_folders,
    no_masks,
    several_classes,
)
from pipelines.datasets.tables import outside, read_text, stem_of

IMAGE_FOLDERS = ("images", "image")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "gt")
TEXTS = (".csv", ".tsv", ".txt", ".xls", ".xlsx", ".ods")
OF_CASES = ("missing mask", "ambiguous mask")  # of an image that is not read they do not matter
LISTS = {f"{part}.txt": part for part in PARTS}
EXPECTED = "images/ and masks/, images/ alone, or one folder per class with X.png and X_mask.png"
TERMS = "unknown (own data): treated as not to be shared"
CITATION = "own data"


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Cases of whichever layout is there. settings.foreground: names of the foreground classes; settings.masks: binary
    (above 127) or labels (one file per image with the values 0 ... K).
    """
    findings: list[Finding] = []
    files = list_files(root, findings)
    images = images_of(files)
    tops = sorted({path.relative_to(root).parts[0] for path in images if path.parent != root})
    mask_tops = [top for top in tops if top.lower() in MASK_FOLDERS]
    image_tops = [top for top in tops if top.lower() in IMAGE_FOLDERS]
    layout = ""
    cases: list[Case] = []
    lists: list[Path] = []
    if len(image_tops) > 1:
        found, remedy = ", ".join(f"{top}/" for top in [*image_tops, *mask_tops]), "keep one of them"
        findings.append(Finding("layout", "", "", "one folder of images and one of masks", found, remedy))
    elif image_tops and not any(path.parent == root / image_tops[0] for path in images):
        findings.append(_nested(root, root / image_tops[0], images))
    elif image_tops:
        layout, cases = read_pairs(root, images, image_tops[0], mask_tops, settings, findings)
        lists = [path for path in files if path.parent == root and path.name.lower() in LISTS]
        if lists:
            layout, cases = with_lists(root, lists, layout, cases, (image_tops[0], *mask_tops[:1]), findings)
    elif mask_tops or not any(path.parent.parent == root for path in images):
        findings.append(Finding("layout", "", "", EXPECTED, contents(root, files), _remedy(root, images)))
    else:
        layout, cases = read_sidecar(root, images, settings, findings)
    if cases:
        findings += _unread_texts(root, files, lists)
    cases = with_groups(root, files, cases, findings)
    return Dataset(
        name="folder",
        adapter="folder",
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        classes=tuple(sorted({case.class_name for case in cases})),
        foreground=tuple(settings.foreground),
        terms=TERMS,
        citation=CITATION,
        layout=layout,
        findings=tuple(findings),
    )


def _nested(root: Path, folder: Path, images: Sequence[Path]) -> Finding:
    """What is wrong with a folder of images whose files all lie deeper."""
    place = relative(folder, root)
    counts = Counter(path.relative_to(folder).parts[0] for path in images if path.is_relative_to(folder))
    found = ", ".join(f"{place}/{name}/ ({count})" for name, count in sorted(counts.items())[:3])
    more = f" and {len(counts) - 3} more" if len(counts) > 3 else ""
    if {_part(name) for name in counts} <= set(PARTS):
        told = "write their names into train.txt, val.txt and test.txt"
    else:
        told = f"if these are patients, put them into column group of {GROUPS}"
    remedy = f"move the files up under names of their own, masks likewise; {told}"
    return Finding("layout", "", f"{place}/", f"images directly in {place}/", f"{found}{more}", remedy)


def _remedy(root: Path, images: Sequence[Path]) -> str:
    """What to do about folders of images that lie one level too deep."""
    deeper = sorted({path.parent.parent for path in images if path.parent.name.lower() in IMAGE_FOLDERS} - {root})
    if not deeper:
        return "see docs/datasets.md"
    if len(deeper) == 1 and _part(deeper[0].name) not in PARTS:
        return f"move the content of {relative(deeper[0], root)}/ up"
    gather = "put them in one images/ and one masks/ under names of their own"
    if {_part(folder.name) for folder in deeper} <= set(PARTS):
        return f"{gather} and write these into train.txt, val.txt and test.txt"
    return f"{gather}; what the folders tell (patient, site) goes into {GROUPS}"


def _part(name: str) -> str:
    """train, val or test by one of its usual names, else the name in lower case."""
    usual = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
    return usual.get(name.lower(), name.lower())


def _unread_texts(root: Path, files: Sequence[Path], lists: Sequence[Path]) -> list[Finding]:
    """A warning for each table and text that is neither a list nor groups.csv, as it may be meant for one."""
    known = {*lists, *tables_of(files)}
    expected, remedy = f"{', '.join(LISTS)} beside images/, or {GROUPS}", "not read; rename, move or remove it"
    return [
        Finding("unread", "", relative(path, root), expected, "another table or text", remedy)
        for path in files
        if path.suffix.lower() in TEXTS and path not in known
    ]


def read_pairs(
    root: Path, files: Sequence[Path], image_top: str, mask_tops: Sequence[str], settings: Any, findings: list[Finding]
) -> tuple[str, list[Case]]:
    """(layout, cases) of images/ with or without a folder of masks. files: image files alone.

    Where the masks cannot be understood the images are there all the same, without masks: as unlabeled they will do.
    """
    image_files = [path for path in files if path.parent == root / image_top]
    images = by_stem(root, image_files, findings)
    if not mask_tops:
        findings += [*unread(root, files, image_files), *no_masks(image_top)]
        return "unlabeled", [Case(stem, image, (), "none") for stem, image in sorted(images.items())]
    folder = root / mask_tops[0]
    flat = [path for path in files if path.parent == folder]
    below = {path.parent.name for path in files if path.parent.parent == folder}
    inner = sorted((name for name in below if name.isdecimal()), key=int) or named_folders(below, settings.foreground)
    sources = [folder / name for name in inner] or [folder]
    where, fault = f"{relative(folder, root)}/", class_fault(flat, inner, settings)
    if len(mask_tops) > 1:
        where, found = "", ", ".join(f"{top}/" for top in [image_top, *mask_tops])
        fault = "one folder of images and one of masks", found, "keep one of them"
    if fault:
        findings.append(Finding("ambiguous mask", "", where, *fault))
        masks = [path for path in files if path.relative_to(root).parts[0] in mask_tops]
        findings += unread(root, files, [*image_files, *masks])
        return "unlabeled", [Case(stem, image, (), "none") for stem, image in sorted(images.items())]
    mask_files = [[path for path in files if path.parent == source] for source in sources]
    per_class = [by_stem(root, inside, findings, mask_of=lambda stem: image_of(stem, images)) for inside in mask_files]
    findings += unread(root, files, [*image_files, *(path for inside in mask_files for path in inside)])
    chosen = [
        choose_masks(root, images, masks, relative(source, root), findings)
        for source, masks in zip(sources, per_class, strict=True)
    ]
    classes = tuple(range(1, len(sources) + 1)) if inner else ()
    cases = [
        Case(
            stem,
            image,
            tuple(own[stem] for own in chosen if stem in own),
            "none",
            mask_classes=tuple(index for index, own in zip(classes, chosen, strict=False) if stem in own),
            label_map=settings.masks == "labels" and stem in chosen[0],
        )
        for stem, image in sorted(images.items())
    ]
    return "classes" if inner else "pairs", cases


def with_lists(
    root: Path, lists: Sequence[Path], layout: str, cases: list[Case], folders: Sequence[str], findings: list[Finding]
) -> tuple[str, list[Case]]:
    """The owner's parts from train.txt, val.txt, test.txt, those that are there: the lists decide what is read.

    Reported: an image in no list (left out, whether or not it has a mask), a name without an image, in two lists, or
    that leads out of the folder.
    """
    known = {case.case for case in cases}
    parts: dict[str, str] = {}
    lists = sorted(lists, key=lambda path: (PARTS.index(LISTS[path.name.lower()]), path.name))
    for path in lists:
        part = LISTS[path.name.lower()]
        for line in filter(str.strip, (read_text(root, path, findings) or "").splitlines()):
            stem = stem_of(line, folders)
            if stem is None:
                findings.append(outside(path.name, line))
            elif stem not in known:
                remedy = "add the image or remove the line"
                findings.append(Finding("table", stem, path.name, "names of images", f"{stem}, no image", remedy))
            elif parts.setdefault(stem, part) != part:
                found = f"{stem} also in the list of {parts[stem]}"
                findings.append(Finding("layout", stem, path.name, "one list per image", found, "keep one of them"))
    names = ", ".join(path.name for path in lists)
    findings[:] = [item for item in findings if item.check not in OF_CASES or item.case not in known - set(parts)]
    for case in cases:
        if case.case not in parts:
            expected, remedy = f"a name in {names}", "left out; add it to a list"
            findings.append(Finding("unread", case.case, relative(case.image, root), expected, "in none", remedy))
    return f"{layout} with lists", [
        replace(case, official_part=parts[case.case]) for case in cases if case.case in parts
    ]


def read_sidecar(root: Path, files: Sequence[Path], settings: Any, findings: list[Finding]) -> tuple[str, list[Case]]:
    """(layout, cases) of class folders with X.png and X_mask.png. A case is named `<folder>-X`: X may recur."""
    tops = sorted({path.parent.name for path in files if path.parent.parent == root})
    read = [path for path in files if path.relative_to(root).parts[0] in tops and path.parent != root]
    findings += unread(root, files, read)
    found: list[Finding] = []
    triples: list[tuple[str, str, Path, tuple[Path, ...]]] = []
    for top in tops:
        own: list[Finding] = []
        inside = [path for path in read if path.is_relative_to(root / top)]
        class_name = unicodedata.normalize("NFC", top)
        triples += [(class_name, *triple) for triple in read_class(root, inside, own)]
        found += renamed(own, f"{class_name}-")
    if not any(masks for *_, masks in triples) and not any(item.check == "mask without image" for item in found):
        findings += [*(item for item in found if item.check != "missing mask"), *no_masks(", ".join(tops))]
        layout = "unlabeled"
    else:
        findings += found
        layout = "sidecar"
        fault = several_classes(list(settings.foreground), settings)
        if fault:
            findings.append(Finding("ambiguous mask", "", "", *fault))
            triples = [(top, stem, image, ()) for top, stem, image, _ in triples]
    cases = []
    for top, stem, image, masks in triples:
        name = f"{top}-{stem}"
        if settings.masks == "labels" and len(masks) > 1:
            several = " and ".join(path.name for path in masks)
            expected, remedy = "one label map per image, as `masks: labels` says", "keep one of them"
            findings.append(Finding("ambiguous mask", name, relative(image, root), expected, several, remedy))
            masks = ()
        lesion, label_map = top.lower() != "normal", settings.masks == "labels" and bool(masks)
        cases.append(Case(name, image, masks, top, lesion=lesion, label_map=label_map))
    return layout, cases
