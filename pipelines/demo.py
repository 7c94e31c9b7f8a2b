"""`make demo`: the whole pipeline on the embedded phantom, in a workspace of its own, with the pristine parameters.

The folder demo/ is a DVC workspace beside the user's: copies of the sources, `pipelines/default.yaml` as its
params.yaml, and the cache of the project's root, so that a plain `dvc repro` there restores what the demo made. An
edited, broken or missing params.yaml in the root plays no part, nor does git.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from pipelines.flows import dvc
from pipelines.runtime.errors import ParamsError, SonoSynthError

PACKAGES = ("pipelines", "generative", "segmentation")
FILES = ("dvc.yaml", ".dvcignore", "data/unlabeled/README.md")
NOTE = "data/raw/phantom"
PRISTINE = "pipelines/default.yaml"
DURATIONS = ".state/log/durations.jsonl"


def make_workspace(root: Path, folder: Path, params: bytes, cache: Path | None = None) -> None:
    """Copy the sources below root into folder and make it a DVC workspace without git.

    Called again it copies what has changed and removes what is gone; results and resume state stay. cache: a DVC cache
    to share; None: one of its own.
    """
    config = "[core]\n    no_scm = True\n    analytics = false\n    autostage = false\n"
    if cache:
        config += f"[cache]\n    dir = {os.path.relpath(cache, folder / '.dvc')}\n"
    _write(folder / ".dvc" / "config", config.encode())  # first: an interrupted copy is known as a workspace too
    for package in PACKAGES:
        _mirror(root / package, folder / package)
    _mirror(root / NOTE, folder / NOTE)
    for name in FILES:
        _write(folder / name, (root / name).read_bytes())
    _write(folder / "params.yaml", params)


def check_folder(root: Path, folder: Path) -> None:
    """ParamsError when making the workspace would overwrite the project itself or a folder that is no workspace."""
    if folder == root:
        found = "the project's own folder"
    elif folder.exists() and not folder.is_dir():
        found = "a file"
    elif folder.is_dir() and any(folder.iterdir()) and not (folder / ".dvc" / "config").is_file():
        found = "other files there and no .dvc/config"
    else:
        return
    raise ParamsError(
        f"--folder {folder}: expected a new or empty folder, or a workspace made before, found {found}; name another"
    )


def durations(folder: Path, since: int = 0) -> list[tuple[str, float]]:
    """(stage, seconds) of each stage that ran in the workspace, oldest first, from byte `since` of its log on."""
    log = folder / DURATIONS
    if not log.exists():
        return []
    lines = log.read_bytes()[since:].decode().splitlines()
    entries = [json.loads(line) for line in lines if line.endswith("}")]  # a killed stage may leave half a line
    return [(entry["stage"], float(entry["seconds"])) for entry in entries]


def run(root: Path, folder: Path) -> None:
    """Make the workspace, reproduce it, and say how long each stage took and where the report is."""
    check_folder(root, folder)
    make_workspace(root, folder, (root / PRISTINE).read_bytes(), root / ".dvc" / "cache")
    log = folder / DURATIONS
    written, started = log.stat().st_size if log.exists() else 0, time.monotonic()
    outcomes = dvc.repro(folder, on_line=lambda line: print(line, flush=True))
    ran = durations(folder, written)
    print()
    for stage, seconds in ran:
        print(f"{stage:<36}{seconds:8.1f} s")
    restored = sum(outcome is dvc.Outcome.RESTORED for outcome in outcomes.values())
    kept = sum(outcome is dvc.Outcome.UNCHANGED for outcome in outcomes.values())
    print(f"{len(ran)} stages ran, {restored} restored from the cache, {kept} unchanged", end="; ")
    print(f"{time.monotonic() - started:.1f} s in all")
    print(f"report: {folder / 'report' / 'index.html'}")


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.demo", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="the workspace to make or to go on with")
    folder: Path = parser.parse_args(arguments).folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception: the children are ended on the way out
    try:
        run(Path(__file__).resolve().parents[1], folder.resolve())
    except SonoSynthError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _mirror(source: Path, target: Path) -> None:
    """Make target's source files those of source. Caches of Python are neither copied nor counted."""
    wanted = {path.relative_to(source) for path in _files(source)}
    for relative in {path.relative_to(target) for path in _files(target)} - wanted:
        (target / relative).unlink()
    for relative in wanted:
        _write(target / relative, (source / relative).read_bytes())
    for emptied in sorted((path for path in target.rglob("*") if path.is_dir()), reverse=True):
        if not _files(emptied):
            shutil.rmtree(emptied)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def _write(path: Path, content: bytes) -> None:
    """Write unless it is so already: DVC hashes a file again when its time changes."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    raise SystemExit(main())
