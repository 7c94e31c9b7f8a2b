"""Miniatures of public datasets, written in their exact published layouts with their oddities; random pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom
LESION: Box = (30, 20, 60, 50)


def touch(root: Path, *names: str) -> None:
    """Empty files: enough where nothing is decoded."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def picture(path: Path, size: tuple[int, int] = (96, 80), mode: str = "L") -> None:
    """A speckled image of its own per path name; size: (width, height)."""
    rng = np.random.default_rng(sum(path.as_posix().encode()) + 1000 * len(path.name))
    coarse = rng.integers(30, 200, (size[1] // 8 + 1, size[0] // 8 + 1)).astype(np.uint8)
    _save(path, Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR).convert(mode))


def mask(path: Path, *boxes: Box, size: tuple[int, int] = (96, 80), mode: str = "1", value: int = 255) -> None:
    """`value` in each box, 0 elsewhere."""
    pixels = np.zeros((size[1], size[0]), np.uint8)
    for left, top, right, bottom in boxes:
        pixels[top:bottom, left:right] = value
    _save(path, Image.fromarray(pixels).convert(mode))


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        image.convert("L").save(path, format="JPEG", quality=80)
    else:
        image.save(path)


def busi(root: Path) -> None:
    """RGB images; masks in mode 1, RGB where empty, RGBA for a second one; names with a space and parentheses."""
    base = root / "Dataset_BUSI_with_GT"
    for class_name, numbers in (("benign", (1, 2, 10)), ("malignant", (1, 2)), ("normal", (1, 2))):
        for number in numbers:
            name = base / class_name / f"{class_name} ({number})"
            picture(name.with_name(f"{name.name}.png"), mode="RGB")
            boxes = () if class_name == "normal" else (LESION,)
            mask(name.with_name(f"{name.name}_mask.png"), *boxes, mode="RGB" if class_name == "normal" else "1")
    mask(base / "benign" / "benign (10)_mask_1.png", (70, 60, 90, 78), mode="RGBA")
    mask(base / "benign" / "benign (10)_mask_2.png", (2, 2, 12, 12))


BUS_BRA = (  # ID, Case, Pathology, Device, kFold, valid_1 ... valid_5
    ("bus_0001-l", 1, "malignant", "GE Logiq 7 @10-14MHz", 3, ("1", "1", "NaN", "1", "0")),
    ("bus_0001-r", 1, "malignant", "GE Logiq 7 @10-14MHz", 3, ("1", "1", "NaN", "1", "0")),
    ("bus_0002-l", 2, "benign", "Toshiba Aplio 300 @12-14 MHz", 2, ("0", "NaN", "0", "1", "1")),
    ("bus_0003-s", 3, "benign", "U-Systems @10-14MHz", 4, ("1", "1", "0", "NaN", "1")),
    ("bus_0004-l", 4, "malignant", "GE Logiq 5 @10-12MHz", 2, ("1", "NaN", "0", "0", "1")),
    ("bus_0004-r", 4, "malignant", "GE Logiq 5 @10-12MHz", 2, ("1", "NaN", "1", "0", "1")),
)


def bus_bra(root: Path) -> None:
    """Six images of four patients in folds 2, 3 and 4. As in places of the published tables, the size of bus_0004-l is
    wrong, and patient 4 lies in train and validation when fold 3 is the test fold.
    """
    base = root / "BUSBRA"
    facts = ["ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX"]
    folds = ["ID,Pathology,kFold,valid_1,valid_2,valid_3,valid_4,valid_5"]
    for name, case, class_name, device, fold, valid in BUS_BRA:
        picture(base / "Images" / f"{name}.png")
        mask(base / "Masks" / f"{name.replace('bus', 'mask', 1)}.png", LESION)
        width = 97 if name == "bus_0004-l" else 96
        facts.append(f'{name},{case},x,{class_name},4,{device},{width},80,left,"[30,20,30,30]"')
        folds.append(f"{name},{class_name},{fold},{','.join(valid)}")
    (base / "bus_data.csv").write_text("\n".join([*facts, ""]), encoding="utf-8")
    (base / "5-fold-cv.csv").write_text("\n".join([*folds, ""]), encoding="utf-8")
    (base / "LICENSE.txt").write_text("terms")


def stu(root: Path, numbers: Sequence[int] = (1, 2, 10)) -> None:
    """Images of 128 x 128; masks of 420, 512 and 128 pixels a side with gray levels; numbers without padding."""
    for number, side in zip(numbers, (420, 512, 128), strict=False):
        picture(root / "Hospital" / f"Test_Image_{number}.png", (128, 128))
        quarter = side // 4
        box = (quarter, quarter, 3 * quarter, 2 * quarter)
        mask(root / "Hospital" / f"mask_{number}.png", box, size=(side, side), mode="L", value=250)


def udiat(root: Path, names: Sequence[str] = ("000001", "000002", "000010")) -> None:
    """original/ and GT/ with the same names."""
    for name in names:
        picture(root / "BUS" / "original" / f"{name}.png")
        mask(root / "BUS" / "GT" / f"{name}.png", LESION, mode="L")


def tn3k(root: Path, wrapper: str = "Thyroid Dataset/tn3k") -> None:
    """JPEG images and masks; stems 0, 2, 3, 7, 10 of trainval, so that positions are not file numbers; two of test."""
    base = root / wrapper
    for half, numbers in (("trainval", (0, 2, 3, 7, 10)), ("test", (0, 1))):
        for number in numbers:
            picture(base / f"{half}-image" / f"{number:04d}.jpg")
            mask(base / f"{half}-mask" / f"{number:04d}.jpg", LESION)
    for fold in range(5):
        val = [fold]
        lists = {"train": [position for position in (4, 0, 3, 1, 2) if position not in val], "val": val}
        (base / f"tn3k-trainval-fold{fold}.json").write_text(json.dumps(lists))


def ddti_xml(number: int, marks: dict[int, Sequence[Sequence[tuple[int, int]]]]) -> str:
    """One published XML file: image number -> outlines."""
    text = ""
    for image, outlines in marks.items():
        regions = [
            {"points": [{"x": x, "y": y} for x, y in points], "annotation": {}, "regionType": "freehand"}
            for points in outlines
        ]
        text += f"<mark><image>{image}</image><svg>{json.dumps(regions) if regions else ''}</svg></mark>"
    head = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'
    return f"{head}\n<case><number>{number}</number><age>50</age><sex>F</sex><tirads>4a</tirads>{text}</case>\n"


SQUARE = ((30, 20), (60, 20), (60, 50), (30, 50))


def ddti_outlines(root: Path) -> None:
    """Layout a: two images of case 1, the second with two nodules, one of case 12 and one without an outline."""
    for name in ("1_1", "1_2", "12_1", "12_2"):
        picture(root / f"{name}.jpg")
    second = ((70, 60), (90, 60), (80, 75))
    (root / "1.xml").write_text(ddti_xml(1, {1: [SQUARE], 2: [SQUARE, second]}))
    (root / "12.xml").write_text(ddti_xml(12, {1: [SQUARE], 2: []}))


def ddti_preprocessed(root: Path) -> None:
    """Layout b: upper-case endings."""
    for number in (1, 2, 10):
        picture(root / "2_preprocessed_data" / "stage1" / "p_image" / f"{number}.PNG")
        mask(root / "2_preprocessed_data" / "stage1" / "p_mask" / f"{number}.PNG", LESION, mode="L")


def ddti_pairs(root: Path) -> None:
    """Layout c."""
    for number in (1, 2, 10):
        picture(root / "DDTI" / "image" / f"{number}.png")
        mask(root / "DDTI" / "mask" / f"{number}.png", LESION, mode="L")


def breast(root: Path) -> None:
    """BrEaST: a benign lesion, two malignant ones beside a cyst, a normal scan without a mask; the table as CSV."""
    base = root / "BrEaST-Lesions_USG-images_and_masks"
    for number in (1, 2, 3):
        picture(base / f"case{number:03d}.png", mode="RGBA")
    mask(base / "case001_tumor.png", LESION, mode="RGB")
    mask(base / "case002_tumor1.png", LESION, mode="RGB")
    mask(base / "case002_tumor2.png", (2, 2, 12, 12), mode="RGB")
    mask(base / "case002_other1.png", (70, 60, 90, 78), mode="RGB")
    (root / "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx").write_bytes(b"a spreadsheet")
    rows = ["1,case001.png,benign", "2,case002.png,malignant", "3,case003.png,normal"]
    (root / "clinical.csv").write_text("\n".join(["CaseID,Image_filename,Classification", *rows, ""]))
