"""Listing a raw dataset folder: sorted by name, the same on every file system, and never out of the folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.datasets.case import Finding
from pipelines.datasets.images import EXTENSIONS
from pipelines.runtime.errors import DataError


def list_files(root: Path) -> list[Path]:
    """All files below `root`, sorted by relative posix name; hidden names are left out.

    `root` itself may be a link. A link inside it must stay inside it: DataError names link and target, never read.
    """
    if not root.is_dir():
        raise DataError(f"{root}: expected the dataset's folder, found none; see docs/datasets.md for where to get it")
    real = root.resolve()
    found: list[Path] = []
    for folder, names, files in os.walk(root, followlinks=False):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in [*names, *files]:
            path = Path(folder) / name
            if path.is_symlink() and not path.resolve().is_relative_to(real):
                raise DataError(
                    f"{path.relative_to(root)}: a link to {path.readlink()}, outside the dataset's folder; it is not "
                    "followed: copy the file to its place"
                )
            if path.is_symlink() and path.is_dir():
                name = path.relative_to(root).as_posix()
                raise DataError(f"{name}: expected a folder, found a link to one; copy it to its place")
        found += [Path(folder) / name for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def list_images(root: Path) -> list[Path]:
    """The files of `list_files` with an image's extension, upper or lower case."""
    return [path for path in list_files(root) if path.suffix.lower() in EXTENSIONS]


def relative(path: Path, root: Path) -> str:
    """Name of a file inside the dataset, for messages: never a path of this machine."""
    return os.fspath(path.relative_to(root).as_posix())


def by_stem(root: Path, files: Iterable[Path], findings: list[Finding]) -> dict[str, Path]:
    """Name without ending -> file; an error is added to `findings` for each file whose name is already taken."""
    found: dict[str, Path] = {}
    for path in files:
        first = found.setdefault(path.stem, path)
        if first != path:
            clash = f"{relative(first, root)} of the same name"
            findings.append(
                Finding("name", path.stem, relative(path, root), "a name of its own", clash, "remove or rename one")
            )
    return found


def unread(root: Path, files: Sequence[Path], read: Iterable[Path]) -> list[Finding]:
    """A warning for each image file that no rule of the layout reads: none is left out in silence."""
    known = set(read)
    return [
        Finding(
            "unread", path.stem, relative(path, root), "a file of the layout", "one no rule reads", "move or remove it"
        )
        for path in files
        if path not in known
    ]


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a published CSV file; DataError when it does not decode or lacks a column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = [dict(row) for row in csv.DictReader(handle)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name}: expected a table in UTF-8, found damage ({error}); fetch it again") from None
    lacking = [name for name in columns if rows and name not in rows[0]]
    if lacking or not rows:
        raise DataError(f"{path.name}: expected rows with {', '.join(columns)}, missing {', '.join(lacking) or 'rows'}")
    ragged = next((number for number, row in enumerate(rows, 2) if None in row or None in row.values()), None)
    if ragged is not None:
        raise DataError(f"{path.name}: line {ragged} has another number of cells than the header; correct it")
    return rows
