"""A made-up project whose stages take milliseconds, and made-up results, for the tests of pipelines.study."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.runtime.artifacts import write_csv, write_json, write_manifest
from pipelines.study.__main__ import main
from pipelines.study.spec import Job, Study, expand_jobs, load_study
from pipelines.study.table import build_table
from tests.support.workspaces import project_environment, smoke_params

# The stages of the real dvc.yaml that matter here, with the same names and places.
GRAPH = """\
stages:
  prepare:
    cmd: exec python -m segmentation.work prepare data/prepared
    deps: ['data/raw/${dataset}', segmentation/work.py]
    params: [dataset, 'datasets.${dataset}', prepare]
    outs: [data/prepared]
  split:
    cmd: exec python -m segmentation.work split data/split
    deps: [data/prepared, segmentation/work.py]
    params: [split]
    outs: [data/split]
  audit:
    cmd: exec python -m segmentation.work audit data/audit
    deps: [data/prepared, segmentation/work.py]
    params: [audit]
    outs: [data/audit]
  segment:
    matrix: {arm: '${arms.plain}', seed: '${seeds}'}
    cmd: exec python -m segmentation.work segment models/segmenter/${item.arm}-${item.seed}
    deps: [data/prepared, data/split, segmentation/work.py, 'segmentation/systems/${segmenter.system}.py']
    params: &segment [segmenter.label_fraction, segmenter.system]
    outs: ['models/segmenter/${item.arm}-${item.seed}']
  segment_synthetic:
    matrix: {arm: '${arms.synthetic}', seed: '${seeds}'}
    cmd: exec python -m segmentation.work segment_synthetic models/segmenter/${item.arm}-${item.seed}
    deps: [data/split, data/audit, segmentation/work.py, 'segmentation/systems/${segmenter.system}.py']
    params: *segment
    outs: ['models/segmenter/${item.arm}-${item.seed}']
  evaluate:
    matrix: {arm: '${arms.plain}', seed: '${seeds}'}
    cmd: exec python -m segmentation.work evaluate results/${item.arm}-${item.seed}
    deps: [data/split, 'models/segmenter/${item.arm}-${item.seed}', segmentation/work.py]
    params: [evaluate]
    outs: ['results/${item.arm}-${item.seed}']
  evaluate_synthetic:
    matrix: {arm: '${arms.synthetic}', seed: '${seeds}'}
    cmd: exec python -m segmentation.work evaluate_synthetic results/${item.arm}-${item.seed}
    deps: [data/split, 'models/segmenter/${item.arm}-${item.seed}', data/audit, segmentation/work.py]
    params: [evaluate]
    outs: ['results/${item.arm}-${item.seed}']
"""

# A stage of the standard library alone. It is told what to do by files in $ORDERS and notes there what it did; asked to
# end, it leaves a checkpoint as a training does.
WORK = """\
import hashlib, json, os, pathlib, re, shutil, signal, sys, time
stage, output = sys.argv[1:]
orders, out = pathlib.Path(os.environ["ORDERS"]), pathlib.Path(output)
state = pathlib.Path(".state/step")
def note(word):
    with (orders / "log").open("a") as log:
        log.write(f"{word} {pathlib.Path.cwd().name}\\n")
def stop(*_):
    state.parent.mkdir(exist_ok=True)
    state.write_text("1")
    note("checkpoint")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
note("resume" if state.exists() else "begin")
for name in (stage, pathlib.Path.cwd().name):
    todo = (orders / name).read_text().split(maxsplit=1) if (orders / name).exists() else []
    if todo and todo[0] == "sleep" and not state.exists():
        time.sleep(float(todo[1]))
    if todo and todo[0] == "once":  # as with a place that another process holds
        (orders / name).unlink()
        sys.exit(int(todo[1]))
    if todo and todo[0] == "fail":
        sys.exit(f"{stage}: error: {todo[1]}")
inputs, notes = {}, {}
for link in [p for p in pathlib.Path().rglob("*") if p.is_symlink()]:
    assert link.is_dir(), link
    if (link / "manifest.json").exists():
        text = (link / "manifest.json").read_bytes()
        inputs[str(link)] = hashlib.sha256(text).hexdigest()
        notes[str(link)] = json.loads(text)["facts"]["inputs"]
for link, theirs in notes.items():
    if any(inputs.get(name, digest) != digest for name, digest in theirs.items()):
        sys.exit(f"{stage}: error: {link}: expected to be made from its inputs as they are now")
dataset = re.search(r"^dataset: (\\w+)", pathlib.Path("params.yaml").read_text(), re.M)[1]
shutil.rmtree(out, ignore_errors=True)
out.mkdir(parents=True)
if stage.startswith("evaluate"):
    arm, seed = out.name.split("-")
    head = "case,group,class,site,leaked,foreground,mode,empty,empty_native,target_area,dice\\n"
    score = {"supervised": 0.5, "control": 0.5, "real": 0.75}.get(arm, 0.25) + 0.125 * int(seed)
    row = "{0},g{0},benign,,false,lesion,direct,,,0.1,{1}\\n"
    (out / "per_case.csv").write_text(head + "".join(row.format(case, score) for case in "abc"))
else:
    salt = orders / "salt"
    (out / "value.txt").write_text(stage + (salt.read_text() if salt.exists() else ""))
files = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in out.iterdir()}
facts = {"dataset": dataset, "device": "cpu", "inputs": inputs, "versions": {}}
(out / "manifest.json").write_text(json.dumps({"facts": facts, "files": files}))
note("end")
"""


def make_project(folder: Path) -> Path:
    """The made-up project: dvc.yaml, params.yaml, two systems, raw datasets busi and phantom."""
    for name in ("pipelines", "generative", "segmentation", "segmentation/systems"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text('"""Made up."""\n')
    (folder / "segmentation" / "work.py").write_text(WORK)
    for system in ("unet", "crossdiff"):
        (folder / "segmentation" / "systems" / f"{system}.py").write_text("")
    (folder / "dvc.yaml").write_text(GRAPH)
    (folder / "params.yaml").write_bytes(smoke_params())
    for name in ("phantom", "busi"):
        (folder / "data" / "raw" / name).mkdir(parents=True)
        (folder / "data" / "raw" / name / "note.txt").write_text(name)
    (folder / "orders").mkdir()
    return folder


def write_study(folder: Path, **content: Any) -> Path:
    """study.yaml in this folder; a name and one small grid where the content names none."""
    axes = {"arm": ["supervised", "real"], "seed": [0, 1]}
    tree = {"name": "toy", "metrics": ["dice"], "grids": [{"axes": axes}], **content}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


@contextlib.contextmanager
def started_study(root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m pipelines.study ...` of the real sources in the made-up project's root; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "pipelines.study", *arguments],
        cwd=root,
        env={**project_environment(), "ORDERS": str(root / "orders")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run_study_apart(root: Path, *arguments: str) -> tuple[int, str]:
    """(exit code, all that it printed) of a process of its own."""
    with started_study(root, *arguments) as process:
        printed = process.communicate(timeout=500)[0]
    return process.returncode, printed


def run_study(root: Path, *arguments: str) -> tuple[int, str]:
    """The same in this process, which starts faster; the stages are processes of their own in any case."""
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        patch.setenv("ORDERS", str(root / "orders"))
        code = main(list(arguments), root)
    return code, printed.getvalue()


def events(root: Path, word: str) -> list[str]:
    """Names of the calls that noted this word (begin, resume, checkpoint, end), in order."""
    log = root / "orders" / "log"
    lines = log.read_text().split("\n") if log.exists() else []
    return [line.split()[1] for line in lines if line.startswith(f"{word} ")]


def wait_for(root: Path, word: str, stage: str, count: int = 1, seconds: float = 120.0) -> None:
    """Until so many calls of a stage noted this word."""
    until = time.monotonic() + seconds
    while sum(name.startswith(f"{stage}-") for name in events(root, word)) < count:
        assert time.monotonic() < until, f"no {word} of {stage}: {events(root, 'begin')}"
        time.sleep(0.02)


COLUMNS = ("case", "group", "leaked", "foreground", "mode", "empty", "empty_native", "target_area")
COLUMNS += ("largest_component", "dice", "hd95")
Case = tuple[str, str, float]  # case, group, Dice


def case_row(case: str, group: str, dice: float, **more: Any) -> dict[str, Any]:
    """A row of per_case.csv; hd95 is 10 times 1 - dice."""
    row = {"case": case, "group": group, "leaked": False, "foreground": "lesion", "mode": "direct", "empty": ""}
    row |= {"largest_component": 0.1}
    return row | {"empty_native": "", "target_area": 0.1, "dice": dice, "hd95": 10 * (1 - dice)} | more


def write_results(
    folder: Path,
    results: Mapping[str, tuple[Job, Sequence[Mapping[str, Any]]]],
    seconds: Mapping[str, Any] | None = None,
    datasets: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
    curves: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """Publish rows of per_case.csv as the result of jobs, each with its training; returns the plan, written too.

    results: any name -> (job, its rows). seconds, datasets, facts: what is other than usual, of all trainings; of the
    result of that name; of the training of that name. curves: validation Dice every 30 steps, of that training.
    """
    plan: dict[str, Any] = {"study": "s" * 64, "code": "c" * 12, "base": "b" * 12, "commit": "unknown", "versions": {}}
    plan |= {"jobs": {}, "calls": {}}
    spent = {
        "wall": 120.0,
        "cpu": 60.0,
        "unmeasured": 0,
        "open": False,
        "done": True,
        "hardware": {"cpu": "Toy", "cores": 2},
    }
    for name, (job, rows) in results.items():
        segment, evaluate = f"segment-{name}", f"evaluate-{name}"
        dataset = (datasets or {}).get(name, "busi")
        for call, output in ((segment, "models/segmenter/x-0"), (evaluate, "results/x-0")):
            (folder / "store" / call / output).mkdir(parents=True)
        write_csv(folder / "store" / evaluate / "results/x-0" / "per_case.csv", rows, COLUMNS)
        write_manifest(folder / "store" / evaluate / "results/x-0", dataset=dataset)
        more = {"device": "cpu", **(facts or {}).get(name, {})}
        looks = [{"step": 30 * (n + 1), "dice_val": value} for n, value in enumerate((curves or {}).get(name, (0.5,)))]
        write_csv(folder / "store" / segment / "models/segmenter/x-0" / "metrics.csv", looks, ("step", "dice_val"))
        write_manifest(folder / "store" / segment / "models/segmenter/x-0", dataset=dataset, **more)
        write_json(folder / "store" / segment / "seconds.json", spent | dict(seconds or {}))
        plan["jobs"][job.id] = [evaluate]
        plan["calls"][segment] = {"stage": "segment", "output": "models/segmenter/x-0", "inputs": {}}
        plan["calls"][evaluate] = {
            "stage": "evaluate",
            "output": "results/x-0",
            "inputs": {"models/segmenter/x-0": segment},
        }
    write_json(folder / "plan.json", plan)
    return plan


def open_study(folder: Path, **content: Any) -> tuple[Study, list[Job]]:
    """A study of this content and its jobs."""
    path = write_study(folder, **content)
    study = load_study(path)
    return study, expand_jobs(study, path)


def rows_of(*dice: float, **more: Any) -> list[dict[str, Any]]:
    """One image per score, two images to a group."""
    return [case_row(f"case{n}", f"g{n // 2}", value, **more) for n, value in enumerate(dice)]


def by_label(jobs: list[Job], **results: list[dict[str, Any]]) -> dict[str, tuple[Job, list[dict[str, Any]]]]:
    """`real_0=rows`: the job of that arm and seed."""
    found = {f"{job.arm}_{job.seed}": job for job in jobs}
    return {name: (found[name], rows) for name, rows in results.items()}


def table_of(folder: Path, study: Study, jobs: list[Job], results: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The table of these results; more: as for write_results."""
    plan = write_results(folder / "out", results, **more)
    return build_table(study, jobs, plan, folder / "out")
