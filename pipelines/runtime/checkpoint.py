"""Resume state of a stage: outside every output, keyed by a fingerprint of params, inputs and code.

Layout: `.state/resume/<stage>/<fingerprint>/step-00000100/{state.safetensors, state.json}`. A state is written into a
temporary folder, flushed and renamed; the JSON holds the sha256 of the tensors; one older state stays until the next
one is complete. A run with other params, inputs or code has another key, so a foreign state is never used.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.runtime.artifacts import (
    canonical_json,
    fsync_folder,
    load_tensors,
    read_json,
    save_tensors,
    sha256_file,
    write_json,
)
from pipelines.runtime.errors import ArtifactError

if TYPE_CHECKING:
    import torch

KEEP = 2
ORIGIN = "origin.json"


@dataclass(frozen=True)
class State:
    """step: training steps done. tensors: by name. record: JSON values beside them."""

    step: int
    tensors: dict[str, torch.Tensor]
    record: dict[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The states of one stage under one fingerprint. origin: hashes of params, inputs and code. writer: rank 0."""

    folder: Path
    origin: Mapping[str, str]
    log: Callable[[str], None]
    writer: bool = True

    def save(self, step: int, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
        """Write the state after `step` training steps, then forget all but the newest two."""
        if not self.writer:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / ORIGIN).exists():
            write_json(self.folder / ORIGIN, dict(self.origin))
        final = self.folder / f"step-{step:08d}"
        temporary = self.folder / f".step-{step:08d}.partial"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        save_tensors(temporary / "state.safetensors", tensors)
        digest = sha256_file(temporary / "state.safetensors")
        write_json(temporary / "state.json", {"step": step, "sha256": digest, "record": dict(record)})
        fsync_folder(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.replace(final)
        fsync_folder(self.folder)
        for old in self._complete()[:-KEEP]:
            shutil.rmtree(old)

    def load_latest(self) -> State | None:
        """The newest valid state; damaged ones are named in the log and passed over."""
        self._name_foreign_states()
        damaged: list[str] = []
        for folder in reversed(self._complete()):
            try:
                state = self._load(folder)
            except ArtifactError as error:
                damaged.append(str(error))
                continue
            for fault in damaged:
                self.log(f"warning: damaged resume state passed over: {fault}")
            self.log(f"resuming after step {state.step}")
            return state
        if damaged:
            self.log("warning: starting at step 0, no valid resume state is left: " + "; ".join(damaged))
        return None

    def drop(self) -> None:
        """Remove the states: the output is published."""
        if self.writer:
            shutil.rmtree(self.folder, ignore_errors=True)

    def clean(self) -> None:
        """Remove what a dead writer left half-written."""
        if self.writer and self.folder.is_dir():
            for leftover in self.folder.glob(".step-*.partial"):
                shutil.rmtree(leftover)

    def _complete(self) -> list[Path]:
        return sorted(self.folder.glob("step-*")) if self.folder.is_dir() else []

    def _load(self, folder: Path) -> State:
        content = read_json(folder / "state.json")
        if not isinstance(content, dict) or set(content) != {"step", "sha256", "record"}:
            raise ArtifactError(f"{folder / 'state.json'}: expected keys step, sha256, record")
        path = folder / "state.safetensors"
        found = sha256_file(path) if path.is_file() else "no file"
        if found != content["sha256"]:
            raise ArtifactError(f"{path}: expected sha256 {content['sha256']}, found {found}")
        return State(content["step"], load_tensors(path), content["record"])

    def _name_foreign_states(self) -> None:
        if not self.folder.parent.is_dir():
            return
        for other in sorted(self.folder.parent.iterdir()):
            if other == self.folder or not (other / ORIGIN).is_file():
                continue
            theirs = read_json(other / ORIGIN)
            differing = [key for key in sorted(self.origin) if theirs.get(key) != self.origin[key]]
            self.log(
                f"a resume state of another run is left alone: its {' and '.join(differing)} differ ({other.name})"
            )


def fingerprint(origin: Mapping[str, str]) -> str:
    """The key of a run: sixteen hex digits of the sha256 over its origin."""
    return hashlib.sha256(canonical_json(dict(origin)).encode()).hexdigest()[:16]
