"""Stage autoencoder: learn latents of the training images, measure their scale, publish a diffusers folder.

Training images are the train part and what `data/pool` adds of other datasets.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from diffusers.models import AutoencoderKL
from torch import Tensor

from generative.autoencoder.model import (
    COLLAPSED_KL,
    Features,
    autoencoder_losses,
    build_autoencoder,
    kl_per_image,
    latent_statistics,
    posterior_moments,
    to_input,
)
from pipelines.datasets.training import TrainingImages, load_training_images
from pipelines.params.generator import AutoencoderParams
from pipelines.runtime.randomness import generator_for
from pipelines.runtime.stage import Run, Stage, run_stage
from pipelines.runtime.trainer import Step, TrainSettings, train

PERCEPTUAL_BLOCKS = (0, 1, 2)  # Lite0 at H/2, H/4, H/8: the scales of speckle and of tissue borders


def settings_of(params: AutoencoderParams) -> TrainSettings:
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


def fresh_autoencoder(params: AutoencoderParams, size: int) -> AutoencoderKL:
    """An untrained autoencoder whose first weights are a function of params.seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(params.seed, "init").initial_seed())
        return build_autoencoder(params, size)


def make_losses(
    vae: AutoencoderKL, images: TrainingImages, params: AutoencoderParams, features: Features | None
) -> Callable[[Step, torch.nn.Module], dict[str, Tensor]]:
    """The closure that the trainer calls: a batch of training images, each mirrored left to right with probability 1/2.

    Left and right may change places in a breast scan; top and bottom may not (attenuation, shadows, near field).
    """
    c = vae.config.latent_channels
    gray, names = images.images, images.names
    side = gray.shape[-1] // 2 ** (len(params.channels) - 1)

    def losses(step: Step, _ema: torch.nn.Module) -> dict[str, Tensor]:
        rows = step.rows("batch", len(gray), params.batch)
        step.cases = [names[row] for row in rows]
        draws = step.draws(params.batch)
        x = to_input(gray[rows]).to(step.device)
        x = torch.where(draws.uniform("flip", 1, 1, 1) < 0.5, x.flip(-1), x)
        return autoencoder_losses(
            vae,
            x,
            draws.normal("posterior", c, side, side),
            kl_weight=params.kl_weight,
            perceptual_weight=params.perceptual_weight,
            features=features,
        )

    return losses


def perceptual_features(params: AutoencoderParams, device: torch.device) -> Features | None:
    """Maps of the fixed Lite0 network, or None where the perceptual weight is 0 (nothing is then imported)."""
    if params.perceptual_weight == 0.0:
        return None
    from pipelines.runtime.weights import lite0_maps, lite0_network

    network = lite0_network().to(device)
    return lambda images: lite0_maps(network, images, PERCEPTUAL_BLOCKS)


def measure_scaling(vae: AutoencoderKL, gray: np.ndarray, *, batch: int) -> tuple[AutoencoderKL, float]:
    """Measure latents_mean and latents_std on gray (N, H, W) into the config; also gives nats of KL per element."""
    mean, std = posterior_moments(vae, gray, batch=batch)
    m, s = latent_statistics(mean, std)
    vae.register_to_config(latents_mean=m, latents_std=s)
    kl = float(kl_per_image(mean, 2.0 * std.log()).mean()) / mean[0].numel()
    return vae, kl


def run(run: Run) -> None:
    """The stage's body."""
    params: AutoencoderParams = run.params.settings
    images = load_training_images(*(run.inputs[name] for name in ("prepared", "split", "pool")))
    vae = fresh_autoencoder(params, images.images.shape[-1])
    losses = make_losses(vae, images, params, perceptual_features(params, run.device))
    trained = train(vae, losses, settings_of(params), run)
    trained, kl = measure_scaling(trained, images.images, batch=params.batch)
    if kl < COLLAPSED_KL:
        run.log(f"warning: the KL is {kl:.4f} nats per latent element (collapse below {COLLAPSED_KL}); lower kl_weight")
    trained.save_pretrained(run.out)


STAGE = Stage(
    name="autoencoder",
    module="generative.autoencoder.train",
    run=run,
    output="models/autoencoder",
    inputs={"prepared": "data/prepared", "split": "data/split", "pool": "data/pool"},
    params={"settings": "scales.{scale}.autoencoder", "runtime": "runtime"},
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
