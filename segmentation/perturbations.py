"""Perturbations of feature maps for auxiliary decoders (Ouali et al. 2020; Tang et al., MGCC): training only.

The functions take their uniform numbers as arguments. `perturbations` binds them to one generator per image, seeded
by the step's draws, so that neither batch size nor number of processes changes what an image receives, and large maps
are drawn on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipelines.runtime.randomness import Draws

Perturbation = Callable[[Tensor], Tensor]


def feature_dropout(x: Tensor, uniform: Tensor) -> Tensor:
    """Remove the pixels with the strongest attention: those at or above max(a) * U(0.7, 0.9).

    x: (B, C, H, W); uniform: (B, 1, 1, 1) in [0, 1). a is the channel mean of |x| (the papers' maps are positive).
    """
    attention = x.abs().mean(dim=1, keepdim=True)
    threshold = attention.amax(dim=(2, 3), keepdim=True) * (0.7 + 0.2 * uniform)
    return x * (attention < threshold)


def channel_dropout(x: Tensor, uniform: Tensor, p: float = 0.5) -> Tensor:
    """Zero whole channels with probability p, scale the rest by 1 / (1 - p). uniform: (B, C, 1, 1)."""
    return x * (uniform >= p) / (1.0 - p)


def element_dropout(x: Tensor, uniform: Tensor, p: float = 0.3) -> Tensor:
    """Zero each element with probability p, scale the rest by 1 / (1 - p). x, uniform: (B, C, H, W)."""
    return x * (uniform >= p) / (1.0 - p)


def feature_noise(x: Tensor, uniform: Tensor, amplitude: float = 0.3) -> Tensor:
    """x (1 + n) with n ~ U(-amplitude, amplitude). x, uniform: (B, C, H, W)."""
    return x * (1.0 + amplitude * (2.0 * uniform - 1.0))


def image_generators(draws: Draws, stream: str) -> list[torch.Generator]:
    """One generator per image of this process, on the draws' device."""
    seeds = draws.integers(stream, 0, 2**62, 1).flatten().tolist()
    return [torch.Generator(draws.device).manual_seed(seed) for seed in seeds]


def uniform_like(x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """U[0, 1) of the shape of x, each image from its own generator."""
    return torch.stack([torch.rand(x.shape[1:], generator=g, device=x.device) for g in generators])


def channels_dropped(draws: Draws, stream: str, p: float = 0.5) -> Perturbation:
    """Drop channels of every map that it is called on, with fresh numbers at each call."""
    generators = image_generators(draws, stream)
    return lambda x: channel_dropout(x, uniform_like(x[:, :, :1, :1], generators), p)


def perturbations(draws: Draws, stream: str, count: int) -> list[Perturbation]:
    """The first `count` of feature dropout, dropout and feature noise, with fresh numbers at each call of each."""
    bound = []
    for index in range(count):
        generators = image_generators(draws, f"{stream}/{index}")
        bound.append(_bind(index, generators))
    return bound


def _bind(index: int, generators: list[torch.Generator]) -> Perturbation:
    if index == 0:
        return lambda x: feature_dropout(x, uniform_like(x[:, :1, :1, :1], generators))
    function = (element_dropout, feature_noise)[index - 1]
    return lambda x: function(x, uniform_like(x, generators))
