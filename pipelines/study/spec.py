"""study.yaml: what is compared. Text -> Study -> jobs and rows; docs/study.md describes the format.

An axis is a dotted key of params.yaml with a list of values, or a free name with a mapping from a label to the settings
that it stands for. `arm` and `seed` are settings like any other and say which segmenter a job is.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from pipelines.params.block import Block
from pipelines.params.loader import parse_params, read_yaml
from pipelines.params.root import ArmsParams, Params
from pipelines.runtime.artifacts import canonical_json
from pipelines.runtime.errors import ParamsError
from pipelines.study.naming import METRICS, SEED, check_names, check_selectors, nearest, text_of

ARM = "arm"

Settings = dict[str, Any]
Selector = Annotated[dict[str, Any], Field(min_length=1)]


class Grid(Block):
    """One product. axes: name -> values, or label -> settings; set: settings of all its jobs."""

    axes: dict[str, list[Any] | dict[str, dict[str, Any]]] = Field(min_length=1)
    set: Settings = Field(default_factory=dict)


class Study(Block):
    """The whole file; docs/study.md says what each key means."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
    grids: list[Grid] = Field(min_length=1)
    base: str = "params.yaml"
    set: Settings = Field(default_factory=dict)
    targets: list[str] = Field(default=["evaluate"], min_length=1)
    reference: Selector | None = None
    compare: list[Annotated[list[Selector], Field(min_length=2, max_length=2)]] = Field(default_factory=list)
    pool: str | None = None
    metrics: list[str] = Field(default=list(METRICS), min_length=1)
    bootstrap: int = Field(default=2000, ge=100, le=100_000)
    reach: float | None = Field(default=None, gt=0.0, le=1.0)


@dataclass(frozen=True)
class Job:
    """One segmenter. axes: name -> label, in the order of the file, the seed included; settings: all that differs
    from the base, arm and seed not included; source: what errors name.
    """

    axes: Mapping[str, str]
    settings: Mapping[str, Any]
    arm: str
    seed: int
    source: str

    @property
    def id(self) -> str:
        """Sixteen hex digits over settings, arm and seed."""
        content = canonical_json([dict(self.settings), self.arm, self.seed])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """`dataset=busi arm=real seed=0`, for logs."""
        return " ".join(f"{name}={label}" for name, label in self.axes.items())


def load_study(path: Path) -> Study:
    """Read and validate; all faults in one ParamsError, one line each with file and key."""
    tree = read_yaml(path)
    try:
        study = Study.model_validate(tree)
    except ValidationError as error:
        raise ParamsError("\n".join(f"{path}: {_explain(fault)}" for fault in error.errors())) from None
    check_names(study, path)
    return study


def expand_jobs(study: Study, path: Path) -> list[Job]:
    """All jobs in the order of the file; one that several grids ask for under the same labels counts once."""
    jobs: dict[tuple[str, str], Job] = {}
    alike: dict[str, str] = {}
    for number, grid in enumerate(study.grids):
        source = f"{path}: grids.{number}"
        axes = [_choices(name, values, source) for name, values in grid.axes.items()]
        _check_overlaps(grid, source)
        for choice in itertools.product(*axes):
            settings = flat(study.set) | flat(grid.set)
            for _, _, more in choice:
                settings |= flat(more)
            job = _job({name: label for name, label, _ in choice}, settings, source)
            if alike.setdefault(job.label, job.id) != job.id:
                raise ParamsError(
                    f"{source}: {job.label}: two rows would look alike, of these labels and other settings; "
                    "make what differs an axis (of one value, if need be)"
                )
            jobs.setdefault((job.id, job.label), job)
    check_selectors(study, jobs.values(), path)
    return list(jobs.values())


def params_of(job: Job, base: Mapping[str, Any]) -> Params:
    """The full params of one job, validated; arms and seeds name it alone. ParamsError names file, grid and key."""
    tree = copy.deepcopy(dict(base))
    source = f"{job.source} ({job.label})"
    for key, value in job.settings.items():
        put(tree, key, value, source)
    tree["arms"] = {kind: [job.arm] if kind == kind_of(job.arm, source) else [] for kind in ArmsParams.model_fields}
    tree["seeds"] = [job.seed]
    return parse_params(tree, source)


def flat(settings: Mapping[str, Any], prefix: str = "") -> Settings:
    """`{a.b: {c: 1}}` as `{a.b.c: 1}`: blocks are merged key by key, and what is said later holds."""
    found: Settings = {}
    for key, value in settings.items():
        whole = f"{prefix}{key}"
        found |= flat(value, f"{whole}.") if isinstance(value, dict) and value else {whole: value}
    return found


def put(tree: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set a dotted key; an empty block leaves the one that is there as it is."""
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ParamsError(f"{source}: {key}: expected a block at {parent!r}, found {tree!r}")
    if not (value == {} and isinstance(tree.get(last), dict)):
        tree[last] = copy.deepcopy(value)


def kind_of(arm: str, source: str) -> str:
    """plain, synthetic or phantom: the list of params.yaml to which an arm belongs."""
    known: dict[str, str] = {}
    for kind, field in ArmsParams.model_json_schema()["properties"].items():
        known |= dict.fromkeys(field["items"].get("enum", [field["items"].get("const")]), kind)
    if arm not in known:
        raise ParamsError(f"{source}: arm: unknown arm {arm!r}; the nearest known one is {nearest(arm, known)!r}")
    return known[arm]


def _job(axes: dict[str, str], settings: Settings, source: str) -> Job:
    own = {name: settings.pop(name, None) for name in (ARM, SEED)}
    arm, seed = own[ARM], own[SEED]
    for name, expected in ((ARM, "the name of an arm"), (SEED, "a number of at least 0")):
        found = own[name]
        if not isinstance(found, str if name == ARM else int) or (isinstance(found, int) and found < 0):
            raise ParamsError(f"{source}: {name}: expected {expected} as an axis or below `set`, found {found!r}")
    for name in ("arms", "seeds"):
        if any(key.partition(".")[0] == name for key in settings):
            raise ParamsError(
                f"{source}: {name}: a job is one segmenter; write `{name[:-1]}`, as an axis or below `set`"
            )
    assert isinstance(arm, str)
    assert isinstance(seed, int)
    return Job(axes, settings, arm, seed, source)


def _choices(name: str, values: list[Any] | dict[str, Settings], source: str) -> list[tuple[str, str, Settings]]:
    """(axis, label, settings) of each value."""
    if isinstance(values, list):
        found = [(name, text_of(value), {name: value}) for value in values]
    else:
        found = [(name, label, settings) for label, settings in values.items()]
    labels = [label for _, label, _ in found]
    if not labels or len(set(labels)) < len(labels):
        raise ParamsError(f"{source}: axes.{name}: expected at least one value and each once, found {labels}")
    return found


def _check_overlaps(grid: Grid, source: str) -> None:
    """Two axes that set the same thing would override each other in silence."""
    owner: dict[str, str] = {}
    for name, values in grid.axes.items():
        keys = {name} if isinstance(values, list) else {key for bundle in values.values() for key in bundle}
        for key in sorted(keys):
            for other, axis in owner.items():
                if key == other or key.startswith(f"{other}.") or other.startswith(f"{key}."):
                    raise ParamsError(
                        f"{source}: axes {axis} and {name} both set {max(key, other, key=len)}; let one do it"
                    )
        owner |= dict.fromkeys(keys, name)


def _explain(fault: Any) -> str:
    loc = [str(part) for part in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        model: type[BaseModel] = Grid if loc[0] == "grids" and len(loc) > 1 else Study
        return f"{'.'.join(loc)}: unknown key; the nearest known one is {nearest(loc[-1], model.model_fields)!r}"
    if fault["type"] == "missing":
        return f"{'.'.join(loc)}: expected a value, found none (docs/study.md)"
    found = "" if isinstance(fault["input"], (dict, list)) else f", found {fault['input']!r}"
    return f"{'.'.join(loc)}: {fault['msg'][0].lower()}{fault['msg'][1:]}{found}"
