"""`python -m pipelines check`: parameters, data, terms, disk, device and dvc.lock, in one report before any long run.

All problems are collected; none hides another.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.params.loader import load_params
from pipelines.params.root import Params
from pipelines.runtime.errors import ArtifactError, ParamsError

GIB = 2**30
NEEDED_GIB = {"smoke": 0.5, "demo": 2.0, "full": 20.0}  # outputs, cache and resume states of one run


@dataclass(frozen=True)
class Item:
    """One line of the report. problem: whether a run would fail over it."""

    name: str
    text: str
    problem: bool = False

    def __str__(self) -> str:
        return f"{'PROBLEM' if self.problem else 'ok':<8} {self.name:<8} {self.text}"


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from. layout: what has to lie in data/raw/<name>; one of `signs` proves it."""

    where: str
    terms: str
    layout: str
    signs: tuple[str, ...]


SOURCES = {
    "phantom": Source(
        where="it is made here, from a seed",
        terms="the project's own license; phantom scores are never set beside scores on real images",
        layout="a note; restore the folder from the project",
        signs=("*",),
    ),
    "busi": Source(
        where="the page that Al-Dhabyani et al. name, Data in Brief 28:104863, 2020, doi 10.1016/j.dib.2019.104863",
        terms="no clear license: research use, do not redistribute; cite that article",
        layout="Dataset_BUSI_with_GT/{benign,malignant,normal}/, as published",
        signs=("Dataset_BUSI_with_GT", "benign", "malignant"),
    ),
    "bus_bra": Source(
        where="doi 10.5281/zenodo.8231412",
        terms="free use if Gomez-Flores et al., Medical Physics 51(4):3110-3123, 2024, is cited and the notice is kept",
        layout="BUSBRA/{Images,Masks}/, BUSBRA/bus_data.csv, BUSBRA/5-fold-cv.csv, as published",
        signs=("BUSBRA", "bus_data.csv"),
    ),
    "folder": Source(
        where="your own images",
        terms="yours: outputs derive from your images, decide what may be shared",
        layout="images/ and masks/, equal file names; optional groups.csv (see docs/datasets.md)",
        signs=("images", "*/*_mask*"),
    ),
}


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
            yield from data_items(root, name, params.datasets[name].adapter)
    yield disk_item(root, params.scale if params else "demo")
    if params:
        yield device_item(params)
    try:
        require_whole_lock_file(root)
        yield Item("dvc.lock", "whole" if (root / "dvc.lock").exists() else "none yet: every stage will run")
    except ArtifactError as error:
        yield Item("dvc.lock", str(error), problem=True)


def data_items(root: Path, name: str, adapter: str) -> Iterator[Item]:
    """Whether the raw folder holds what the adapter reads, and under which terms."""
    source, folder = SOURCES[adapter], root / "data" / "raw" / name
    place = f"data/raw/{name}"
    if not folder.is_dir():
        found = "a dangling link" if folder.is_symlink() else "a file" if folder.exists() else "nothing"
    elif not any(match for sign in source.signs for match in folder.glob(sign)):
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
        found = ", ".join(names[:5]) or "an empty folder"
    else:
        yield Item("data", f"{place} is there")
        yield Item("terms", source.terms)
        return
    yield Item("data", f"{place}: expected {source.layout}; found {found}; get it: {source.where}", problem=True)
    yield Item("terms", source.terms)


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
