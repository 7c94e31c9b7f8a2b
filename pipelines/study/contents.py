"""What lies in files and folders, as one sha256 each: the part of a key that no parameter says.

Hidden names, Python's caches and half-written files do not count: nothing reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from pipelines.runtime.artifacts import canonical_json, read_json, sha256_file, write_json
from pipelines.runtime.errors import ArtifactError, DataError

IGNORED = (".*", "__pycache__", "*.partial")  # as patterns for shutil
Known = dict[str, list[int | str]]  # absolute path -> [size, time of change in ns, sha256]


def files_below(folder: Path) -> Iterator[Path]:
    """All files that count, sorted."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(fnmatchcase(part, pattern) for part in parts for pattern in IGNORED):
            yield path


def hash_files(path: Path) -> str:
    """sha256 of a file, or over names and contents of the files of a folder."""
    if path.is_file():
        return sha256_file(path)
    if not path.is_dir():
        raise DataError(f"{path}: expected a dependency that dvc.yaml names, found none")
    return _digest([[file.relative_to(path).as_posix(), sha256_file(file)] for file in files_below(path)])


def hash_raw(folder: Path, known: Known) -> str:
    """sha256 over names and contents of a raw dataset, wherever it lies.

    known: what was hashed before; a file of the same place, size and time of change is not read again. Added to.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected the dataset as published, or a link to it, found none (docs/datasets.md)")
    place = folder.resolve()
    listing = []
    for file in files_below(place):
        facts = file.stat()
        size, changed, digest = known.get(str(file), [-1, -1, ""])
        if (size, changed) != (facts.st_size, facts.st_mtime_ns):
            digest = sha256_file(file)
            known[str(file)] = [facts.st_size, facts.st_mtime_ns, digest]
        listing.append([file.relative_to(place).as_posix(), str(digest)])
    return _digest(listing)


def read_known(path: Path | None) -> Known:
    """What an earlier run hashed; nothing where it left no readable file."""
    if path is None or not path.is_file():
        return {}
    try:
        found: Known = read_json(path)
    except ArtifactError:
        return {}
    return found


def write_known(path: Path | None, known: Known) -> None:
    """Keep it for the next run, where there is a place for it."""
    if path is not None:
        write_json(path, known)


def _digest(listing: list[list[str]]) -> str:
    return hashlib.sha256(canonical_json(listing).encode()).hexdigest()
