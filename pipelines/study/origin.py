"""What a run is made from: a copy of the sources and of the base params, each named by its content."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipelines.params.loader import read_yaml
from pipelines.runtime.artifacts import sha256_file, write_bytes
from pipelines.runtime.closure import PACKAGES
from pipelines.runtime.errors import DataError
from pipelines.study.contents import IGNORED, hash_files
from pipelines.study.spec import Study

COPIED = (*PACKAGES, "dvc.yaml")


@dataclass(frozen=True)
class Origin:
    """What calls are made from. code, base: names of the copies below code/ and base/; commit: git's name of them."""

    code: str
    base: str
    commit: str


def present_origin(base: Path, folder: Path, root: Path) -> Origin:
    """Copy the sources and the base params as they are now into the study's folder."""
    read_yaml(base)  # a clear word where there is none
    digest = base_hash(base)
    (folder / "base").mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "base" / f"{digest}.yaml", base.read_bytes())
    return Origin(freeze(root, folder).name, digest, commit_of(root))


def base_copy(folder: Path, origin: Origin) -> Path:
    """The base params that a run was made from."""
    return folder / "base" / f"{origin.base}.yaml"


def base_hash(base: Path) -> str:
    """Twelve hex digits over the base params; "" without a file."""
    return sha256_file(base)[:12] if base.is_file() else ""


def base_file(study: Study, study_file: Path, root: Path) -> Path:
    """The params.yaml that the settings of a study change: what its `base` names, from where the study lies; the
    project's where it names none.
    """
    if "base" not in study.model_fields_set:
        return root / study.base
    return study_file.parent / study.base


def freeze(root: Path, folder: Path) -> Path:
    """The folder `code/<hash>` with the packages and dvc.yaml as they are now; copied once per state of the sources."""
    (folder / "code").mkdir(parents=True, exist_ok=True)
    temporary = folder / "code" / ".copy.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, temporary / name, ignore=shutil.ignore_patterns(*IGNORED))
        elif (root / name).is_file():
            shutil.copyfile(root / name, temporary / name)
        else:
            raise DataError(f"{root / name}: expected the project's sources, found none; run in the project's root")
    final = folder / "code" / code_hash(temporary)
    if final.exists():
        shutil.rmtree(temporary)
    else:
        temporary.replace(final)
    return final


def code_hash(root: Path) -> str:
    """Twelve hex digits over names and contents of the sources below root."""
    digest = hashlib.sha256()
    for name in COPIED:
        digest.update(f"{name}\0{hash_files(root / name)}\0".encode())
    return digest.hexdigest()[:12]


def commit_of(root: Path) -> str:
    """The git commit of the sources, `-dirty` added where tracked files differ from it; `unknown` without git."""
    command = ["git", "-C", os.fspath(root), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
