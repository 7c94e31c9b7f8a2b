"""`scale: full`, the settings for 256 x 256: every stage of the pipeline runs for a few steps."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.flows.dvc import environment
from pipelines.runtime.artifacts import load_array, read_json, verify_folder

pytestmark = pytest.mark.e2e
FOLDERS = [
    "data/prepared",
    "data/split",
    "data/pool",
    "models/autoencoder",
    "data/latents",
    "models/diffusion",
    "data/synthetic",
    "data/audit",
    "models/segmenter/supervised-0",
    "models/segmenter/both-0",
    "results/supervised-0",
    "results/both-0",
    "report",
]


def few_steps(tree: dict[str, Any]) -> None:
    """The real networks and sizes; the numbers of images and steps are cut."""
    tree["scale"] = "full"
    full = tree["scales"]["full"]
    full["prepare"]["phantom_images"] = 48
    full["autoencoder"]["total_steps"] = full["diffusion"]["total_steps"] = 2
    full["segment"]["total_steps"] = 2
    full["sample"] |= {"count": 2, "batch": 2, "steps": 2}


def on_cpu(tree: dict[str, Any]) -> None:
    few_steps(tree)
    full = tree["scales"]["full"]
    full["autoencoder"]["batch"] = full["diffusion"]["batch"] = 1
    full["segment"] |= {"batch_labeled": 2, "batch_unlabeled": 2}
    tree["runtime"]["threads"] = 2


def on_gpu(tree: dict[str, Any]) -> None:
    few_steps(tree)  # with the real batch sizes: they must fit
    tree["scales"]["full"]["sample"] |= {"count": 64, "batch": 64}
    tree["runtime"] |= {"device": "cuda", "precision": "bf16"}


def check(folder: Path) -> None:
    done = subprocess.run(
        ["dvc", "repro"], cwd=folder, env=environment(), capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in FOLDERS:
        assert verify_folder(folder / name).facts["dataset"] == "phantom"
    assert load_array(folder / "data/prepared/images.npy").shape == (48, 256, 256)
    assert load_array(folder / "data/synthetic/images.npy").shape[1:] == (256, 256)
    assert read_json(folder / "models/autoencoder/config.json")["block_out_channels"] == [64, 128, 256]
    assert read_json(folder / "models/segmenter/both-0/config.json")["width"] == 1.0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_full_scale_runs_through(workspace: Callable[..., Path]) -> None:
    check(workspace(on_cpu))


@pytest.mark.gpu
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_full_scale_fits_a_gpu(workspace: Callable[..., Path]) -> None:
    check(workspace(on_gpu))
