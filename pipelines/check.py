"""`python -m pipelines check`: parameters, data, terms, disk, device and dvc.lock, in one report before any long run.

All problems are collected; none hides another.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.datasets.checks import check_counts, check_names
from pipelines.datasets.integrity import CHECKS, policy_of, printable
from pipelines.datasets.read import read_dataset
from pipelines.datasets.sources import SOURCES, look_alike
from pipelines.params.loader import load_params
from pipelines.params.root import Params
from pipelines.runtime.errors import ArtifactError, DataError, ParamsError

SHOWN = 5  # faults of one dataset
GIB = 2**30
NEEDED_GIB = {"smoke": 0.5, "demo": 2.0, "full": 20.0}  # outputs, cache and resume states of one run


@dataclass(frozen=True)
class Item:
    """One line of the report. problem: whether a run would fail over it."""

    name: str
    text: str
    problem: bool = False

    def __str__(self) -> str:
        return printable(f"{'PROBLEM' if self.problem else 'ok':<8} {self.name:<8} {self.text}")


def main(root: Path) -> int:
    """Print the report for the workspace at root; 0 if a run can start, else 1."""
    items = list(report(root))
    for item in items:
        print(item)
    problems = sum(item.problem for item in items)
    print(f"{problems} problem{'s' if problems != 1 else ''} found" if problems else "ready: dvc repro")
    return 1 if problems else 0


def report(root: Path) -> Iterator[Item]:
    """All items. Where the parameters are refused, those that depend on them are left out."""
    params = None
    try:
        params = load_params(root / "params.yaml")
        text = f"dataset {params.dataset}, scale {params.scale}, segmenter {params.segmenter.system}"
        yield Item("params", f"{text}, arms {', '.join(_arms(params)) or 'none'}, seeds {params.seeds}")
    except ParamsError as error:
        for line in str(error).splitlines():
            yield Item("params", line, problem=True)
    if params:
        for name in (params.dataset, *params.unlabeled):
            yield from data_items(root, name, params)
        if not (root / "data" / "unlabeled").is_dir():  # DVC would say so with a bare errno
            text = "data/unlabeled: expected the folder with its note, found nothing; restore it or make it by hand"
            yield Item("data", text, problem=True)
    yield disk_item(root, params.scale if params else "demo")
    if params:
        yield device_item(params)
    try:
        require_whole_lock_file(root)
        yield Item("dvc.lock", "whole" if (root / "dvc.lock").exists() else "none yet: every stage will run")
    except ArtifactError as error:
        yield Item("dvc.lock", str(error), problem=True)


def data_items(root: Path, name: str, params: Params) -> Iterator[Item]:
    """What the adapter finds in data/raw/<name>, each fault that would stop `prepare` before a pixel is decoded, and
    the terms. Of a set under `unlabeled` masks are not asked for.
    """
    block = params.datasets[name]
    source, folder, place = SOURCES[block.adapter], root / "data" / "raw" / name, f"data/raw/{name}"
    if not folder.is_dir():
        found = "a dangling link" if folder.is_symlink() else "a file" if folder.exists() else "nothing"
        elsewhere = look_alike(folder.parent, source.signs, set(params.datasets))
        hint = f"; data/raw/{elsewhere} looks like it: move or link it to {place}" if elsewhere else ""
        text = f"{place}: expected {source.layout}; found {found}{hint}; get it: {source.where}"
        yield Item("data", text, problem=True)
    elif block.adapter == "phantom":
        yield Item("data", f"{place} is there; images are made when `prepare` runs")
        yield Item("scores", "phantom scores are never set beside scores on real images")
    else:
        yield from read_items(folder, name, params, masks=name == params.dataset)
    yield Item("terms", source.terms)


def read_items(folder: Path, name: str, params: Params, *, masks: bool) -> Iterator[Item]:
    """The findings of the adapter, of names and of counts, by the policy of params: errors are problems, of which the
    first few are shown.
    """
    block = params.datasets[name]
    source, place = SOURCES[block.adapter], f"data/raw/{name}"
    try:
        policy = policy_of(
            {str(check): value for check, value in params.prepare.policy.items()}, strict=params.prepare.strict
        )
        dataset = read_dataset(name, folder, block)
    except DataError as error:
        yield Item("data", f"{place}: {error}", problem=True)
        return
    findings = [item for item in dataset.findings if masks or not CHECKS[item.check].mask]
    faults = [item for item in findings if policy[item.check] == "error"]
    if not dataset.cases:
        first = [*faults, *findings][0]  # a policy may have made each of them less than an error
        text = f"{place}: expected {source.layout}; {first.message}; get it: {source.where}"
        yield Item("data", text, problem=True)
        return
    findings += [*check_counts(dataset), *check_names(dataset.cases)]
    faults = [item for item in findings if policy[item.check] == "error"]
    classes = Counter(case.class_name for case in dataset.cases)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(classes.items()))
    role = "" if masks else "as unlabeled images, "
    layout = f", layout: {dataset.layout}" if dataset.layout else ""
    rest = Counter(policy[item.check] for item in findings)
    words = {"exclude": "left out", "warning": "warning", "flag": "flag"}
    told = [
        f"{rest[name]} {word}{'s' if rest[name] > 1 and name != 'exclude' else ''}"
        for name, word in words.items()
        if rest[name]
    ]
    warnings = f"; {', '.join(told)}, which `prepare` lists" if told else ""
    yield Item("data", f"{place}: {role}{len(dataset.cases)} images ({counts}){layout}{warnings}")
    for fault in faults[:SHOWN]:
        yield Item("data", f"{place}: {fault.message}", problem=True)
    if len(faults) > SHOWN:
        text = f"{place}: and {len(faults) - SHOWN} faults more; `dvc repro prepare` lists them all"
        yield Item("data", text, problem=True)


def disk_item(root: Path, scale: str) -> Item:
    """Free space against what a run at this scale writes."""
    free, needed = shutil.disk_usage(root).free / GIB, NEEDED_GIB[scale]
    if not os.access(root, os.W_OK):
        return Item("disk", f"{root}: expected a folder that may be written to; change its owner or mode", problem=True)
    if free < needed:
        text = (
            f"{root}: expected {needed:g} GiB free for scale {scale}, found {free:.1f}; free some, or move the project"
        )
        return Item("disk", text, problem=True)
    return Item("disk", f"{free:.1f} GiB free, scale {scale} takes up to {needed:g}")


def device_item(params: Params) -> Item:
    """What torch will compute on."""
    import torch  # late: it costs seconds

    wanted, seen = params.runtime.device, torch.cuda.is_available()
    if wanted == "cuda" and not seen:
        text = "runtime.device: cuda, but torch sees no CUDA device; set it to auto or cpu, or mend the driver"
        return Item("device", text, problem=True)
    if seen and wanted != "cpu":
        return Item("device", f"cuda: {torch.cuda.get_device_name()}")
    slow = "; scale full wants a GPU: on a CPU it takes days" if params.scale == "full" else ""
    return Item("device", f"cpu, {params.runtime.threads} of {os.cpu_count()} threads{slow}")


def require_whole_lock_file(root: Path) -> None:
    """Raise ArtifactError if dvc.lock is there and torn. What is left of a cut file may still be valid YAML: DVC then
    runs the lost stages again, which costs time and changes no result.
    """
    path = root / "dvc.lock"
    if not path.exists():
        return
    remedy = "restore it (git checkout dvc.lock) or delete it: the cache knows the stages"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: damaged, not valid YAML ({str(error).splitlines()[0]}); {remedy}") from None
    stages = tree.get("stages") if isinstance(tree, dict) else None
    if not isinstance(stages, dict) or tree.get("schema") != "2.0":
        raise ArtifactError(f"{path}: damaged, expected `schema: '2.0'` and stages; {remedy}")
    torn = [name for name, stage in stages.items() if not isinstance(stage, dict) or "cmd" not in stage]
    if torn:
        raise ArtifactError(f"{path}: damaged at {', '.join(map(str, torn))}; {remedy}")


def _arms(params: Params) -> list[str]:
    return [*params.arms.plain, *params.arms.synthetic, *params.arms.phantom]
