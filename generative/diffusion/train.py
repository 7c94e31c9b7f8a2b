"""Stage diffusion: learn to denoise the scaled latents of the train images, publish a diffusers pipeline folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models import AutoencoderKL, UNet2DModel
from diffusers.schedulers import DDIMScheduler
from torch import Tensor

from generative.autoencoder.model import load_autoencoder, scaling_of
from generative.diffusion.folder import save_pipeline
from generative.diffusion.model import build_scheduler, build_unet, diffusion_loss, drop_labels, stratified_timesteps
from generative.diffusion.pipeline import UltrasoundPipeline
from pipelines.params.generator import DiffusionParams
from pipelines.runtime.artifacts import load_tensors, read_csv, read_metadata
from pipelines.runtime.errors import ArtifactError
from pipelines.runtime.randomness import generator_for
from pipelines.runtime.stage import Run, Stage, run_stage
from pipelines.runtime.trainer import Step, TrainSettings, train


@dataclass(frozen=True)
class Latents:
    """Posterior moments of the train images in units of the scaled latent.

    mean, std: (2, n, c, h, w), first index 0 as they are, 1 mirrored; labels: (n,) int64 class index, k = no class;
    classes: the k names; cases: n names.
    """

    mean: Tensor
    std: Tensor
    labels: Tensor
    classes: list[str]
    cases: list[str]

    def draw(self, rows: Tensor, mirrored: Tensor, noise: Tensor) -> Tensor:
        """x_0 ~ q(z | image), scaled, (b, c, h, w). rows, mirrored: (b,) int64; noise: N(0, 1), (b, c, h, w)."""
        return self.mean[mirrored, rows] + self.std[mirrored, rows] * noise

    def class_counts(self) -> list[int]:
        """Train images of each class."""
        return [int((self.labels == index).sum()) for index in range(len(self.classes))]


def load_latents(folder: Path, vae: AutoencoderKL, device: torch.device) -> Latents:
    """Read data/latents, scale by the autoencoder's measured mean and deviation, move to the device."""
    path = folder / "moments.safetensors"
    tensors = load_tensors(path)
    m, s = scaling_of(vae)
    if tensors["mean"].shape[1] != m.shape[1]:
        raise ArtifactError(
            f"{path}: expected {m.shape[1]} channels, found {tensors['mean'].shape[1]}; run encode again"
        )
    rows = read_csv(folder / "latents.csv")
    classes = json.loads(read_metadata(path)["classes"])
    index = {name: number for number, name in enumerate(classes)}
    return Latents(
        mean=((torch.stack([tensors["mean"], tensors["mean_flipped"]]) - m) / s).to(device),
        std=(torch.stack([tensors["std"], tensors["std_flipped"]]) / s).to(device),
        labels=torch.tensor([index.get(row["class"], len(classes)) for row in rows], device=device),
        classes=classes,
        cases=[row["case"] for row in rows],
    )


def settings_of(params: DiffusionParams) -> TrainSettings:
    """The trainer's settings."""
    return TrainSettings(
        total_steps=params.total_steps,
        lr=params.lr,
        schedule="cosine",
        weight_decay=0.01,
        clip=1.0,
        ema_decay=params.ema_decay,
        checkpoint_every=params.checkpoint_every,
        seed=params.seed,
    )


def fresh_unet(params: DiffusionParams, latents: Latents) -> UNet2DModel:
    """An untrained denoiser whose first weights are a function of params.seed."""
    c, side = latents.mean.shape[2], latents.mean.shape[-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(params.seed, "init").initial_seed())
        return build_unet(params, latent_channels=c, latent_size=side, classes=len(latents.classes))


def make_losses(
    unet: UNet2DModel, scheduler: DDIMScheduler, latents: Latents, params: DiffusionParams
) -> Callable[[Step, torch.nn.Module], dict[str, Tensor]]:
    """The closure that the trainer calls: latents drawn from their posteriors, noised at stratified timesteps."""
    shape = latents.mean.shape[2:]
    null = len(latents.classes)
    conditional = unet.config.num_class_embeds is not None

    def losses(step: Step, _ema: torch.nn.Module) -> dict[str, Tensor]:
        picked = step.rows("batch", len(latents.cases), params.batch)
        step.cases = [latents.cases[row] for row in picked]
        rows = torch.as_tensor(picked, device=step.device)
        draws = step.draws(params.batch)
        x_0 = latents.draw(rows, draws.integers("mirror", 0, 2), draws.normal("posterior", *shape))
        t = stratified_timesteps(draws.uniform("timestep"), draws.rows, draws.total, params.T)
        labels = None
        if conditional:
            labels = drop_labels(latents.labels[rows], draws.uniform("drop"), null, params.condition_dropout)
        return {"total": diffusion_loss(unet, scheduler, x_0, draws.normal("noise", *shape), t, labels).mean()}

    return losses


def run(run: Run) -> None:
    """The stage's body."""
    params: DiffusionParams = run.params.settings
    vae = load_autoencoder(run.inputs["autoencoder"])
    latents = load_latents(run.inputs["latents"], vae, run.device)
    unet = fresh_unet(params, latents)
    scheduler = build_scheduler(params.T)
    trained = train(unet, make_losses(unet, scheduler, latents, params), settings_of(params), run)
    conditional = len(latents.classes) >= 2
    pipeline = UltrasoundPipeline(
        trained.cpu(),
        build_scheduler(params.T),
        vae,
        class_names=latents.classes if conditional else [],
        class_counts=latents.class_counts() if conditional else [],
    )
    save_pipeline(pipeline, run.out)


STAGE = Stage(
    name="diffusion",
    module="generative.diffusion.train",
    run=run,
    output="models/diffusion",
    inputs={"latents": "data/latents", "autoencoder": "models/autoencoder"},
    params={"settings": "scales.{scale}.diffusion", "runtime": "runtime"},
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
