"""The real settings of scale full at 256 x 256: every stage of the generator runs for a few steps."""

from pathlib import Path
from typing import Any

import pytest
import torch

from generative.autoencoder.encode import STAGE as ENCODE
from generative.autoencoder.model import build_autoencoder
from generative.autoencoder.train import STAGE as AUTOENCODER
from generative.diffusion.model import build_unet
from generative.diffusion.sample import STAGE as SAMPLE
from generative.diffusion.train import STAGE as DIFFUSION
from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import load_array
from tests.support.generator import make_workspace, run_stages
from tests.support.workspaces import DEFAULT_PARAMS


def test_networks_have_the_sizes_that_were_meant() -> None:
    scale = load_params(DEFAULT_PARAMS).scales.full
    with torch.device("meta"):
        vae = build_autoencoder(scale.autoencoder, scale.prepare.size)
        unet = build_unet(scale.diffusion, latent_channels=scale.autoencoder.latent_channels, latent_size=64, classes=3)
    assert 10e6 < sum(p.numel() for p in vae.parameters()) < 20e6
    assert 20e6 < sum(p.numel() for p in unet.parameters()) < 60e6


@pytest.mark.slow
def test_full_scale_runs(tmp_path: Path) -> None:
    def edit(tree: dict[str, Any]) -> None:
        few = {"total_steps": 2, "batch": 1}
        full, smoke = tree["scales"]["full"], tree["scales"]["smoke"]
        smoke["autoencoder"] = full["autoencoder"] | few
        smoke["diffusion"] = full["diffusion"] | few
        smoke["sample"] = full["sample"] | {"count": 1, "batch": 1, "steps": 2}

    root = make_workspace(tmp_path, edit, count=5, size=256)
    run_stages(root, AUTOENCODER, ENCODE, DIFFUSION, SAMPLE)
    assert load_array(root / "data" / "synthetic" / "images.npy").shape == (1, 256, 256)
