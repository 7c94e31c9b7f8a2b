"""A stage's life: validate, lock, verify inputs, run, publish by rename, log.

A stage module declares `STAGE = Stage(...)` and ends with `raise SystemExit(run_stage(STAGE))`. Interrupted anywhere,
the same command goes on from its last checkpoint and yields the same bytes on the same CPU setting.

Exit codes: 0 done; 1 an expected error; 75 another process holds the stage; 130 and 143 signals.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pipelines.params.loader import expand, load_params, select
from pipelines.params.root import Params
from pipelines.runtime.artifacts import Manifest, canonical_json, fsync_folder, verify_folder, write_manifest
from pipelines.runtime.checkpoint import Checkpoints, fingerprint
from pipelines.runtime.closure import closure_sha256
from pipelines.runtime.errors import ArtifactError, LockedError, SonoSynthError
from pipelines.runtime.process import Stop, StopRequested, die_with_parent, hold_lock
from pipelines.runtime.progress import Progress

if TYPE_CHECKING:
    import torch

STATE = Path(".state")
VERSIONED = ("numpy", "scipy", "pillow", "torch", "diffusers", "accelerate", "segmentation_models_pytorch", "timm")


@dataclass(frozen=True)
class Stage:
    """What dvc.yaml says of a stage, for the code. Templates may hold {dataset}, {scale}, {system} and the arguments.

    name: as in dvc.yaml. module: what `python -m` runs. run: the body. output: its one folder. inputs: name -> folder
    of another stage, verified; with {unlabeled} in it one folder, named `name/<dataset>`, per dataset of
    params.unlabeled. params: alias -> dotted key of params.yaml; the body sees nothing else. arguments:
    command-line options (`--arm`). selected: modules imported by a name from params. raw: the dataset's folder as its
    owner publishes it, which has no manifest (`data/raw/{dataset}`).
    """

    name: str
    module: str
    run: Callable[[Run], None]
    output: str
    inputs: Mapping[str, str]
    params: Mapping[str, str]
    arguments: tuple[str, ...] = ()
    selected: tuple[str, ...] = ()
    raw: str = ""


@dataclass
class Run:
    """One execution of a stage, as its body sees it. Write into `out`; it is published when the body returns.

    state: the folder `.state`, for what must outlive a failure and is no output.
    """

    stage: str
    dataset: str
    params: SimpleNamespace
    inputs: dict[str, Path]
    out: Path
    checkpoints: Checkpoints
    arguments: dict[str, str]
    raw: Path
    stop: Stop
    state: Path = STATE
    rank: int = 0
    world: int = 1
    log: Callable[[str], None] = print

    @property
    def device(self) -> torch.device:
        """Where tensors live, by `runtime.device`."""
        import torch

        choice = self.params.runtime.device
        if choice == "auto":
            choice = "cuda" if torch.cuda.is_available() else "cpu"
        if choice == "cuda" and self.world > 1:
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        return torch.device(choice)

    def progress(self, total: int, *, first: int = 0) -> Progress:
        """A bar or thin log lines; see Progress."""
        return Progress(self.stage, total, quiet=self.rank != 0, first=first)


def run_stage(stage: Stage, argv: Sequence[str] | None = None, *, root: Path | None = None) -> int:
    """Run a stage from the command line in `root` (default: the current folder); returns the exit code."""
    die_with_parent()
    arguments = parse_arguments(stage, argv)
    try:
        execute(stage, load_params((root or Path()) / "params.yaml"), root or Path(), arguments)
    except LockedError as error:
        return _complain(stage.name, error, 75)
    except SonoSynthError as error:
        return _complain(stage.name, error, 1)
    except OSError as error:
        reason = f"{error.filename or 'disk'}: {error.strerror or error}"
        return _complain(stage.name, f"{reason}; free space or mend permissions, then run the same command", 1)
    except StopRequested as stop:
        print(f"{stage.name}: stopped by {stop.name}; the same command goes on from here", file=sys.stderr, flush=True)
        return 128 + stop.number
    return 0


def parse_arguments(stage: Stage, argv: Sequence[str] | None = None) -> dict[str, str]:
    """The stage's options; all are required."""
    parser = argparse.ArgumentParser(prog=f"python -m {stage.module}", description=f"stage {stage.name}")
    for name in stage.arguments:
        parser.add_argument(f"--{name}", required=True)
    return vars(parser.parse_args(argv))


def execute(stage: Stage, params: Params, root: Path, arguments: Mapping[str, str]) -> None:
    """The life itself. Raises the errors of `runtime.errors`; nothing is published unless all went well."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    fill = dict(arguments)
    label = "-".join([stage.name, *arguments.values()])
    final = root / stage.output.format(**fill)
    slug = final.relative_to(root).as_posix().replace("/", "-")
    temporary = final.with_name(f".{final.name}.partial") if rank == 0 else root / STATE / "scratch" / f"{slug}-{rank}"
    blocks = {alias: select(params, key, arguments) for alias, key in stage.params.items()}

    def log(text: str) -> None:
        if rank == 0:
            print(f"{label}: {text}", flush=True)

    started = time.monotonic()
    with hold_lock(root / STATE / "locks" / f"{slug}.lock", label, needed=rank == 0), Stop() as stop:
        shutil.rmtree(temporary, ignore_errors=True)
        inputs = {name: root / folder for name, folder in input_folders(stage, params, fill).items()}
        manifests = {name: verify_folder(folder) for name, folder in inputs.items()}
        for name, manifest in manifests.items():
            if manifest.facts.get("dataset") != params.dataset:
                raise ArtifactError(
                    f"{inputs[name]}: expected dataset {params.dataset!r}, found {manifest.facts.get('dataset')!r}; "
                    "run `dvc repro`"
                )
        _check_lineage(inputs, manifests)
        facts = {
            "stage": label,
            "dataset": params.dataset,
            "params": {stage.params[alias]: plain(block) for alias, block in blocks.items()},
            "arguments": fill,
            "inputs": {name: manifest.sha256 for name, manifest in manifests.items()},
        }
        run = Run(
            stage=label,
            dataset=params.dataset,
            params=SimpleNamespace(**blocks),
            inputs=inputs,
            out=temporary,
            checkpoints=_checkpoints(stage, params, facts, root, slug, log, rank),
            arguments=fill,
            raw=root / stage.raw.format(dataset=params.dataset, **fill),
            stop=stop,
            state=root / STATE,
            rank=rank,
            world=world,
            log=log,
        )
        if "runtime" in blocks:
            _use_threads(blocks["runtime"].threads)
            facts["device"] = run.device.type
        run.checkpoints.clean()
        temporary.mkdir(parents=True)
        stage.run(run)
        if rank != 0:
            shutil.rmtree(temporary, ignore_errors=True)
            return
        write_manifest(temporary, **facts, versions=versions())
        publish(temporary, final)
        run.checkpoints.drop()
    seconds = time.monotonic() - started
    log(f"done in {seconds:.1f} s")
    _note_duration(root, label, seconds)


def input_folders(stage: Stage, params: Params, arguments: Mapping[str, str]) -> dict[str, str]:
    """Name -> folder of each input, relative to the root."""
    found: dict[str, str] = {}
    for name, folder in stage.inputs.items():
        if "{unlabeled}" in folder:
            found |= {f"{name}/{each}": folder.format(unlabeled=each, **arguments) for each in params.unlabeled}
        else:
            found[name] = folder.format(**arguments)
    return found


def _check_lineage(inputs: Mapping[str, Path], manifests: Mapping[str, Manifest]) -> None:
    """Inputs that were made from one another must be of one making: no audit of other samples than those at hand."""
    for name, manifest in manifests.items():
        for other, digest in manifest.facts.get("inputs", {}).items():
            if other in manifests and manifests[other].sha256 != digest:
                raise ArtifactError(
                    f"{inputs[name]}: expected to be made from {inputs[other]} as it is now "
                    f"({manifests[other].sha256}), found another one ({digest}); run `dvc repro`"
                )


def publish(temporary: Path, final: Path) -> None:
    """Rename a finished folder to its final name; an older one of that name gives way first."""
    final.parent.mkdir(parents=True, exist_ok=True)
    retired = final.with_name(f".{final.name}.old.partial")
    shutil.rmtree(retired, ignore_errors=True)
    if final.exists():
        final.replace(retired)
    temporary.replace(final)
    fsync_folder(final.parent)
    shutil.rmtree(retired, ignore_errors=True)


def plain(block: Any) -> Any:
    """A parameter block as JSON values."""
    return block.model_dump(mode="json") if isinstance(block, BaseModel) else block


def versions() -> dict[str, str]:
    """Versions that a result may depend on; part of each manifest."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _checkpoints(
    stage: Stage, params: Params, facts: Mapping[str, Any], root: Path, slug: str, log: Callable[[str], None], rank: int
) -> Checkpoints:
    modules = [stage.module, *(expand(params, module) for module in stage.selected)]
    source = Path(__file__).resolve().parents[2]
    origin = {
        "params": hashlib.sha256(canonical_json([facts["params"], facts["arguments"]]).encode()).hexdigest(),
        "inputs": hashlib.sha256(canonical_json([facts["dataset"], facts["inputs"]]).encode()).hexdigest(),
        "code": closure_sha256(modules, source),
    }
    folder = root / STATE / "resume" / slug / fingerprint(origin)
    return Checkpoints(folder, origin, log, writer=rank == 0)


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _note_duration(root: Path, label: str, seconds: float) -> None:
    log = root / STATE / "log"
    log.mkdir(parents=True, exist_ok=True)
    with (log / "durations.jsonl").open("a", encoding="utf-8") as handle:
        handle.write(json.dumps({"stage": label, "seconds": round(seconds, 2), "finished": time.time()}) + "\n")


def _complain(name: str, error: Exception | str, code: int) -> int:
    for line in str(error).splitlines():
        print(f"{name}: error: {line}", file=sys.stderr)
    sys.stderr.flush()
    return code
