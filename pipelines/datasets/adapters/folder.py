"""Your own data in one of several plain layouts, recognized by the folders that are there (see docs/datasets.md).

pairs:      images/*, masks/* (or labels/, gt/), by file name, or that plus _mask, _gt, _seg
lists:      the same with train.txt, val.txt, test.txt: they say what is read, and become the owner's parts
classes:    images/ID.png, masks/0/ID.png, masks/1/ID.png, ...: one folder per foreground class
sidecar:    benign/X.png, benign/X_mask.png, benign/X_mask_1.png in one folder per class, names free
unlabeled:  images/* alone, or class folders without masks: for `unlabeled:` in params.yaml

An optional groups.csv names patients, classes, sites and spacing (see pipelines/datasets/groups.py). A class called
`normal` is free of lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.adapters.busi import read_class
from pipelines.datasets.case import PARTS, Case, Dataset, Finding
from pipelines.datasets.files import by_stem, contents, images_of, list_files, relative, renamed, unread
from pipelines.datasets.groups import with_groups
from pipelines.datasets.tables import outside, read_text, stem_of

IMAGE_FOLDERS = ("images", "image")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "gt")
SUFFIXES = ("", "_mask", "_gt", "_seg")
EXPECTED = "images/ and masks/, images/ alone, or one folder per class with X.png and X_mask.png"


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
    if len(image_tops) > 1 or (image_tops and len(mask_tops) > 1):
        found, remedy = ", ".join(f"{top}/" for top in [*image_tops, *mask_tops]), "keep one of them"
        findings.append(Finding("layout", "", "", "one folder of images and one of masks", found, remedy))
    elif image_tops:
        layout, cases = read_pairs(root, images, image_tops[0], mask_tops[:1], settings, findings)
        if cases:
            layout, cases = with_lists(root, files, layout, cases, (image_tops[0], *mask_tops[:1]), findings)
    elif mask_tops or not any(path.parent.parent == root for path in images):
        deeper = sorted(path.parent.parent for path in images if path.parent.name.lower() in IMAGE_FOLDERS)
        remedy = f"move the content of {relative(deeper[0], root)}/ up" if deeper else "see docs/datasets.md"
        findings.append(Finding("layout", "", "", EXPECTED, contents(root, files), remedy))
    else:
        layout, cases = read_sidecar(root, images, settings, findings)
    cases = with_groups(root, files, cases, findings)
    return Dataset(
        name="folder",
        adapter="folder",
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        classes=tuple(sorted({case.class_name for case in cases})),
        foreground=tuple(settings.foreground),
        terms="unknown (own data): treated as not to be shared",
        citation="own data",
        layout=layout,
        findings=tuple(findings),
    )


def read_pairs(
    root: Path, files: Sequence[Path], image_top: str, mask_tops: Sequence[str], settings: Any, findings: list[Finding]
) -> tuple[str, list[Case]]:
    """(layout, cases) of images/ with or without a folder of masks. files: image files alone."""
    image_files = [path for path in files if path.parent == root / image_top]
    images = by_stem(root, image_files, findings)
    if not mask_tops:
        findings += [*unread(root, files, image_files), *_no_masks(image_top)]
        return "unlabeled", [Case(stem, image, (), "none") for stem, image in sorted(images.items())]
    folder = root / mask_tops[0]
    flat = [path for path in files if path.parent == folder]
    inner = {path.parent.name for path in files if path.parent.parent == folder and path.parent.name.isdecimal()}
    sources = [folder / name for name in sorted(inner, key=int)] or [folder]
    fault = _class_fault(flat, sorted(inner, key=int), settings)
    if fault:
        findings.append(Finding("layout", "", relative(folder, root) + "/", *fault))
        return "", []
    mask_files = [[path for path in files if path.parent == source] for source in sources]
    per_class = [by_stem(root, inside, findings) for inside in mask_files]
    findings += unread(root, files, [*image_files, *(path for inside in mask_files for path in inside)])
    found = [
        _choose(root, images, masks, relative(source, root), findings)
        for source, masks in zip(sources, per_class, strict=True)
    ]
    classes = tuple(range(1, len(sources) + 1)) if inner else ()
    cases = [
        Case(
            stem,
            image,
            tuple(masks[stem] for masks in found if stem in masks),
            "none",
            mask_classes=tuple(index for index, masks in zip(classes, found, strict=False) if stem in masks),
            label_map=settings.masks == "labels" and stem in found[0],
        )
        for stem, image in sorted(images.items())
    ]
    return "classes" if inner else "pairs", cases


def _no_masks(where: str) -> list[Finding]:
    expected, remedy = "a mask for each image", "add masks/, or list the set under `unlabeled:` in params.yaml"
    return [Finding("missing mask", "", f"{where}/", expected, "images alone", remedy)]


def _class_fault(flat: Sequence[Path], inner: Sequence[str], settings: Any) -> tuple[str, str, str] | None:
    """(expected, found, remedy) where the folders of masks contradict params."""
    names = list(settings.foreground)
    folders = ", ".join(f"{name}/" for name in inner)
    if flat and inner:
        return "masks in it or in folders 0, 1, ...", f"both: {flat[0].name} and {folders}", "keep one of the two"
    if not inner:
        return _several_classes(names, settings)
    if settings.masks == "labels":
        return "one label map per image, as `masks: labels` says", f"folders {folders}", "set `masks: binary`"
    first = int(inner[0])
    if first > 1 or [int(name) for name in inner] != list(range(first, first + len(inner))):
        return "folders 0, 1, ... without a gap", folders, "rename them"
    if len(inner) != len(names):
        remedy = "set `foreground` to one name per folder"
        return f"{len(names)} folders, one per name in `foreground` ({', '.join(names)})", folders, remedy
    return None


def _several_classes(names: Sequence[str], settings: Any) -> tuple[str, str, str] | None:
    if len(names) == 1 or settings.masks == "labels":
        return None
    expected = f"masks of {len(names)} classes, as `foreground` says"
    return (
        expected,
        "one binary mask per image",
        "set `masks: labels`, sort them into masks/0, masks/1, or name one class",
    )


def _choose(
    root: Path, images: dict[str, Path], masks: dict[str, Path], place: str, findings: list[Finding]
) -> dict[str, Path]:
    """Image name -> its mask among files that have its name or that and a suffix; findings for what does not fit."""
    chosen: dict[str, Path] = {}
    used: set[str] = set()
    for stem, image in sorted(images.items()):
        # a mask with the full name of another image is that one's
        names = [
            stem + suffix
            for suffix in SUFFIXES
            if stem + suffix in masks and (not suffix or stem + suffix not in images)
        ]
        used.update(names)
        expected = f"one mask in {place}/"
        if len(names) == 1:
            chosen[stem] = masks[names[0]]
        elif not names:
            where, remedy = relative(image, root), "add the mask or remove the image"
            findings.append(Finding("missing mask", stem, where, expected, "none", remedy))
        else:
            found = " and ".join(names)
            findings.append(Finding("ambiguous mask", stem, relative(image, root), expected, found, "keep one of them"))
    for stem in sorted(set(masks) - used):
        where, remedy = relative(masks[stem], root), "add the image or remove the mask"
        findings.append(Finding("mask without image", stem, where, "an image of that name in images/", "none", remedy))
    return chosen


def with_lists(
    root: Path, files: Sequence[Path], layout: str, cases: list[Case], folders: Sequence[str], findings: list[Finding]
) -> tuple[str, list[Case]]:
    """The owner's parts from train.txt, val.txt, test.txt, where there are any: the lists decide what is read.

    Reported: an image in no list (left out), a name without an image, in two lists, or that leads out of the folder.
    """
    lists = {part: root / f"{part}.txt" for part in PARTS if root / f"{part}.txt" in files}
    if not lists:
        return layout, cases
    known = {case.case for case in cases}
    parts: dict[str, str] = {}
    for part, path in lists.items():
        for line in filter(str.strip, (read_text(root, path, findings) or "").splitlines()):
            stem = stem_of(line, folders)
            if stem is None:
                findings.append(outside(path.name, line))
            elif stem not in known:
                remedy = "add the image or remove the line"
                findings.append(Finding("table", stem, path.name, "names of images", f"{stem}, no image", remedy))
            elif parts.setdefault(stem, part) != part:
                found = f"{stem} also in {parts[stem]}.txt"
                findings.append(Finding("layout", stem, path.name, "one list per image", found, "keep one of them"))
    names = ", ".join(path.name for path in lists.values())
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
        triples += [(top, *triple) for triple in read_class(root, inside, own)]
        found += renamed(own, f"{top}-")
    if not any(masks for *_, masks in triples) and not any(item.check == "mask without image" for item in found):
        findings += [*(item for item in found if item.check != "missing mask"), *_no_masks(", ".join(tops))]
        layout = "unlabeled"
    else:
        findings += found
        layout = "sidecar"
        fault = _several_classes(list(settings.foreground), settings)
        if fault:
            findings.append(Finding("layout", "", "", *fault))
            return "", []
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
