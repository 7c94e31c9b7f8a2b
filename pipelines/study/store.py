"""The folder of one stage call: `store/<stage>-<key>/`, a root as a stage expects it.

params.yaml                    the params of the job that first asked for it
data/prepared -> ../../prepare-.../data/prepared        its inputs, linked at the places where the stage looks
<output>/                      published by the stage, with a manifest
log.txt                        what it printed, all attempts
seconds.json failed.json       what it took; why it failed, until it is tried again
.state/                        resume state and lock of the stage
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.runtime.artifacts import MANIFEST, read_json, sha256_file, verify_folder, write_bytes, write_json
from pipelines.runtime.errors import ArtifactError
from pipelines.study.graph import RAW, Call

LOG, SECONDS, FAILED = "log.txt", "seconds.json", "failed.json"
TAIL_BYTES = 65536
NOTHING: Mapping[str, Any] = {"wall": 0.0, "cpu": 0.0, "unmeasured": 0, "open": False, "done": False, "hardware": {}}


def call_folder(folder: Path, name: str) -> Path:
    """Root of a call below the folder of the study."""
    return folder / "store" / name


def open_root(call: Call, folder: Path, outputs: Mapping[str, str], raw: Path) -> Path:
    """Make the root of a call, or renew it after an interruption: params.yaml and links. Resume state stays.

    outputs: name of a call -> its output. Links inside the study are relative, so that the study can be moved.
    """
    root = call_folder(folder, call.name)
    root.mkdir(parents=True, exist_ok=True)
    write_bytes(root / "params.yaml", yaml.safe_dump(dict(call.params), sort_keys=False, allow_unicode=True).encode())
    (root / "data" / "unlabeled").mkdir(parents=True, exist_ok=True)
    for place, maker in call.inputs.items():
        target = call_folder(folder, maker) / outputs[maker]
        _link(root / place, Path(os.path.relpath(target, (root / place).parent)))
    for name in call.raw:
        _link(root / RAW / name, (raw / name).resolve())
    return root


def is_published(root: Path, output: str) -> bool:
    """Whether the call has published its output; its files are not looked at."""
    return (root / output / MANIFEST).is_file()


def is_done(root: Path, output: str, inputs: Collection[str] = ()) -> bool:
    """Whether the call has published its output, every file as the manifest says, from inputs as they are now.

    inputs: places below the root that lead to outputs of other calls. One that has been removed says nothing; one that
    was made anew with other bytes makes this call's output stale: no stage reads both (pipelines/runtime/stage.py). A
    stage that notes fewer inputs than it is linked to, as report does, is not judged by them.
    """
    if not is_published(root, output):
        return False
    try:
        noted = verify_folder(root / output).facts.get("inputs", {})
    except ArtifactError:
        return False
    manifests = [root / place / MANIFEST for place in inputs]
    return len(noted) != len(manifests) or all(
        sha256_file(manifest) in noted.values() for manifest in manifests if manifest.is_file()
    )


def note_start(root: Path, hardware: Mapping[str, Any]) -> None:
    """Mark an attempt as begun, so that one whose end nobody saw is counted as unmeasured.

    After one that was done (and whose output has been lost since) the count begins anew: a result is what its own
    making took.
    """
    found = read_seconds(root)
    before = dict(NOTHING) if found["done"] else found
    unmeasured = before["unmeasured"] + int(before["open"])
    now = {"unmeasured": unmeasured, "open": True, "done": False, "hardware": dict(hardware)}
    write_json(root / SECONDS, {**before, **now})
    (root / FAILED).unlink(missing_ok=True)


def note_end(root: Path, wall: float, cpu: float, *, done: bool) -> None:
    """Add what an attempt took, seconds; cpu: user and system time of the process and the children it waited for.

    done: whether its output is there now.
    """
    before = read_seconds(root)
    total = {"wall": round(before["wall"] + wall, 2), "cpu": round(before["cpu"] + cpu, 2)}
    write_json(root / SECONDS, {**before, **total, "open": False, "done": done})


def read_seconds(root: Path) -> dict[str, Any]:
    """wall and cpu of all measured attempts, seconds; unmeasured: attempts killed with the study, or whose record was
    damaged; open: the last one's end was not seen yet; done: it published; hardware: of the last attempt.
    """
    if not (root / SECONDS).is_file():
        return dict(NOTHING)
    try:
        found = read_json(root / SECONDS)
    except ArtifactError:
        found = {}
    measured = isinstance(found, dict) and {"wall", "cpu", "unmeasured", "open"} <= found.keys()
    return {**NOTHING, **found} if measured else {**NOTHING, "unmeasured": 1}


def note_failure(root: Path, code: int, reason: str) -> None:
    """Why the last attempt failed."""
    write_json(root / FAILED, {"code": code, "reason": reason})


def read_failure(root: Path) -> str | None:
    """The reason of the last attempt's failure; None where it did not fail."""
    if not (root / FAILED).is_file():
        return None
    try:
        return str(read_json(root / FAILED)["reason"])
    except (ArtifactError, KeyError, TypeError):
        return f"see {root / LOG}"


def last_error(root: Path, code: int, start: int = 0) -> str:
    """The line of the log, from byte `start` on, that says most: the stage's own error, else the last one."""
    with (root / LOG).open("rb") as handle:
        handle.seek(max(start, handle.seek(0, os.SEEK_END) - TAIL_BYTES))
        text = handle.read().decode(errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    said = next((line for line in reversed(lines) if ": error: " in line), lines[-1] if lines else "it said nothing")
    return f"ended by signal {-code}: {said}" if code < 0 else said


def _link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() and place.readlink() == target:
        return
    place.unlink(missing_ok=True)
    place.symlink_to(target)
