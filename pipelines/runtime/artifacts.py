"""Files between stages: canonical, without times, readable by others, verified by sha256, never unpickled.

A stage's output folder carries a `manifest.json` with the sha256 of each file and the facts that made it (stage,
dataset, params, inputs, versions). A consumer verifies the folder before any work.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pipelines.runtime.errors import ArtifactError

if TYPE_CHECKING:
    import torch

MANIFEST = "manifest.json"
HEADER_LIMIT = 16 * 2**20  # bytes; the headers of our files have some hundred kilobytes at most


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no NaN, floats by repr, a newline at the end."""
    try:
        return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        raise ArtifactError(f"json: cannot be written ({error}); write null where a value is undefined") from None


def fsync_folder(folder: Path) -> None:
    """Make the names inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary sibling, fsync, rename."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write canonical JSON."""
    write_bytes(path, canonical_json(value).encode())


def read_json(path: Path) -> Any:
    """Read JSON or raise ArtifactError with the place of the fault."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: expected a JSON file, found none; run the stage that writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: expected JSON, found damage ({error}); run the stage that writes it") from None


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows with these columns; None is an empty cell, floats are written by repr, keys outside raise ValueError.

    A text that a spreadsheet would run as a formula (=, +, -, @, tab first, and not a number) gets a leading
    apostrophe; `read_csv` takes it off again.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n", extrasaction="raise")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    write_bytes(path, buffer.getvalue().encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows as text; ArtifactError when the file is missing or ragged."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError(f"{path}: expected a table, found none; run the stage that writes it") from None
    rows = list(csv.DictReader(io.StringIO(text)))
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ArtifactError(f"{path}: line {number} has another number of cells than the header; write it again")
    return [{key: _uncell(value) for key, value in row.items()} for row in rows]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    text = str(value)
    if text[:1] in ("=", "+", "-", "@", "\t", "\r", "'") and not _is_number(text):
        return "'" + text
    return text


def _uncell(text: str) -> str:
    return text[1:] if text[:1] == "'" else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write safetensors with sorted names: the same tensors give the same bytes."""
    from safetensors.torch import save

    ready = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    write_bytes(path, save(ready, metadata=dict(sorted((metadata or {}).items())) or None))


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read safetensors onto the CPU; ArtifactError on a missing, torn or foreign file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_safetensors(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ArtifactError(f"{path}: expected safetensors, found damage ({error}); run its stage again") from None


def read_metadata(path: Path) -> dict[str, str]:
    """The text metadata of a safetensors file."""
    return dict(check_safetensors(path).get("__metadata__", {}))


def check_safetensors(path: Path) -> dict[str, Any]:
    """Read and check the header alone, before any library touches the file: length, JSON, offsets inside the file."""

    def fault(found: str) -> ArtifactError:
        return ArtifactError(f"{path}: expected a safetensors file, found {found}; run the stage that writes it again")

    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            first = handle.read(8)
            if len(first) < 8:
                raise fault(f"{size} bytes")
            (length,) = struct.unpack("<Q", first)
            if length > min(size - 8, HEADER_LIMIT):
                raise fault(f"a header of {length} bytes in a file of {size} (limit {HEADER_LIMIT})")
            header = json.loads(handle.read(length))
    except FileNotFoundError:
        raise fault("none") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise fault("a header that is not JSON") from None
    if not isinstance(header, dict):
        raise fault("a header that is not a table")
    end = 0
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        ranges = sorted((int(begin), int(stop)) for begin, stop in (entry["data_offsets"] for entry in entries))
    except (KeyError, TypeError, ValueError):
        raise fault("a tensor without a byte range") from None
    for begin, stop in ranges:
        if begin != end or stop < begin:
            raise fault("overlapping or missing byte ranges")
        end = stop
    if end != size - 8 - length:
        raise fault(f"tensors of {end} bytes in {size - 8 - length} bytes of data")
    return header


def save_array(path: Path, array: np.ndarray) -> None:
    """Write one `.npy`; object arrays are refused."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    write_bytes(path, buffer.getvalue())


class ArrayWriter:
    """Write an `.npy` row by row, for arrays larger than memory: the same bytes as `save_array` of the whole.

    shape: of one row. A context manager; on an error the half-written file is removed.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self.rows = 0
        self._temporary = path.with_name(f".{path.name}.partial")
        self._handle: BinaryIO | None = None

    def __enter__(self) -> ArrayWriter:
        self._handle = self._temporary.open("wb")
        self._write_header()
        return self

    def append(self, row: np.ndarray) -> None:
        """Add one row; ValueError when its shape or type is another."""
        if row.shape != self.shape or row.dtype != self.dtype:
            raise ValueError(
                f"{self.path.name}: row {self.rows}: expected {self.dtype} {self.shape}, found {row.dtype} {row.shape}"
            )
        self._open().write(np.ascontiguousarray(row).tobytes())
        self.rows += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        handle = self._open()
        with handle:
            if kind is None:
                handle.seek(0)
                self._write_header()
                handle.flush()
                os.fsync(handle.fileno())
        self._handle = None
        if kind is None:
            self._temporary.replace(self.path)
        else:
            self._temporary.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if self._handle is None:
            raise ValueError(f"{self.path.name}: not open; use it in a `with` statement")
        return self._handle

    def _write_header(self) -> None:
        # numpy leaves room for the number of rows to grow, so the header keeps its length when it is written again
        facts = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self._open(), facts)


class ArchiveWriter:
    """Write a compressed `.npz` array by array, keys 000000, 000001, ...: as `np.load` reads it, and without times.

    The same arrays give the same bytes. A context manager; on an error the half-written file is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._temporary = path.with_name(f".{path.name}.partial")
        self._archive: zipfile.ZipFile | None = None

    def __enter__(self) -> ArchiveWriter:
        self._archive = zipfile.ZipFile(self._temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6)
        return self

    def append(self, array: np.ndarray) -> None:
        """Add one array of any shape."""
        if self._archive is None:
            raise ValueError(f"{self.path.name}: not open; use it in a `with` statement")
        member = io.BytesIO()
        np.save(member, array, allow_pickle=False)
        entry = zipfile.ZipInfo(f"{self.rows:06d}.npy", date_time=(1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        self._archive.writestr(entry, member.getvalue(), compresslevel=6)
        self.rows += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._archive is not None:
            self._archive.close()
            self._archive = None
        if kind is None:
            self._temporary.replace(self.path)
        else:
            self._temporary.unlink(missing_ok=True)


def load_array(path: Path, *, mmap: bool = True) -> np.ndarray:
    """Read one `.npy`, by default mapped read-only so that a set larger than memory can be used."""
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: expected an array, found none; run the stage that writes it") from None
    except (ValueError, EOFError) as error:
        raise ArtifactError(f"{path}: expected an .npy array, found damage ({error}); run its stage again") from None


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) u8 as PNG without metadata."""
    from PIL import Image

    if pixels.dtype != np.uint8:
        raise ValueError(f"{path.name}: expected uint8 pixels, found {pixels.dtype}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=False)
    write_bytes(path, buffer.getvalue())


@dataclass(frozen=True)
class Manifest:
    """What a folder says of itself. facts: stage, dataset, params, inputs, versions. files: relative name -> sha256."""

    facts: dict[str, Any]
    files: dict[str, str]
    sha256: str


def write_manifest(folder: Path, **facts: Any) -> None:
    """Hash every file below `folder` and write manifest.json beside them; files are flushed to disk first."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST):
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
        files[path.relative_to(folder).as_posix()] = sha256_file(path)
    write_json(folder / MANIFEST, {"facts": facts, "files": files})
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        fsync_folder(path)


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, files not checked."""
    path = folder / MANIFEST
    content = read_json(path)
    if not isinstance(content, dict) or set(content) != {"facts", "files"}:
        raise ArtifactError(f"{path}: expected keys facts and files, found a foreign file; run the stage again")
    return Manifest(content["facts"], content["files"], sha256_file(path))


def verify_folder(folder: Path) -> Manifest:
    """Check every file of a stage's output against its manifest: missing, extra or altered files are ArtifactErrors."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: expected a stage's output folder, found none; run `dvc repro`")
    manifest = read_manifest(folder)
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    for name in sorted(found ^ set(manifest.files)):
        state = "found one that its manifest does not name" if name in found else "found none"
        raise ArtifactError(f"{folder / name}: expected the files of manifest.json, {state}; run `dvc repro`")
    for name, expected in sorted(manifest.files.items()):
        actual = sha256_file(folder / name)
        if actual != expected:
            raise ArtifactError(
                f"{folder / name}: expected sha256 {expected}, found {actual}; the file was altered: run `dvc repro`"
            )
    return manifest
