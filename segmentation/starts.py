"""What a call of the mask denoiser starts from and hears, with diffusion or as a twin; the timesteps of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pipelines.runtime.randomness import Draws
from segmentation import mask_diffusion as diffusion

COARSE = 0.6  # share of T below which a supervised step lies with probability 0.8: where a warm start lies
COLD = 0.25  # share of a batch that starts from pure noise
STARTS = (200, 400, 600)  # thousandths of T: warm starts of the student on unlabeled images


@dataclass(frozen=True)
class Starts:
    """twin: `none` is diffusion; `zero` hears no mask, `cascade` the mask so far, both without noise and at t = T - 1.

    b: input scale of masks. alphas_cumprod: (T,).
    """

    twin: Literal["none", "zero", "cascade"]
    b: float
    alphas_cumprod: Tensor

    def start(self, p: Tensor, eps: Tensor, t: Tensor, cold: Tensor | None = None) -> Tensor:
        """xt (B, K, H, W): an estimate p of the mask, noised to t; pure noise where `cold` (B,). A twin's is free of
        noise: the estimate itself, or nothing.
        """
        if self.twin == "zero":
            return torch.zeros_like(p)
        warm = 2.0 * p - 1.0
        if self.twin == "none":
            warm = diffusion.q_sample(warm, eps, t, self.alphas_cumprod, self.b)
        if cold is None:
            return warm
        return torch.where(cold[:, None, None, None], eps if self.twin == "none" else torch.zeros_like(p), warm)

    def heard(self, xt: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is given as x (B, K, H, W) and t (B,): of unit variance; a twin hears no noise level."""
        if self.twin == "none":
            return diffusion.unit_variance(xt, t, self.alphas_cumprod, self.b), t
        return xt, torch.full_like(t, len(self.alphas_cumprod) - 1)


def supervised_timesteps(draws: Draws, T: int) -> tuple[Tensor, Tensor]:
    """t (B,) and whether the call starts from pure noise at T - 1 (probability 0.25).

    Else with probability 0.8 uniform over the lower 0.6 of the schedule, where warm starts lie, or over the rest.
    """
    u = draws.uniform("t/supervised", 3)
    border = round(COARSE * T)
    low = (u[:, 1] * (border + 1)).long()
    high = border + 1 + (u[:, 1] * max(T - 2 - border, 1)).long()
    cold = u[:, 2] < COLD
    return torch.where(cold, T - 1, torch.where(u[:, 0] < 0.8, low, high).clamp(max=T - 1)), cold


def unlabeled_timesteps(draws: Draws, T: int) -> tuple[Tensor, Tensor]:
    """t (B,) and whether the call starts from pure noise at T - 1 (probability 0.25) or warm at 0.2, 0.4 or 0.6 T."""
    u = draws.uniform("t/unlabeled", 1)[:, 0]
    starts = torch.tensor([min(round(s * T / 1000), T - 1) for s in STARTS], device=u.device)
    t = starts[draws.integers("t/start", 0, len(STARTS), 1)[:, 0]]
    cold = u < COLD
    return torch.where(cold, T - 1, t), cold
