"""The autoencoder: gray images <-> latents (diffusers `AutoencoderKL`, trained from scratch) and its losses.

Kingma and Welling 2014 (VAE); Rombach et al. 2022, section 3.1 (KL-regularized autoencoder with a weak KL).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.models import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from generative.folders import load_model
from pipelines.params.generator import AutoencoderParams
from pipelines.runtime.errors import ArtifactError, NumericsError, ParamsError

SCALED_STD = (0.8, 1.25)  # deviation of scaled latents outside of which the noise schedule does not fit them
START_LOGVAR = -6.0  # nats; a deviation of about 0.05 in latents whose own deviation is near 1
COLLAPSED_KL = 0.02  # nats per latent element; below it the latent says next to nothing about the image

Features = Callable[[Tensor], list[Tensor]]


def build_autoencoder(params: AutoencoderParams, size: int) -> AutoencoderKL:
    """A fresh AutoencoderKL for gray images of `size` pixels: latents (B, c, size / f, size / f), f = 2^(levels - 1).

    No attention in the middle: the map stays local, so that its parameters do not depend on the image size and its
    memory grows with the pixels alone (4096 tokens at 256 x 256 otherwise). ParamsError when f does not divide size.
    """
    factor = 2 ** (len(params.channels) - 1)
    if size % factor:
        raise ParamsError(
            f"autoencoder.channels: {len(params.channels)} levels divide the image by {factor}, found prepare.size "
            f"{size}; use fewer levels or a size that {factor} divides"
        )
    levels = len(params.channels)
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(params.channels),
        layers_per_block=params.layers,
        latent_channels=params.latent_channels,
        norm_num_groups=max(1, math.gcd(128, *params.channels) // 4),  # at least 4 channels share a norm
        sample_size=size,
        scaling_factor=1.0,  # latents_mean and latents_std, measured per channel, do the scaling
        mid_block_add_attention=False,
    )
    start_narrow(vae)
    return vae


@torch.no_grad()
def start_narrow(vae: AutoencoderKL) -> None:
    """Let every posterior start at the deviation exp(START_LOGVAR / 2), about 0.05, whatever the image.

    From the library's start, near 1, the noise drowns all but the strongest latent channel, and the others stay unused
    for hundreds of steps.
    """
    c = vae.config.latent_channels
    vae.quant_conv.weight[c:].zero_()  # rows 0 ... c - 1 give the mean, the others ln variance
    vae.quant_conv.bias[c:].fill_(START_LOGVAR)


def to_input(gray: np.ndarray) -> Tensor:
    """Gray levels (B, H, W) uint8 -> network input (B, 1, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(gray)).float().div(127.5).sub(1.0).unsqueeze(1)


def to_gray(decoded: Tensor) -> np.ndarray:
    """Decoder output (B, 1, H, W), nominally in [-1, 1] -> gray levels (B, H, W) uint8, rounded and clipped."""
    return decoded.squeeze(1).add(1.0).mul(127.5).round().clamp(0.0, 255.0).to(torch.uint8).cpu().numpy()


def kl_per_image(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, I)) in nats, summed over the latent: (B, c, h, w) -> (B,)."""
    return 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).flatten(1).sum(dim=1)


def perceptual_distance(features: Features, x: Tensor, x_hat: Tensor) -> Tensor:
    """Mean squared distance of channel-normalized feature maps (Zhang et al. 2018, equation 1, unit weights); scalar.

    x, x_hat: (B, 1, H, W) in [-1, 1]; `features` takes [0, 1] and gives a list of (B, C, h, w).
    """
    with torch.no_grad():
        real = features((x + 1.0) / 2.0)
    fake = features((x_hat + 1.0) / 2.0)
    distances = [
        # in float32: near the end these are differences of nearly equal vectors
        (F.normalize(a.float(), dim=1, eps=1e-6) - F.normalize(b.float(), dim=1, eps=1e-6)).square().sum(dim=1).mean()
        for a, b in zip(real, fake, strict=True)
    ]
    return torch.stack(distances).mean()


def autoencoder_losses(
    vae: AutoencoderKL,
    x: Tensor,
    noise: Tensor,
    *,
    kl_weight: float,
    perceptual_weight: float,
    features: Features | None,
) -> dict[str, Tensor]:
    """total = |x - x^|_1 (mean over pixels) + kl_weight * KL (per image) + perceptual_weight * P.

    x: (B, 1, H, W) in [-1, 1]; noise: N(0, 1), (B, c, h, w), the draw of the posterior sample. Also gives `l1`,
    `kl_element` (nats per latent element) and, with a positive weight, `perceptual`.
    """
    posterior = vae.encode(x).latent_dist
    x_hat = vae.decode(posterior.mean + posterior.std * noise).sample.float()
    l1 = (x - x_hat).abs().mean()
    kl = kl_per_image(posterior.mean.float(), posterior.logvar.float()).mean()
    losses = {"l1": l1, "kl_element": kl.detach() / noise[0].numel()}
    total = l1 + kl_weight * kl
    if perceptual_weight > 0.0:
        if features is None:
            raise ValueError("autoencoder_losses: a positive perceptual_weight needs `features`")
        losses["perceptual"] = perceptual_distance(features, x, x_hat)
        total = total + perceptual_weight * losses["perceptual"]
    return {"total": total, **losses}


@torch.no_grad()
def posterior_moments(
    vae: AutoencoderKL, gray: np.ndarray, *, batch: int = 32, flip: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of q(z|x), each (N, c, h, w) float32 on the CPU, for gray (N, H, W) uint8."""
    means, stds = [], []
    for start in range(0, len(gray), batch):
        x = to_input(gray[start : start + batch])
        posterior = vae.encode((x.flip(-1) if flip else x).to(vae.device)).latent_dist
        means.append(posterior.mean.float().cpu())
        stds.append(posterior.std.float().cpu())
    return torch.cat(means), torch.cat(stds)


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, gray: np.ndarray, *, batch: int = 32) -> np.ndarray:
    """Decoded posterior means of gray (N, H, W) uint8, again (N, H, W) uint8."""
    parts = []
    for start in range(0, len(gray), batch):
        x = to_input(gray[start : start + batch]).to(vae.device)
        parts.append(to_gray(vae.decode(vae.encode(x).latent_dist.mean).sample))
    return np.concatenate(parts)


def latent_statistics(mean: Tensor, std: Tensor) -> tuple[list[float], list[float]]:
    """Mean m_c and deviation s_c per channel of z ~ q(z|x), over images and positions.

    mean, std: (N, c, h, w) posterior moments. Exact, without drawing: Var z = Var mean + E std^2 (total variance).
    NumericsError when a channel is not finite or constant.
    """
    m = mean.double().mean(dim=(0, 2, 3))
    s = (mean.double().var(dim=(0, 2, 3), correction=0) + std.double().square().mean(dim=(0, 2, 3))).sqrt()
    if not (torch.isfinite(m).all() and torch.isfinite(s).all() and (s > 1e-6).all()):
        raise NumericsError(
            f"autoencoder: expected latents of finite, positive deviation, found means {m.tolist()} and deviations "
            f"{s.tolist()}; lower autoencoder.lr or kl_weight"
        )
    return m.tolist(), s.tolist()


def scaling_of(vae: AutoencoderKL) -> tuple[Tensor, Tensor]:
    """latents_mean and latents_std of the config, each (1, c, 1, 1) float32; ArtifactError when one is absent."""
    channels = vae.config.latent_channels
    for name in ("latents_mean", "latents_std"):
        values = vae.config.get(name)
        if values is None or len(values) != channels:
            raise ArtifactError(
                f"autoencoder config: expected {name} with {channels} numbers, found {values}; latents cannot be "
                "scaled without the measured values: run the autoencoder stage again"
            )
    mean, std = vae.config.latents_mean, vae.config.latents_std
    return torch.tensor(mean).float().view(1, -1, 1, 1), torch.tensor(std).float().view(1, -1, 1, 1)


def check_scaled(deviations: Sequence[float]) -> None:
    """NumericsError when a channel's deviation after scaling is outside 0.8 ... 1.25."""
    low, high = SCALED_STD
    if not all(low <= value <= high for value in deviations):
        raise NumericsError(
            f"latents: expected a deviation between {low} and {high} per channel after scaling, found "
            f"{[round(value, 4) for value in deviations]}; latents_std does not belong to this autoencoder and these "
            "images: run the autoencoder stage again"
        )


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """The autoencoder of a published folder, in eval mode; ArtifactError when its latent scaling is absent."""
    vae = load_model(AutoencoderKL, folder)
    scaling_of(vae)
    return vae
