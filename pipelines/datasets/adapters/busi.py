"""BUSI (Al-Dhabyani et al., Data in Brief 28:104863, 2020) as published: class folders, masks beside the images.

`Dataset_BUSI_with_GT/{benign,malignant,normal}/benign (1).png`, `benign (1)_mask.png`, `benign (4)_mask_1.png`; the
outer folder may be missing, and a class folder may be split into `images/` and `mask/` as some mirrors do.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.files import by_stem, list_images, relative, unread
from pipelines.runtime.errors import DataError

FOLDER = "Dataset_BUSI_with_GT"
CLASSES = ("benign", "malignant", "normal")
MASK = re.compile(r"^(?P<case>.+?)_mask(_(?P<number>\d+))?$")
EXPECTED = {"benign": 437, "malignant": 210, "normal": 133}
REDUCED = 352  # the published images are up to 1048 pixels wide: a set without a longer side is a reduced copy


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Read the published layout. settings.classes names the folders to read; `work` and `count` are not used here."""
    left_out = tuple(name for name in CLASSES if name not in settings.classes)
    dataset = read_layout(root, tuple(settings.classes), name="busi", left_out=left_out)
    return replace(dataset, expected={name: EXPECTED[name] for name in dataset.classes}, reduced_below=REDUCED)


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
    files = list_images(root)
    present = {path.relative_to(root).parts[-2].lower() for path in files if len(path.relative_to(root).parts) > 1}
    base = root / FOLDER if (root / FOLDER).is_dir() else root
    missing = [name for name in classes if not (base / name).is_dir()]
    if missing:
        raise DataError(
            f"{root.name}: expected the folders {', '.join(classes)} (in {FOLDER} or at the top), missing "
            f"{', '.join(missing)}, found {', '.join(sorted(present)) or 'no images'}; copy the published folder there"
        )
    cases: list[Case] = []
    expected = [base / class_name for class_name in (*classes, *left_out)]
    findings = unread(root, files, [path for path in files if any(path.is_relative_to(folder) for folder in expected)])
    for class_name in classes:
        inside = [path for path in files if path.is_relative_to(base / class_name)]
        named = [path for path in inside if MASK.match(path.stem)]
        # `images/x.png` and `mask/x.png`: there the folder, not the name, says what is a mask
        mask_files = named or [path for path in inside if path.parent.name.lower() in ("mask", "masks")]
        taken = set(mask_files)
        images = by_stem(root, [path for path in inside if path not in taken], findings)
        masks: dict[str, list[tuple[int, Path]]] = {}
        for stem, path in by_stem(root, mask_files, findings).items():
            match = MASK.match(stem)
            case, number = (match["case"], int(match["number"] or 0)) if match else (stem, 0)
            masks.setdefault(case, []).append((number, path))
        for orphan in sorted(set(masks) - set(images)):
            where = relative(masks[orphan][0][1], root)
            remedy = "add the image or remove the mask"
            findings.append(Finding("mask without image", orphan, where, f"{orphan}.png beside it", "none", remedy))
        for case, image in images.items():
            own = tuple(path for _, path in sorted(masks.get(case, [])))
            if not own:
                remedy = "add the mask or remove the image"
                findings.append(
                    Finding("missing mask", case, relative(image, root), f"{case}_mask.png", "none", remedy)
                )
            identity = (identities or {}).get(case, "")
            cases.append(Case(case, image, own, class_name, lesion=class_name != "normal", identity=identity))
    return Dataset(
        name=name,
        adapter="busi",
        cases=tuple(sorted(cases, key=lambda case: case.case)),
        classes=classes,
        foreground=("lesion",),
        terms="no clear license: research use, do not redistribute",
        citation="Al-Dhabyani et al., Data in Brief 28:104863, 2020; Pawlowska et al., Data in Brief 48:109247, 2023",
        findings=tuple(findings),
    )
