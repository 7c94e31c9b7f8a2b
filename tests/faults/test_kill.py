"""Kill a training stage, or its dvc, at any moment and run the same command again: the same bytes.

Real processes and real signals, on the phantom at scale smoke with more steps and checkpoints than that scale has.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.flows.dvc import environment
from tests.support.workspaces import make_smoke, tree_hashes, wait_until_gone

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Training:
    """A training stage. kills: after the checkpoints of these steps."""

    stage: str
    module: tuple[str, ...]
    output: str
    kills: tuple[int, ...]

    @property
    def slug(self) -> str:
        return self.output.replace("/", "-")


AUTOENCODER = Training("autoencoder", ("generative.autoencoder.train",), "models/autoencoder", (20, 50, 80))
SEGMENT = Training(
    "segment@supervised-0",
    ("segmentation.train", "--arm", "supervised", "--seed", "0"),
    "models/segmenter/supervised-0",
    (3, 9, 15),
)


def longer(tree: dict[str, Any]) -> None:
    tree["scales"]["smoke"]["autoencoder"].update(total_steps=100, checkpoint_every=10)
    tree["scales"]["smoke"]["segment"].update(total_steps=18, checkpoint_every=3)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which both trainings ran through."""
    folder = make_smoke(tmp_path_factory.mktemp("kill") / "undisturbed", longer)
    done = repro(folder, AUTOENCODER.stage, SEGMENT.stage)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def workspace(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of it which knows nothing of the trainings: it has no output, lock entry or run-cache of them."""
    folder = tmp_path / "workspace"
    shutil.copytree(undisturbed, folder, symlinks=True)
    shutil.rmtree(folder / ".dvc/cache/runs")
    shutil.rmtree(folder / ".dvc/tmp")
    shutil.rmtree(folder / "models")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    for training in (AUTOENCODER, SEGMENT):
        del lock["stages"][training.stage]
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    return folder


def repro(folder: Path, *stages: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["dvc", "repro", *stages],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


def start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    log = (folder / ".state" / "test.log").open("ab")
    with log:
        return subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def saved_steps(folder: Path, training: Training) -> list[int]:
    states = (folder / ".state/resume" / training.slug).glob("*/step-*")
    return sorted(int(state.name.removeprefix("step-")) for state in states)


def wait_for_step(folder: Path, training: Training, step: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while max(saved_steps(folder, training), default=0) < step:
        assert process.poll() is None, (folder / ".state/test.log").read_text()
        assert time.monotonic() < until, f"no checkpoint of step {step}"
        time.sleep(0.005)


def stage_process(folder: Path, training: Training) -> int:
    return int((folder / ".state/locks" / f"{training.slug}.lock").read_text())


def assert_as_if_undisturbed(folder: Path, undisturbed: Path, training: Training) -> None:
    assert tree_hashes(folder, training.output) == tree_hashes(undisturbed, training.output)
    assert [path for path in folder.rglob("*.partial") if ".venv" not in path.parts] == []
    assert saved_steps(folder, training) == []


def resumed_after(text: str) -> Iterator[int]:
    for line in text.splitlines():
        if "resuming after step " in line:
            yield int(line.rpartition(" ")[2])


@pytest.mark.parametrize("training", [AUTOENCODER, SEGMENT], ids=["autoencoder", "segment"])
def test_a_stage_killed_three_times_yields_the_same_bytes(workspace, undisturbed, training):
    for step in training.kills:
        process = start(workspace, "dvc", "repro", training.stage)
        wait_for_step(workspace, training, step, process)
        os.kill(stage_process(workspace, training), signal.SIGKILL)
        assert process.wait(timeout=60) != 0
        assert not (workspace / training.output).exists()
    done = repro(workspace, training.stage)
    assert done.returncode == 0, done.stdout
    resumes = [*resumed_after((workspace / ".state/test.log").read_text()), *resumed_after(done.stdout)]
    assert len(resumes) == 3
    assert all(step >= kill for step, kill in zip(resumes, training.kills, strict=True))
    assert_as_if_undisturbed(workspace, undisturbed, training)
    ours, theirs = (yaml.safe_load((root / "dvc.lock").read_text()) for root in (workspace, undisturbed))
    assert ours["stages"][training.stage] == theirs["stages"][training.stage]


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize(
    ("training", "number"),
    [(AUTOENCODER, signal.SIGKILL), (AUTOENCODER, signal.SIGTERM), (SEGMENT, signal.SIGKILL)],
    ids=["autoencoder-SIGKILL", "autoencoder-SIGTERM", "segment-SIGKILL"],
)
def test_a_stage_dies_with_its_dvc_and_the_next_run_ends_equal(workspace, undisturbed, training, number):
    process = start(workspace, "dvc", "repro", training.stage)
    wait_for_step(workspace, training, training.kills[1], process)
    stage = stage_process(workspace, training)
    process.send_signal(number)
    process.wait(timeout=60)
    assert wait_until_gone({stage}, 2) == set()
    assert not (workspace / training.output).exists()
    done = repro(workspace, training.stage)
    assert done.returncode == 0, done.stdout
    assert all(step >= training.kills[1] for step in resumed_after(done.stdout))
    assert_as_if_undisturbed(workspace, undisturbed, training)


@pytest.mark.parametrize(
    ("training", "number", "code"),
    [(AUTOENCODER, signal.SIGTERM, 143), (SEGMENT, signal.SIGINT, 130)],
    ids=["autoencoder-SIGTERM", "segment-SIGINT"],
)
def test_a_stage_asked_to_stop_saves_its_state_and_publishes_nothing(workspace, undisturbed, training, number, code):
    """Without dvc, too: a stage is a plain module."""
    command = (sys.executable, "-m", *training.module)
    process = start(workspace, *command)
    wait_for_step(workspace, training, training.kills[0], process)
    asked = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert time.monotonic() - asked < 10
    assert not (workspace / training.output).exists()
    assert "the same command goes on from here" in (workspace / ".state/test.log").read_text()
    stopped = max(saved_steps(workspace, training))
    again = start(workspace, *command)
    assert again.wait(timeout=120) == 0
    assert list(resumed_after((workspace / ".state/test.log").read_text())) == [stopped]
    assert_as_if_undisturbed(workspace, undisturbed, training)
