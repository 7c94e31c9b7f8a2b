"""dvc.yaml as a graph of module calls, for one set of params: which calls a result needs, and what each depends on.

The table of contents is read, not repeated: commands, dependencies, params and outputs come from dvc.yaml. A call is
named by a sha256 over its command, the params that it declares, the contents of its code and raw data, the calls that
it reads from, and the versions of Python and of the packages. Two jobs share what they have in common, and nothing
that was made from anything else is taken for it. The machine and the device that `auto` found are no part of it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from pipelines.params.loader import read_yaml
from pipelines.params.root import Params
from pipelines.runtime.artifacts import canonical_json
from pipelines.runtime.closure import PACKAGES
from pipelines.runtime.errors import ParamsError
from pipelines.runtime.stage import versions
from pipelines.study.contents import hash_files, hash_raw, read_known, write_known

PLACE = re.compile(r"\$\{([\w.]+)\}")
RAW = "data/raw/"


@dataclass(frozen=True)
class Call:
    """One stage call. name: `segment-0123456789ab`. command: module and arguments. output: its folder, relative to its
    root. inputs: folder -> name of the call that makes it. raw: names below data/raw that it reads. params: the full
    params under which it is made (of which it sees what it declares).
    """

    name: str
    stage: str
    command: tuple[str, ...]
    output: str
    inputs: Mapping[str, str]
    raw: tuple[str, ...]
    key: str
    params: Mapping[str, Any] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Sources:
    """Where contents come from: hashes of a path of the sources and of a raw dataset; versions: package -> version."""

    stages: Mapping[str, Any]
    code_hash: Callable[[str], str]
    raw_hash: Callable[[str], str]
    versions: Mapping[str, str]


def open_sources(code: Path, raw: Path, cache: Path | None = None) -> Sources:
    """Sources with every content hashed once. code: the folder with the packages and dvc.yaml; raw: data/raw; cache: a
    file in which hashes of raw files are kept from run to run.
    """
    hashed: dict[str, str] = {}
    listed: dict[str, str] = {}
    known = read_known(cache)

    def code_hash(name: str) -> str:
        if name not in hashed:
            hashed[name] = hash_files(code / name)
        return hashed[name]

    def raw_hash(name: str) -> str:
        if name not in listed:
            before = dict(known)
            listed[name] = hash_raw(raw / name, known)
            if known != before:
                write_known(cache, known)
        return listed[name]

    return Sources(read_yaml(code / "dvc.yaml")["stages"], code_hash, raw_hash, versions())


def calls_for(params: Params, targets: Sequence[str], sources: Sources) -> tuple[dict[str, Call], list[str]]:
    """(calls by name, ancestors first; the names of the targets'). ParamsError for a target that no stage serves.

    A target is a stage or a kind of stage: `evaluate` means evaluate, evaluate_synthetic or evaluate_phantom, whichever
    serves the one arm of params.
    """
    tree = params.model_dump(mode="json")
    makers = {item.output: item for name, stage in sources.stages.items() for item in items_of(name, stage, tree)}
    calls: dict[str, Call] = {}
    visited: dict[str, Call] = {}

    def call_of(item: Item) -> Call:
        if item.output in visited:
            return visited[item.output]
        inputs: dict[str, str] = {}
        code: dict[str, str] = {}
        raw: list[str] = []
        for dep in item.deps:
            if dep.split("/")[0] in PACKAGES:
                code[dep] = sources.code_hash(dep)
            elif dep.startswith(RAW):
                raw.append(dep.removeprefix(RAW))
            else:
                found = [made for made in makers if made == dep or made.startswith(f"{dep}/")]
                if not found and not _may_be_made(dep, sources.stages):
                    raise ParamsError(
                        f"dvc.yaml: {item.stage}: {dep}: expected sources ({', '.join(PACKAGES)}), {RAW}NAME or a "
                        "stage's output, found something else, which no key would hang on"
                    )
                inputs |= {made: call_of(makers[made]).name for made in found}
        content = {
            "command": item.command,
            "dataset": params.dataset,
            "params": {key: look_up(tree, key) for key in item.params},
            "inputs": inputs,
            "code": code,
            "raw": {name: sources.raw_hash(name) for name in raw},
            "versions": dict(sources.versions),
        }
        key = hashlib.sha256(canonical_json(content).encode()).hexdigest()
        name = f"{item.stage}-{key[:12]}"
        call = Call(name, item.stage, item.command, item.output, inputs, tuple(raw), key, tree)
        visited[item.output] = calls[name] = call
        return call

    ends = [call_of(item).name for target in targets for item in _target(target, list(makers.values()), sources)]
    return calls, ends


@dataclass(frozen=True)
class Item:
    """A stage of dvc.yaml, or one item of its matrix, with every `${...}` filled in."""

    stage: str
    command: tuple[str, ...]
    deps: tuple[str, ...]
    params: tuple[str, ...]
    output: str


def items_of(name: str, stage: Mapping[str, Any], tree: Mapping[str, Any]) -> list[Item]:
    """All items of a stage for these params; none where a list of its matrix is empty."""
    axes = {axis: resolve(values, tree, {}) for axis, values in stage.get("matrix", {}).items()}
    items = []
    for values in product(*axes.values()):
        item = dict(zip(axes, values, strict=True))

        def fill(text: str, item: Mapping[str, Any] = item) -> str:
            return str(resolve(text, tree, item))

        words = shlex.split(fill(stage["cmd"]))
        words = words[1:] if words[:1] == ["exec"] else words
        if words[:2] != ["python", "-m"]:
            raise ParamsError(f"dvc.yaml: {name}: expected a command `exec python -m MODULE`, found {stage['cmd']!r}")
        outs = [fill(out if isinstance(out, str) else next(iter(out))) for out in stage["outs"]]
        if len(outs) != 1:
            raise ParamsError(f"dvc.yaml: {name}: expected one output folder, found {outs}")
        deps, keys = stage.get("deps", []), stage.get("params", [])
        items.append(Item(name, tuple(words[2:]), tuple(map(fill, deps)), tuple(map(fill, keys)), outs[0]))
    return items


def resolve(text: Any, tree: Mapping[str, Any], item: Mapping[str, Any]) -> Any:
    """`${a.b}` by params, `${item.x}` by the item of the matrix; a text that is nothing else keeps the value's type."""

    def value(name: str) -> Any:
        return look_up({**tree, "item": item}, name)

    if not isinstance(text, str):
        return text
    if whole := PLACE.fullmatch(text):
        return value(whole.group(1))
    return PLACE.sub(lambda match: str(value(match.group(1))), text)


def look_up(tree: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key."""
    value: Any = tree
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ParamsError(f"dvc.yaml: params has no {key!r}")
        value = value[part]
    return value


def _may_be_made(dep: str, stages: Mapping[str, Any]) -> bool:
    """Whether a stage makes this folder, or some below it, for other params: its matrix is empty for these."""
    for stage in stages.values():
        for out in stage["outs"]:
            parts = (out if isinstance(out, str) else next(iter(out))).split("/")
            wanted = dep.split("/")
            if len(wanted) <= len(parts) and all(map(fnmatchcase, wanted, [PLACE.sub("*", part) for part in parts])):
                return True
    return False


def _target(target: str, items: Sequence[Item], sources: Sources) -> list[Item]:
    exact = [item for item in items if item.stage == target]
    found = exact or [item for item in items if item.stage.startswith(f"{target}_")]
    if not found:
        raise ParamsError(f"targets: no stage serves {target!r}; dvc.yaml has {', '.join(sources.stages)}")
    return found
