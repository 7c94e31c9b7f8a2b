"""Workspaces for tests: a trivial DVC pipeline, and copies of the project at scale smoke."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipelines import demo

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PARAMS = ROOT / "pipelines" / "default.yaml"

TRIVIAL = """\
stages:
  raw:
    cmd: exec python work.py raw
    deps: [work.py, raw.txt]
    outs: [out/raw]
  train:
    matrix:
      arm: [real]
      seed: [0, 1]
    cmd: exec python work.py train-${item.seed}
    deps: [work.py, out/raw]
    params: [dataset]
    outs: ['out/train/${item.arm}-${item.seed}']
  side:
    cmd: exec python work.py side
    deps: [work.py, out/raw]
    outs: [out/side]
  report:
    cmd: exec python work.py report
    deps: [out/train, out/side]
    outs: [out/report]
"""

# A stage is told what to do by files in the folder `orders`, which is no dependency, so that one workspace can be made
# to fail, to be busy or to sleep and then be mended without a change that DVC sees.
WORK = """\
import pathlib, sys, time
from pipelines.runtime.process import die_with_parent
die_with_parent()  # as a real stage does
name = sys.argv[1]
order = pathlib.Path("orders") / name
todo = order.read_text().split() if order.exists() else []
print(f"{name}: begins", flush=True)
if todo and todo[0] == "exit":
    print(f"DataError: {name}: told to fail", file=sys.stderr, flush=True)
    if todo[2:] == ["once"]:
        order.unlink()
    raise SystemExit(int(todo[1]))
if todo and todo[0] == "sleep":
    time.sleep(float(todo[1]))
folder = pathlib.Path("out") / {"train-0": "train/real-0", "train-1": "train/real-1"}.get(name, name)
folder.mkdir(parents=True)
(folder / "result.txt").write_text(name)
"""


def make_trivial(folder: Path) -> Path:
    """Five stages of milliseconds (raw; train@real-0, train@real-1 and side; report) beside valid parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = True\n")
    (folder / "dvc.yaml").write_text(TRIVIAL)
    (folder / "work.py").write_text(WORK)
    (folder / "raw.txt").write_text("raw")
    (folder / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    (folder / "orders").mkdir()
    return folder


def smoke_params(edit: Callable[[dict[str, Any]], None] | None = None) -> bytes:
    """The pristine parameters at scale smoke on one thread, with the system that has the most parts; `edit` changes the
    tree in place.
    """
    tree = yaml.safe_load(DEFAULT_PARAMS.read_text(encoding="utf-8"))
    tree["scale"] = "smoke"
    tree["segmenter"]["system"] = "crossdiff"
    tree["runtime"]["threads"] = 1
    tree["runtime"]["device"] = "cpu"
    if edit:
        edit(tree)
    return yaml.safe_dump(tree, sort_keys=False).encode()


def make_smoke(folder: Path, edit: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """A copy of the project at scale smoke, with a DVC cache of its own."""
    demo.make_workspace(ROOT, folder, smoke_params(edit))
    return folder


def project_environment() -> dict[str, str]:
    """An environment in which a Python started in another folder finds the project's packages."""
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def is_alive(pid: int) -> bool:
    """Whether the process still does something; a defunct one does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_in(folder: Path) -> set[int]:
    """Live processes that work in the folder, but this one."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == folder and is_alive(int(entry.name)):
                found.add(int(entry.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found - {os.getpid()}


def wait_until_gone(pids: set[int], seconds: float) -> set[int]:
    """Those that still live after so long."""
    until = time.monotonic() + seconds
    while (left := {pid for pid in pids if is_alive(pid)}) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def tree_hashes(root: Path, *folders: str) -> dict[str, str]:
    """Relative path -> sha256 of each file below the folders."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }
