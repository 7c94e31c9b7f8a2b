"""What a study asks for, resolved: jobs -> stage calls, made from a frozen copy of the code and written to plan.json.

The calls are keyed and run from the copy, so an edit of the sources during a run of days mixes nothing into it. The
table reads the plan of the last run: it shows what that run made, whatever has become of the sources since.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.params.loader import read_yaml
from pipelines.runtime.artifacts import canonical_json, read_json, sha256_file, write_bytes, write_json
from pipelines.runtime.closure import PACKAGES
from pipelines.runtime.errors import DataError, ParamsError
from pipelines.study.graph import Call, calls_for, open_sources
from pipelines.study.spec import Job, Study, params_of

PLAN = "plan.json"
COPIED = (*PACKAGES, "dvc.yaml")


@dataclass(frozen=True)
class Plan:
    """jobs: id -> names of the calls of its targets. calls: by name, ancestors first. code: the frozen copy."""

    jobs: Mapping[str, tuple[str, ...]]
    calls: Mapping[str, Call]
    code: Path


def make_plan(
    study: Study, jobs: list[Job], study_file: Path, folder: Path, root: Path, *, frozen: bool = False
) -> Plan:
    """Copy the sources, resolve every job, write plan.json. ParamsError and DataError name what cannot be run.

    frozen: take the sources and base params of the last run instead of the present ones.
    """
    origin = last_origin(folder) if frozen else present_origin(base_file(study, study_file, root), folder, root)
    base = read_yaml(folder / "base" / f"{origin.base}.yaml")
    code = folder / "code" / origin.code
    sources = open_sources(code, root / "data" / "raw")
    phantom: dict[bool, str] = {}
    calls: dict[str, Call] = {}
    ends: dict[str, tuple[str, ...]] = {}
    for job in jobs:
        try:
            params = params_of(job, base)
            found, targets = calls_for(params, study.targets, sources)
        except (DataError, ParamsError) as error:
            text = str(error)
            raise type(error)(text if text.startswith(job.source) else f"{job.source} ({job.label}): {text}") from None
        for name, call in found.items():
            calls.setdefault(name, call)
        ends[job.id] = tuple(targets)
        phantom[params.datasets[params.dataset].adapter == "phantom"] = job.label
    if len(phantom) > 1:
        raise ParamsError(
            f"{study_file}: {phantom[True]} is scored on the phantom, {phantom[False]} on real images; phantom scores "
            "are never set beside real ones: write two studies"
        )
    _write(folder, study, origin, ends, calls)
    return Plan(ends, calls, code)


@dataclass(frozen=True)
class Origin:
    """What calls are made from. code, base: names of the copies below code/ and base/; commit: git's name of them."""

    code: str
    base: str
    commit: str


def present_origin(base: Path, folder: Path, root: Path) -> Origin:
    """Copy the sources and the base params as they are now into the study's folder."""
    read_yaml(base)  # a clear word where there is none
    digest = sha256_file(base)[:12]
    (folder / "base").mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "base" / f"{digest}.yaml", base.read_bytes())
    return Origin(freeze(root, folder).name, digest, commit_of(root))


def last_origin(folder: Path) -> Origin:
    """What the last run was made from; ParamsError without one."""
    plan = read_plan(folder)
    if not plan["jobs"]:
        raise ParamsError(f"{folder / PLAN}: expected the plan of an earlier run, found none; leave out --frozen")
    return Origin(plan["code"], plan["base"], plan["commit"])


def base_file(study: Study, study_file: Path, root: Path) -> Path:
    """The params.yaml that the settings of a study change: beside the study if it is there, else the project's."""
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
            shutil.copytree(root / name, temporary / name, ignore=shutil.ignore_patterns("__pycache__", "*.partial"))
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
        files = sorted((root / name).rglob("*")) if (root / name).is_dir() else [root / name]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".partial":
                digest.update(f"{file.relative_to(root).as_posix()}\0{sha256_file(file)}\0".encode())
    return digest.hexdigest()[:12]


def read_plan(folder: Path) -> dict[str, Any]:
    """plan.json of the last run; an empty plan where there was none."""
    if not (folder / PLAN).exists():
        return {"jobs": {}, "calls": {}}
    plan: dict[str, Any] = read_json(folder / PLAN)
    return plan


def _write(
    folder: Path,
    study: Study,
    origin: Origin,
    ends: Mapping[str, tuple[str, ...]],
    calls: Mapping[str, Call],
) -> None:
    content = {
        "study": study_hash(study),
        "code": origin.code,
        "base": origin.base,
        "commit": origin.commit,
        "jobs": {job: list(names) for job, names in ends.items()},
        "calls": {
            name: {
                "stage": call.stage,
                "command": list(call.command),
                "output": call.output,
                "inputs": dict(call.inputs),
                "key": call.key,
            }
            for name, call in calls.items()
        },
    }
    write_json(folder / PLAN, content)


def study_hash(study: Study) -> str:
    """sha256 over the content of study.yaml; comments and layout do not count."""
    return hashlib.sha256(canonical_json(study.model_dump(mode="json")).encode()).hexdigest()


def commit_of(root: Path) -> str:
    """The git commit of the sources, `-dirty` added where tracked files differ from it; `unknown` without git."""
    command = ["git", "-C", os.fspath(root), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def study_folder(study: Study, given: Path | None, root: Path) -> Path:
    """Where everything of a study lies: `studies/<name>`, or the folder given. A foreign folder is a ParamsError."""
    folder = (given or root / "studies" / study.name).resolve()
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "code").is_dir())):
        raise ParamsError(
            f"{folder}: expected a new or empty folder, or one of a study, found other files; name another"
        )
    return folder


def check_root(root: Path) -> None:
    """ParamsError for whoever starts elsewhere."""
    if not (root / "dvc.yaml").is_file():
        raise ParamsError(f"{root / 'dvc.yaml'}: expected the stages, found no file; run in the project's root")
