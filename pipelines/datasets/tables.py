"""Tables and lists that owners publish beside their images: damage becomes a finding, and no name leads out."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from pipelines.datasets.case import Finding
from pipelines.datasets.files import relative
from pipelines.datasets.images import EXTENSIONS
from pipelines.datasets.integrity import printable

MAX_BYTES = 64 * 2**20  # far above any published table


def read_text(root: Path, path: Path, findings: list[Finding]) -> str | None:
    """A text file in UTF-8, in composed Unicode form; None, with a finding, when it is not one or is absurdly large."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        limit, found = f"at most {MAX_BYTES // 2**20} MiB", f"{size // 2**20} MiB"
        findings.append(Finding("layout", "", relative(path, root), limit, found, "see if it is the right file"))
        return None
    try:
        return unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, OSError) as error:
        found = f"damage ({getattr(error, 'reason', None) or error.strerror})"  # type: ignore[union-attr]
        remedy = "fetch it again or save it as UTF-8"
        findings.append(Finding("layout", "", relative(path, root), "a text in UTF-8", found, remedy))
        return None


def read_table(
    root: Path, path: Path, columns: Sequence[str], findings: list[Finding], *, known: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Rows of a CSV file with a header; none, with a finding, when it is damaged or lacks one of `columns`.

    known: names, in lower case, that a header may write in any case; the rows have them as they stand here.
    """
    text = read_text(root, path, findings)
    if text is None:
        return []
    expected = f"rows with {', '.join(columns)}, separated by commas"
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
        header = list(reader.fieldnames or [])
        reader.fieldnames = header = [
            name.strip().lower() if name.strip().lower() in known else name for name in header
        ]
        rows = [dict(row) for row in reader]
    except csv.Error as error:
        found, remedy = f"damage ({error})", "fetch it again"
        findings.append(Finding("layout", "", relative(path, root), expected, found, remedy))
        return []
    lacking = [name for name in columns if name not in header]
    ragged = next((number for number, row in enumerate(rows, 2) if None in row or None in row.values()), None)
    fault = None
    if lacking:
        fault = f"no column {', '.join(lacking)}, but {', '.join(header) or 'nothing'}"
    elif len(set(header)) < len(header):
        fault = f"a column twice in {', '.join(header)}"
    elif ragged is not None:
        fault = f"another number of cells than the header in row {ragged}"
    elif not rows:
        fault = "no rows"
    if fault:
        findings.append(Finding("layout", "", relative(path, root), expected, fault, "correct the table"))
        return []
    return rows


def index_rows(
    root: Path, path: Path, rows: Sequence[dict[str, str]], column: str, findings: list[Finding]
) -> dict[str, dict[str, str]]:
    """Rows by the name in `column`; an error for a name with two different rows, of which the first is kept."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        if found.setdefault(row[column], row) != row:
            table, remedy = relative(path, root), "correct the table"
            findings.append(Finding("layout", row[column], table, "one row for each name", "two that differ", remedy))
    return found


def stem_of(name: str, folders: Sequence[str] = ()) -> str | None:
    """A case from a file's name in a list or table: without an image's ending, without one of `folders` before it.

    None for a name that leads anywhere else: `../x`, `/x`, `C:\\x`, another folder.
    """
    path = PurePosixPath(unicodedata.normalize("NFC", name.strip()))
    if path.is_absolute() or PureWindowsPath(name).drive or "\\" in name or ".." in path.parts:
        return None
    if len(path.parts) > 1 and path.parent.as_posix() not in folders:
        return None
    return path.stem if path.suffix.lower() in EXTENSIONS else path.name


def outside(table: str, name: str) -> Finding:
    """The finding for a name that `stem_of` refuses."""
    shown = printable(name.strip())[:80]
    remedy = "write the image's name alone"
    return Finding("link", "", table, "names of images", f"{shown!r}, which leads elsewhere, not followed", remedy)
