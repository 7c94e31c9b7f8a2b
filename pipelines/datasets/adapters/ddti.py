"""DDTI (Pedraza et al., An open access thyroid ultrasound image database, 2015) in the three layouts that circulate.

outlines:      `1.xml`, `1_1.jpg`, `1_2.jpg`: experts' polygons as JSON in XML, several images per case
preprocessed:  `2_preprocessed_data/stage1/{p_image,p_mask}/1.PNG` (upper case; a zip inside a zip)
pairs:         `DDTI/{image,mask}/1.png`

The outer folders may be missing. Packs of crops, one per nodule, stretched to a square, are an easier, centered task:
they are recognized and not read under this name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.files import by_stem, contents, images_of, list_files, name_of, pair_up, relative, unread
from pipelines.datasets.images import FORMATS
from pipelines.datasets.xml_outlines import Outlines, read_outlines

FOLDERS = {"preprocessed": ("p_image", "p_mask"), "pairs": ("image", "mask")}
CROP_FOLDERS = ("images", "masks")
CROP_NAME = re.compile(r"^(ddti_)?\d+_\d+(_p\d+|\(\d+\))$")
CROP_SIDES = (256, 300)
CASE_NAME = re.compile(r"^(?P<case>\d{1,9})_(?P<image>\d{1,9})$")
TERMS = "called open access by its authors, no license text found: research use, do not redistribute"
CITATION = "Pedraza et al., An open access thyroid ultrasound image database, 2015"


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Cases by file name, patient = case number N of `N_k` (unknown where the names are single numbers). No argument
    but `root` is used; which layout was found is kept in the dataset's `layout`.
    """
    findings: list[Finding] = []
    files = list_files(root, findings)
    found = find_layouts(root, files)
    layout, cases = "", []
    if len(found) != 1:
        expected = "N.xml beside N_k.jpg, or p_image/ and p_mask/, or image/ and mask/"
        several = " and ".join(f"{name} in {relative(base, root)}/" for name, base in found)
        packed = next((path for path in files if path.suffix.lower() == ".zip"), None)
        remedy = f"unpack {relative(packed, root)}" if packed and not found else "copy one of these layouts there"
        findings.append(Finding("layout", "", "", expected, several or contents(root, files), remedy))
    elif is_crop_pack(root, files, *found[0]):
        expected, what = "whole frames of DDTI", "a pack of square crops, one per nodule: an easier, centered task"
        remedy = "read it under a name of its own with `adapter: folder`"
        findings.append(Finding("layout", "", "", expected, what, remedy))
    else:
        layout, base = found[0]
        reader = read_outlined if layout == "outlines" else read_paired
        cases = reader(root, base, files, layout, findings)
    return Dataset(
        name="ddti",
        adapter="ddti",
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        classes=("none",),
        foreground=("nodule",),
        terms=TERMS,
        citation=CITATION,
        layout=layout,
        findings=tuple(findings),
    )


def find_layouts(root: Path, files: Sequence[Path]) -> list[tuple[str, Path]]:
    """(name, folder) of each layout that is there."""
    folders = {path.parent for path in images_of(files)}
    found = [("outlines", base) for base in sorted({path.parent for path in files if path.suffix.lower() == ".xml"})]
    for name, (image, mask) in {**FOLDERS, "crops": CROP_FOLDERS}.items():
        found += [
            (name, folder.parent)
            for folder in sorted(folders)
            if folder.name == image and folder.parent / mask in folders
        ]
    return found


def is_crop_pack(root: Path, files: Sequence[Path], layout: str, base: Path) -> bool:
    """Whether names tell of single nodules, or all frames are equal squares of a side that only such packs have."""
    if layout == "outlines":
        return False
    folder = CROP_FOLDERS[0] if layout == "crops" else FOLDERS[layout][0]
    images = [path for path in images_of(files) if path.parent == base / folder]
    if layout == "crops" or any(CROP_NAME.match(path.stem) for path in images):
        return True
    sizes = {header_size(path) for path in images}
    return sizes <= {(side, side) for side in CROP_SIDES} and len(sizes) == 1


def header_size(path: Path) -> tuple[int, int] | None:
    """(width, height) from the header, nothing decoded; None where that is no image, which `prepare` will say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def read_paired(root: Path, base: Path, files: Sequence[Path], layout: str, findings: list[Finding]) -> list[Case]:
    """Layouts with mask files of the image's name."""
    image, mask = (base / name for name in FOLDERS[layout])
    image_files = [path for path in images_of(files) if path.parent == image]
    mask_files = [path for path in images_of(files) if path.parent == mask]
    findings += unread(root, files, [*image_files, *mask_files])
    images, masks = by_stem(root, image_files, findings), by_stem(root, mask_files, findings, mask_of=str)
    pairs = pair_up(root, images, masks, f"{mask.name}/{{}}", findings)
    return [Case(stem, images[stem], own, "none", identity=identity_of(stem)) for stem, own in pairs.items()]


def read_outlined(root: Path, base: Path, files: Sequence[Path], layout: str, findings: list[Finding]) -> list[Case]:
    """`N.xml` with outlines of the nodules in `N_k.jpg`; an image without an outline lacks its mask."""
    image_files = [path for path in images_of(files) if path.parent == base and CASE_NAME.match(name_of(path))]
    findings += unread(root, files, image_files)
    images = by_stem(root, image_files, findings)
    outlines: Outlines = {}
    for path in files:
        if path.suffix.lower() == ".xml":
            for name, polygons in read_outlines(root, path, findings).items():
                outlines[name] = outlines.get(name, ()) + polygons
    for name in sorted(set(outlines) - set(images)):
        where, remedy = f"{name.partition('_')[0]}.xml", "add the image or ignore its outline"
        findings.append(Finding("mask without image", name, where, f"an image {name}.jpg", "none", remedy))
    for name in sorted(set(images) - set(outlines)):
        expected, where = f"an outline in {name.partition('_')[0]}.xml", relative(images[name], root)
        remedy = "add one, or leave such images out with prepare.policy {missing mask: exclude}"
        findings.append(Finding("missing mask", name, where, expected, "none", remedy))
    return [
        Case(name, images[name], (), "none", identity=identity_of(name), polygons=outlines.get(name, ()))
        for name in sorted(images)
    ]


def identity_of(stem: str) -> str:
    """The patient of `N_k`; "" for a single number, which counts images."""
    match = CASE_NAME.match(stem)
    return f"case-{int(match['case']):04d}" if match else ""
