"""A workspace with train, val and test images and an untrained autoencoder, on which the stage can be run in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generative.audit.audit import STAGE
from generative.autoencoder.model import build_autoencoder
from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import save_array, write_csv, write_manifest
from tests.support.generator import make_workspace, run_stages

COUNT, SIZE = 40, 32  # 24 train, 8 val, 8 test


def write_samples(root: Path, images: np.ndarray) -> None:
    """data/synthetic with these (M, H, W) uint8 images."""
    folder = root / "data" / "synthetic"
    folder.mkdir(parents=True, exist_ok=True)
    save_array(folder / "images.npy", images)
    rows = [{"sample": f"s{k:06d}", "row": k, "class": "benign", "seed": k} for k in range(len(images))]
    write_csv(folder / "samples.csv", rows, ["sample", "row", "class", "seed"])
    write_manifest(folder, dataset="phantom")


def make_audit_root(root: Path, edit: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """Prepared data, a split and an autoencoder with random weights; samples are missing."""
    make_workspace(root, edit, count=COUNT, size=SIZE)
    params = load_params(root / "params.yaml").scales.smoke.autoencoder
    torch.manual_seed(0)
    vae = build_autoencoder(params, SIZE)
    vae.register_to_config(latents_mean=[0.0] * params.latent_channels, latents_std=[1.0] * params.latent_channels)
    vae.save_pretrained(root / "models" / "autoencoder")
    write_manifest(root / "models" / "autoencoder", dataset="phantom")
    return root


@pytest.fixture(scope="session")
def shared_audit_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_audit_root(tmp_path_factory.mktemp("audit"))


@pytest.fixture
def audit(shared_audit_root: Path) -> Callable[[np.ndarray], Path]:
    """`audit(images)` runs the stage on these samples and returns data/audit."""

    def run(images: np.ndarray) -> Path:
        write_samples(shared_audit_root, images)
        run_stages(shared_audit_root, STAGE)
        return shared_audit_root / "data" / "audit"

    return run
