"""`accelerate launch` with two processes on the CPU: one lock, one publisher, the draws of one, no survivors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.flows.dvc import environment
from pipelines.runtime.artifacts import read_csv, verify_folder
from tests.support.workspaces import make_smoke

pytestmark = pytest.mark.e2e
# without a GPU, `--multi_gpu` is what starts several processes; `--cpu` starts one whatever `--num_processes` says
LAUNCH = (
    *("accelerate", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"),
)
AUTOENCODER = ("-m", "generative.autoencoder.train")
SEGMENT = ("-m", "segmentation.train", "--arm", "real", "--seed", "0")


def steps(tree: dict[str, Any]) -> None:
    tree["scales"]["smoke"]["autoencoder"].update(total_steps=40, checkpoint_every=5)
    tree["scales"]["smoke"]["segment"].update(total_steps=8)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_smoke(tmp_path_factory.mktemp("processes") / "workspace", steps)
    for module in ("pipelines.prepare", "pipelines.split", "pipelines.pool"):
        run(folder, sys.executable, "-m", module)
    return folder


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def trace(folder: Path) -> list[float]:
    verify_folder(folder)
    return [float(row["total"]) for row in read_csv(folder / "metrics.csv")]


def test_two_processes_follow_the_loss_of_one(workspace):
    run(workspace, sys.executable, *AUTOENCODER)
    alone = trace(workspace / "models/autoencoder")
    said = run(workspace, *LAUNCH, *AUTOENCODER)
    together = trace(workspace / "models/autoencoder")
    assert together == pytest.approx(alone, rel=1e-4)
    assert "2 processes share each batch" in said
    assert said.count("done in") == 1
    assert not list((workspace / ".state").glob("scratch/*"))


def test_a_segmenter_trains_in_two_processes(workspace):
    run(workspace, sys.executable, *SEGMENT)
    alone = trace(workspace / "models/segmenter/real-0")
    assert "2 processes share each batch" in run(workspace, *LAUNCH, *SEGMENT)
    # per-process batch statistics and masked means are not those of the whole batch: near, not equal
    assert trace(workspace / "models/segmenter/real-0") == pytest.approx(alone, rel=0.05)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_takes_the_others_along_and_the_same_command_resumes(workspace, victim):
    for old in (workspace / "models").glob("autoencoder*"):
        old.rename(workspace / f"before-{victim}")
    log = workspace / ".state" / f"launch-{victim}.log"
    with log.open("wb") as handle:
        launched = subprocess.Popen(
            [*LAUNCH, *AUTOENCODER], cwd=workspace, env=environment(), stdout=handle, stderr=handle,
            start_new_session=True,
        )  # fmt: skip
    wait_for(lambda: list((workspace / ".state/resume/models-autoencoder").glob("*/step-*")), launched)
    ranks = sorted(ranks_of(workspace))
    assert len(ranks) == 2, log.read_text()
    os.kill(dict(ranks)[victim], signal.SIGKILL)
    assert launched.wait(timeout=60) != 0
    until = time.monotonic() + 10
    while ranks_of(workspace) and time.monotonic() < until:
        time.sleep(0.1)
    assert not ranks_of(workspace)
    assert not (workspace / "models/autoencoder").exists()
    assert "resuming after step" in run(workspace, *LAUNCH, *AUTOENCODER)
    assert trace(workspace / "models/autoencoder") == trace(workspace / f"before-{victim}")


def wait_for(found: Any, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while not found():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)


def ranks_of(folder: Path) -> list[tuple[int, int]]:
    """(rank, pid) of the living processes in a folder that were given a rank."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            here = (process / "cwd").readlink() == folder
            variables = (process / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if here and state not in "ZX":
            found += [(int(v[5:]), int(process.name)) for v in variables if v.startswith(b"RANK=")]
    return found
