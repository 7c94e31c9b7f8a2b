"""What a study asks for, resolved: jobs -> stage calls, made from a frozen copy of the code and written to plan.json.

The calls are keyed and run from the copy, so an edit of the sources during a run of days mixes nothing into it. The
table reads the plan of the last run: it shows what that run made, whatever has become of the sources since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.params.loader import read_yaml
from pipelines.runtime.artifacts import canonical_json, read_json, write_json
from pipelines.runtime.errors import DataError, ParamsError
from pipelines.study.graph import Call, Sources, calls_for, open_sources
from pipelines.study.origin import Origin, base_copy, base_file, base_hash, code_hash, present_origin
from pipelines.study.spec import Job, Study, params_of

PLAN = "plan.json"
MARK = ".study"  # only a folder of a study has it
HASHES = "raw_hashes.json"


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
    sources = open_sources(folder / "code" / origin.code, root / "data" / "raw", folder / HASHES)
    plan = resolve_jobs(study, jobs, study_file, base_copy(folder, origin), folder / "code" / origin.code, sources)
    _write(folder, study, origin, plan, sources)
    return plan


def preview_plan(
    study: Study, jobs: list[Job], study_file: Path, folder: Path, root: Path, *, frozen: bool = False
) -> Plan:
    """The plan that `make_plan` would make; nothing is written but hashes of raw files that are new."""
    if frozen:
        origin = last_origin(folder)
        base, code = base_copy(folder, origin), folder / "code" / origin.code
    else:
        base, code = base_file(study, study_file, root), root
    known = folder / HASHES
    sources = open_sources(code, root / "data" / "raw", known if known.is_file() else None)
    return resolve_jobs(study, jobs, study_file, base, code, sources)


def resolve_jobs(
    study: Study, jobs: list[Job], study_file: Path, base_params: Path, code: Path, sources: Sources
) -> Plan:
    """Every job as calls. ParamsError and DataError name the job that cannot be run."""
    base = read_yaml(base_params)
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
    return Plan(ends, calls, code)


def last_origin(folder: Path) -> Origin:
    """What the last run was made from; ParamsError without one."""
    plan = read_plan(folder)
    if not plan["jobs"]:
        raise ParamsError(f"{folder / PLAN}: expected the plan of an earlier run, found none; leave out --frozen")
    return Origin(plan["code"], plan["base"], plan["commit"])


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
    plan: Plan,
    sources: Sources,
) -> None:
    content = {
        "study": asked_hash(study),
        "code": origin.code,
        "base": origin.base,
        "commit": origin.commit,
        "versions": dict(sources.versions),
        "jobs": {job: list(names) for job, names in plan.jobs.items()},
        "calls": {
            name: {
                "stage": call.stage,
                "command": list(call.command),
                "output": call.output,
                "inputs": dict(call.inputs),
                "key": call.key,
            }
            for name, call in plan.calls.items()
        },
    }
    write_json(folder / PLAN, content)


def study_hash(study: Study) -> str:
    """sha256 over the content of study.yaml; comments and layout do not count."""
    return hashlib.sha256(canonical_json(study.model_dump(mode="json")).encode()).hexdigest()


def asked_hash(study: Study) -> str:
    """The same over what a run depends on: not over metrics, comparisons and the like, which only the table reads."""
    asked = study.model_dump(mode="json", include={"grids", "base", "set", "targets"})
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()


def changes(study: Study, study_file: Path, plan: Mapping[str, Any], root: Path) -> list[str]:
    """What has changed since the run of a plan, one sentence each; its results are of what was there then."""
    if not plan["jobs"]:
        return []
    found = []
    if plan["code"] != code_hash(root):
        found.append("the sources have changed since the last `study run`; another one makes what they touch anew")
    if plan["base"] != base_hash(base_file(study, study_file, root)):
        found.append("the base params have changed since the last `study run`; another one makes what they touch anew")
    if found:
        found[-1] += ", `--frozen` does not"
    if plan["study"] != asked_hash(study):
        found.append("study.yaml asks for something else than at the last `study run`; what it added is not run")
    return found


def study_folder(study: Study, given: Path | None, root: Path) -> Path:
    """Where everything of a study lies: `studies/<name>`, or the folder given. A foreign folder is a ParamsError."""
    folder = (given or root / "studies" / study.name).resolve()
    if folder.exists() and not (folder.is_dir() and ((folder / MARK).is_file() or not any(folder.iterdir()))):
        raise ParamsError(
            f"{folder}: expected a new or empty folder, or one of a study (with a file {MARK}), found other files; "
            "name another"
        )
    return folder


def open_folder(folder: Path) -> None:
    """Make the folder of a study, with the mark by which it is known."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def check_root(root: Path) -> None:
    """ParamsError for whoever starts elsewhere."""
    if not (root / "dvc.yaml").is_file():
        raise ParamsError(f"{root / 'dvc.yaml'}: expected the stages, found no file; run in the project's root")
