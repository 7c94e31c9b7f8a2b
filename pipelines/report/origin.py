"""Whether a folder is what the present params would make: dataset, parameters, and the folders it was made from.

DVC sees to that under `dvc repro`; by hand, and with `--partial`, an audit of older samples may lie beside newer ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.runtime.artifacts import Manifest, verify_folder
from pipelines.runtime.errors import ArtifactError, RefusedError

NEEDED = ("prepared", "split")  # without them there is no page at all
ORDER = (*NEEDED, "pool", "autoencoder", "diffusion", "synthetic", "audit")  # each made from earlier ones
ABSENT = "nothing"


@dataclass(frozen=True)
class Selection:
    """What params asks for. blocks: dotted key, as manifests record it, -> plain value of each block of any stage."""

    dataset: str
    scale: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    label_fraction: float
    blocks: Mapping[str, Any]


def trace(folders: Mapping[str, Path], selection: Selection, partial: bool) -> tuple[dict[str, Manifest], list[str]]:
    """(manifests of the folders that are as params makes them, why each other one was left out), along ORDER.

    A folder whose input was left out is left out too. Raises ArtifactError for a damaged folder; RefusedError for an
    outdated one, with `partial` only if it is `prepared` or `split`.
    """
    kept: dict[str, Manifest] = {}
    notices = []
    for name in (name for name in ORDER if name in folders):
        manifest = verify_folder(folders[name])
        try:
            check_origin(folders[name], manifest, selection, kept, {})
        except RefusedError as error:
            if not partial or name in NEEDED:
                raise
            notices.append(f"left out: {error}")
        else:
            kept[name] = manifest
    return kept, notices


def check_origin(
    folder: Path,
    manifest: Manifest,
    selection: Selection,
    kept: Mapping[str, Manifest],
    arguments: Mapping[str, str],
) -> None:
    """RefusedError when a folder was made from another dataset, arguments, parameters, or inputs other than `kept`."""
    facts = manifest.facts
    for key in ("dataset", "arguments", "params", "inputs"):
        if key not in facts:
            raise ArtifactError(f"{folder}: expected a manifest with {key!r}, found none; run `dvc repro`")

    def check(what: str, expected: Any, seen: Any) -> None:
        if seen != expected:
            raise RefusedError(f"{folder}: expected {what} {expected!r}, found {seen!r}; run `dvc repro`")

    check("dataset", selection.dataset, facts["dataset"])
    check("arguments", dict(arguments), facts["arguments"])
    for key, seen in facts["params"].items():
        check(*first_difference(fill(key, selection), selection.blocks.get(key, ABSENT), seen))
    for name, digest in facts["inputs"].items():
        if name in ORDER and name not in kept:
            raise RefusedError(f"{folder}: expected its input {name} as params makes it, found none; run `dvc repro`")
        if name in kept:
            check(f"input {name} with manifest", kept[name].sha256[:12], digest[:12])


def first_difference(key: str, expected: Any, seen: Any) -> tuple[str, Any, Any]:
    """(dotted key, expected, seen) of the first leaf that differs, so that a message names it and not two blocks."""
    if isinstance(expected, dict) and isinstance(seen, dict):
        for name in sorted(expected.keys() | seen.keys()):
            inner = expected.get(name, ABSENT), seen.get(name, ABSENT)
            if inner[0] != inner[1]:
                return first_difference(f"{key}.{name}", *inner)
    return key, expected, seen


def fill(key: str, selection: Selection) -> str:
    """A key of `blocks` with the selected names in it, as it stands in params.yaml."""
    system = selection.blocks.get("segmenter.system", "{system}")
    return key.format(dataset=selection.dataset, scale=selection.scale, system=system)
