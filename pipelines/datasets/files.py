"""Listing a raw dataset folder: sorted by name, the same on every file system, and never out of the folder."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.datasets.case import Finding
from pipelines.datasets.images import EXTENSIONS
from pipelines.datasets.integrity import printable
from pipelines.runtime.errors import DataError

SHOWN = 6  # names in a message
OTHER_FORMATS = (  # of images that no adapter reads
    *(".gif", ".webp", ".jfif", ".jpe", ".jp2", ".j2k", ".heic", ".avif", ".pgm", ".ppm", ".dcm", ".dicom", ".ima"),
    *(".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".npy", ".npz", ".mat"),
)


def list_files(root: Path, findings: list[Finding]) -> list[Path]:
    """All files below `root`, sorted by relative posix name; hidden names are left out.

    `root` itself may be a link. A link inside it is read if it leads to a file inside it; each other one, and what is
    no plain file or cannot be listed, is added to `findings` and left alone. Images in a format that is not read are a
    warning per folder and ending. DataError: `root` is no folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: expected the dataset's folder, found none; see docs/datasets.md for where to get it")
    real = root.resolve()
    found: list[Path] = []

    def refused(error: OSError) -> None:
        where = relative(Path(error.filename), root)
        findings.append(
            Finding("unreadable", "", where, "a folder that may be read", str(error.strerror), "change its mode")
        )

    for folder, names, files in os.walk(root, followlinks=False, onerror=refused):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in [*names, *sorted(name for name in files if not name.startswith("."))]:
            path = Path(folder) / name
            fault = _link_fault(path, real) if path.is_symlink() else None
            if fault:
                findings.append(
                    Finding(
                        "link", name_of(path), relative(path, root), "a file of its own", fault, "copy it to its place"
                    )
                )
            elif path.is_file():
                found.append(path)
            elif not path.is_dir():
                kind = "a pipe, socket or device"
                findings.append(
                    Finding(
                        "unreadable", name_of(path), relative(path, root), "a file", kind, "remove it from the folder"
                    )
                )
    found.sort(key=lambda path: path.relative_to(root).as_posix())
    findings += other_formats(root, found)
    return found


def other_formats(root: Path, files: Iterable[Path]) -> list[Finding]:
    """A warning for each folder and ending of images that are not read, with their number."""
    counts: Counter[tuple[Path, str]] = Counter()
    for path in files:
        ending = next((ending for ending in OTHER_FORMATS if path.name.lower().endswith(ending)), "")
        if ending:
            counts[path.parent, ending] += 1
    expected, remedy = "PNG, JPEG, BMP or TIFF", "not read; convert them to PNG, or remove them"
    return [
        Finding(
            "unread",
            "",
            "" if folder == root else f"{relative(folder, root)}/",
            expected,
            f"{count} file{'s' if count > 1 else ''} ending in {ending}",
            remedy,
        )
        for (folder, ending), count in sorted(counts.items())
    ]


def _link_fault(path: Path, real: Path) -> str | None:
    try:
        target = path.resolve()
    except (OSError, RuntimeError):  # links that lead to each other
        return "a link in a circle"
    if not target.is_relative_to(real):
        return "a link out of the dataset's folder, not followed"
    if target.is_dir():
        return "a link to a folder, not followed"
    return None if target.is_file() else "a link to nothing"


def images_of(files: Iterable[Path]) -> list[Path]:
    """The files with an image's ending, upper or lower case."""
    return [path for path in files if path.suffix.lower() in EXTENSIONS]


def relative(path: Path, root: Path) -> str:
    """Name of a file inside the dataset, for messages: never a path of this machine, always printable."""
    return printable(path.relative_to(root).as_posix())


def name_of(path: Path) -> str:
    """The name without its ending, in the composed Unicode form, whichever one the file system keeps."""
    return unicodedata.normalize("NFC", path.stem)


def find_base(
    root: Path, files: Sequence[Path], wrappers: Sequence[str], signs: Sequence[str], findings: list[Finding]
) -> Path | None:
    """The folder that holds the layout: the first of `wrappers` ("" is `root`) in which all `signs` lie.

    signs: names of folders or files. None, and a finding that says what is there instead, when none does.
    """
    known = {root}
    for path in files:
        while path not in known:
            known.add(path)
            path = path.parent
    for wrapper in wrappers:
        if all(root / wrapper / sign in known for sign in signs):
            return root / wrapper
    expected = ", ".join(signs) + " in " + " or ".join(wrapper or "the top folder" for wrapper in wrappers)
    elsewhere = sorted(folder for folder in known if all(folder / sign in known for sign in signs))
    if elsewhere:
        found, remedy = f"them in {relative(elsewhere[0], root)}/", "move that folder's content up"
    else:
        found, remedy = contents(root, files), "copy the published folder there (see docs/datasets.md)"
    findings.append(Finding("layout", "", "", expected, found, remedy))
    return None


def contents(root: Path, files: Sequence[Path]) -> str:
    """What lies at the top of a folder, in words: `images/ (12 files), notes.txt`."""
    parts = [path.relative_to(root).parts for path in files]
    folders = {names[0] for names in parts if len(names) > 1}
    named = []
    for top, count in sorted(Counter(names[0] for names in parts).items()):
        shown = relative(root / top, root)
        named.append(f"{shown}/ ({count} file{'s' if count > 1 else ''})" if top in folders else shown)
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return ", ".join(named[:SHOWN]) + more if named else "no files"


def by_stem(
    root: Path, files: Iterable[Path], findings: list[Finding], *, mask_of: Callable[[str], str] | None = None
) -> dict[str, Path]:
    """Name without ending -> file; an error is added to `findings` for each file whose name is already taken.

    mask_of: for masks, name -> case; the error is then about masks alone and names that case.
    """
    found: dict[str, Path] = {}
    for path in files:
        first = found.setdefault(name_of(path), path)
        if first != path:
            clash = f"{relative(first, root)} of the same name"
            check, case = ("ambiguous mask", mask_of(name_of(path))) if mask_of else ("name", name_of(path))
            where, remedy = relative(path, root), "remove or rename one"
            findings.append(Finding(check, case, where, "a name of its own", clash, remedy))
    return found


def pair_up(
    root: Path, images: dict[str, Path], masks: dict[str, Path], place: str, findings: list[Finding]
) -> dict[str, tuple[Path, ...]]:
    """Image name -> its mask, for layouts in which both have the same name; findings for what is left over.

    place: where the mask is expected, with `{}` for the name.
    """
    for stem in sorted(set(images) - set(masks)):
        missing, remedy = place.format(stem), "add the mask or remove the image"
        findings.append(Finding("missing mask", stem, relative(images[stem], root), missing, "none", remedy))
    for stem in sorted(set(masks) - set(images)):
        where, remedy = relative(masks[stem], root), "add the image or remove the mask"
        findings.append(Finding("mask without image", stem, where, f"an image {stem}", "none", remedy))
    return {stem: (masks[stem],) if stem in masks else () for stem in sorted(images)}


def renamed(findings: Iterable[Finding], prefix: str) -> list[Finding]:
    """The findings with their cases' names prefixed, where the adapter names cases by more than their file."""
    return [replace(item, case=prefix + item.case) if item.case else item for item in findings]


def unread(root: Path, files: Sequence[Path], read: Iterable[Path]) -> list[Finding]:
    """A warning for each image file that no rule of the layout reads: none is left out in silence."""
    known = set(read)
    return [
        Finding(
            "unread",
            name_of(path),
            relative(path, root),
            "a file of the layout",
            "one no rule reads",
            "move or remove it",
        )
        for path in images_of(files)
        if path not in known
    ]


def check_total(name: str, expected: int, found: int) -> list[Finding]:
    """A warning when a set is not whole: a subset may be used, and is named."""
    if found in (0, expected):
        return []
    return [Finding("count", "", "", f"{expected} {name} as published", str(found), "see if some lack")]
