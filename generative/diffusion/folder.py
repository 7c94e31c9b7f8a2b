"""The folder of a trained generator: a diffusers pipeline that carries its own source."""

from __future__ import annotations

from pathlib import Path

from diffusers.models import UNet2DModel
from diffusers.schedulers import DDIMScheduler

import generative.diffusion.pipeline as source
from generative.autoencoder.model import load_autoencoder
from generative.diffusion.pipeline import UltrasoundPipeline
from generative.folders import load_model
from pipelines.runtime.artifacts import read_json


def save_pipeline(pipeline: UltrasoundPipeline, folder: Path) -> None:
    """Write model_index.json, unet, scheduler, vae and pipeline.py, so that diffusers alone can load and sample."""
    pipeline.save_pretrained(folder)
    (folder / "pipeline.py").write_bytes(Path(source.__file__).read_bytes())


def load_pipeline(folder: Path) -> UltrasoundPipeline:
    """The pipeline of a published folder, on the CPU. The source inside the folder is not run: ours is.

    ArtifactError when the autoencoder's latent scaling is absent or weights are torn.
    """
    index = read_json(folder / "model_index.json")
    pipeline = UltrasoundPipeline(
        unet=load_model(UNet2DModel, folder / "unet"),
        scheduler=DDIMScheduler.from_config(DDIMScheduler.load_config(folder / "scheduler")),
        vae=load_autoencoder(folder / "vae"),
        class_names=index["class_names"],
        class_counts=index["class_counts"],
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
