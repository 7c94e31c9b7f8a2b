"""The denoiser (diffusers `UNet2DModel`, from scratch), its noise schedule and its loss: v at zero terminal SNR.

Salimans and Ho 2022, appendix D (v-prediction); Lin et al. 2024, algorithm 1 (zero terminal SNR); Ho and Salimans 2022
(classifier-free guidance); Nichol and Dhariwal 2021, equation 17 (cosine schedule).

`x_t = a_t x_0 + b_t n` with `a_t^2 + b_t^2 = 1`; the network predicts `v = a_t n - b_t x_0`, so
`x_0 = a_t x_t - b_t v`.
"""

from __future__ import annotations

import math

import torch
from diffusers.models import UNet2DModel
from diffusers.schedulers import DDIMScheduler
from torch import Tensor

from pipelines.params.generator import DiffusionParams
from pipelines.runtime.errors import ParamsError


def build_unet(params: DiffusionParams, *, latent_channels: int, latent_size: int, classes: int) -> UNet2DModel:
    """A fresh denoiser for latents (B, latent_channels, latent_size, latent_size).

    classes: number k of classes; with k >= 2 the network takes a class index, and index k is the null class. Attention
    at the lowest resolution, at the lowest two when there are three or more. The last convolution starts at zero: the
    first prediction is v = 0, so the first loss on scaled latents is Var v = 1. ParamsError when the levels do not
    divide the latent.
    """
    levels = len(params.channels)
    factor = 2 ** (levels - 1)
    if latent_size % factor:
        raise ParamsError(
            f"diffusion.channels: {levels} levels divide the latent by {factor}, found a latent of {latent_size} x "
            f"{latent_size}; use fewer levels or another prepare.size"
        )
    attentive = 2 if levels >= 3 else 1
    plain = levels - attentive
    groups = max(1, math.gcd(128, *params.channels) // 4)
    unet = UNet2DModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(params.channels),
        layers_per_block=params.layers,
        down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",) * attentive,
        up_block_types=("AttnUpBlock2D",) * attentive + ("UpBlock2D",) * plain,
        attention_head_dim=math.gcd(64, *params.channels),
        norm_num_groups=groups,
        dropout=params.dropout,
        num_class_embeds=classes + 1 if classes >= 2 else None,
    )
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    return unet


def build_scheduler(T: int) -> DDIMScheduler:
    """Noise schedule of T steps whose last step is pure noise, for training and for DDIM sampling.

    Cosine: on latents of low rank it asks most at the noise levels where there is something to learn. `clip_sample`
    and `thresholding` stay off, since scaled latents are not bounded by 1.
    """
    return DDIMScheduler(
        num_train_timesteps=T,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def stratified_timesteps(uniform: Tensor, rows: slice, total: int, T: int) -> Tensor:
    """Timesteps (b,) int64 in [0, T): one from each of `total` equal parts of the schedule.

    uniform: U[0, 1), (b,), for the rows `rows` of a global batch of `total`. Each timestep is uniform over the random
    rows of the batch, and their mean loss varies less than with independent draws (Kingma et al. 2021, appendix I.1).
    """
    part = torch.arange(total, device=uniform.device)[rows]
    return ((part + uniform) / total * T).long().clamp(max=T - 1)


def diffusion_loss(
    unet: UNet2DModel, scheduler: DDIMScheduler, x_0: Tensor, noise: Tensor, t: Tensor, labels: Tensor | None
) -> Tensor:
    """Mean squared error of v, per image (B,).

    x_0: scaled latents (B, c, h, w); noise: N(0, 1) of the same shape; t: (B,) int64; labels: (B,) class indices, the
    last one for the null class, or None for a network without classes.
    """
    x_t = scheduler.add_noise(x_0, noise, t)
    v = scheduler.get_velocity(x_0, noise, t)
    v_hat = unet(x_t, t, class_labels=labels).sample.float()
    return (v_hat - v).square().flatten(1).mean(dim=1)


def drop_labels(labels: Tensor, uniform: Tensor, null: int, share: float) -> Tensor:
    """Labels (B,) with `share` of them replaced by the null class; uniform: U[0, 1), (B,)."""
    return torch.where(uniform < share, torch.full_like(labels, null), labels)
