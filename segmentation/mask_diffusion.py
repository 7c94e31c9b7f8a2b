"""Diffusion on segmentation masks with prediction of x0: schedule, noising, DDIM from noise or from an estimate.

Masks enter as x0 = 2 y - 1 in {-1, +1}; the network sees them scaled by b (`input_scale`), which makes every step
harder, and predicts p, hence x0_hat = 2 p - 1, which is bounded and needs no clipping. Timesteps are int64 in [0, T).
All functions are pure; `alphas_cumprod` is (T,) float32.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]  # (xt (B, K, H, W), t (B,)) -> probability (B, K, H, W)


def linear_alphas_cumprod(T: int, beta_start: float, beta_end: float) -> Tensor:
    """abar_t = prod_s<=t (1 - beta_s) for linear beta (Ho, Jain and Abbeel 2020, section 4): (T,) float32."""
    betas = torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
    return torch.cumprod(1.0 - betas, dim=0).float()


def at(values: Tensor, t: Tensor) -> Tensor:
    """values (T,) at t (B,), shaped (B, 1, 1, 1) for images."""
    return values[t][:, None, None, None]


def q_sample(x0: Tensor, eps: Tensor, t: Tensor, alphas_cumprod: Tensor, b: float) -> Tensor:
    """xt = sqrt(abar_t) b x0 + sqrt(1 - abar_t) eps (Ho et al. 2020, eq. 4, with input scale b).

    x0, eps: (B, K, H, W); t: (B,); returns (B, K, H, W).
    """
    abar = at(alphas_cumprod, t)
    return abar.sqrt() * b * x0 + (1.0 - abar).sqrt() * eps


def unit_variance(xt: Tensor, t: Tensor, alphas_cumprod: Tensor, b: float) -> Tensor:
    """The network's input: xt divided by its standard deviation at t, so that it is 1 at every step."""
    abar = at(alphas_cumprod, t)
    return xt / (b * b * abar + 1.0 - abar).sqrt()


def ddim_step(xt: Tensor, x0: Tensor, t: Tensor, s: Tensor, alphas_cumprod: Tensor, b: float) -> Tensor:
    """From step t to step s < t without fresh noise (Song, Meng and Ermon 2021, eq. 12 with eta = 0)."""
    abar_t, abar_s = at(alphas_cumprod, t), at(alphas_cumprod, s)
    eps = (xt - abar_t.sqrt() * b * x0) / (1.0 - abar_t).sqrt()
    return abar_s.sqrt() * b * x0 + (1.0 - abar_s).sqrt() * eps


def timesteps_from(start: int, steps: int) -> list[int]:
    """The grid t_i = round(start (1 - i / S)), i = 0 .. S - 1; start = T - 1 is the "trailing" grid from noise.

    Another S changes the grid alone, never the schedule.
    """
    return [round(start * (1.0 - i / steps)) for i in range(steps)]


def ddim(denoise: Denoise, xt: Tensor, timesteps: Sequence[int], alphas_cumprod: Tensor, b: float) -> list[Tensor]:
    """Probabilities (B, K, H, W) of every network call along the grid; the last one is the result.

    xt: (B, K, H, W) at the first timestep of the grid.
    """
    calls = []
    for i, step in enumerate(timesteps):
        t = torch.full((len(xt),), step, dtype=torch.int64, device=xt.device)
        calls.append(denoise(xt, t))
        if i + 1 < len(timesteps):
            xt = ddim_step(xt, 2.0 * calls[-1] - 1.0, t, torch.full_like(t, timesteps[i + 1]), alphas_cumprod, b)
    return calls


def case_noise(case_ids: Sequence[str], seed: int, shape: tuple[int, ...]) -> Tensor:
    """N(0, 1) of one seed for each case, (B, *shape) float32 on the CPU.

    The numbers hang on (case id, seed) through CRC32: a prediction depends neither on the batch nor on its order.
    """
    draws = []
    for case in case_ids:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{case}\n{seed}".encode()))
        draws.append(torch.randn(shape, generator=generator))
    return torch.stack(draws)
