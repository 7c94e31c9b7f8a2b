"""Sampling by two processes under `accelerate launch`: the same ids in the same order, the same images."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipelines.flows.dvc import environment
from pipelines.runtime.artifacts import load_array, verify_folder

pytestmark = pytest.mark.e2e
# without a GPU, `--multi_gpu` is what starts several processes; `--cpu` starts one whatever `--num_processes` says
LAUNCH = (
    *("accelerate", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"),
)


def test_two_processes_draw_what_one_draws(generator_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "two"
    shutil.copytree(generator_root, root)
    shutil.rmtree(root / "data" / "synthetic")
    done = subprocess.run(
        [*LAUNCH, "-m", "generative.diffusion.sample"],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verify_folder(root / "data" / "synthetic")
    one, two = (r / "data" / "synthetic" for r in (generator_root, root))
    assert (one / "samples.csv").read_bytes() == (two / "samples.csv").read_bytes()
    a, b = load_array(one / "images.npy"), load_array(two / "images.npy")
    assert a.shape == b.shape
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 1
