"""Prediction with the mask denoiser: its calls from an estimate or from noise, and what the direct head adds to them.

Modes: refine, ensemble and posterior start warm from an estimate, quality cold, from noise; fast is one cold call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pipelines.params.segmenter import MaskDiffusionParams
from segmentation import mask_diffusion as diffusion
from segmentation.losses import logits_of, probability
from segmentation.mask_diffusion import Denoise
from segmentation.starts import Starts

COLD_MODES = ("fast", "quality")


def sample(
    denoise: Denoise,
    starts: Starts,
    p: Tensor,
    d: MaskDiffusionParams,
    mode: str,
    steps: int,
    seeds: int,
    case_ids: list[str],
    start: int | None = None,
) -> list[Tensor]:
    """Probabilities (seeds, B, K, H, W) after each call of the denoiser, from the estimate p (B, K, H, W).

    denoise: is given all seeds as one batch of seeds * B rows, those of the first seed first. start: t of a warm start,
    by default the configured one. A twin's calls differ only where each is given the last one's mask.
    """
    cold = mode in COLD_MODES
    first = d.T - 1 if cold else d.start if start is None else start
    grid = diffusion.timesteps_from(first, 1 if mode == "fast" else steps)
    noise = torch.cat([diffusion.case_noise(case_ids, seed, tuple(p.shape[1:])) for seed in range(seeds)])
    noise = noise.to(p.device)
    t = torch.full((len(noise),), first, device=p.device)
    xt = starts.start(p.repeat(seeds, 1, 1, 1), noise, t, torch.full_like(t, cold, dtype=torch.bool))
    if starts.twin == "none":
        calls = diffusion.ddim(denoise, xt, grid, starts.alphas_cumprod, starts.b)
    else:
        calls = []
        for _ in grid:
            calls.append(denoise(xt, t))
            xt = starts.start(calls[-1], noise, t)
    return [call.view(seeds, *p.shape) for call in calls]


def joined(mode: str, samples: Tensor, direct: Tensor, weight: float) -> Tensor:
    """Probabilities (N, B, K, H, W) of a mode from samples and the direct head's logits (B, K, H, W).

    `ensemble` weighs both (`weight` is that of the samples), `posterior` takes them for independent evidence; the other
    modes are their samples.
    """
    if mode == "ensemble":
        return weight * samples + (1.0 - weight) * probability(direct)
    if mode == "posterior":
        return posterior(direct.expand_as(samples[0]), logits_of_samples(samples), 0.5, 0.5)
    return samples


def posterior(l_dir: Tensor, l_gen: Tensor, a: float, b: float, c: float = 0.0, prior: float = 0.5) -> Tensor:
    """s(a l_dir + b l_gen - c logit(pi)): both read-outs as evidence, a + b = 1 being neutral; (..., K, H, W)."""
    logit = float(torch.logit(torch.tensor(prior)))
    mixed = a * l_dir + b * l_gen - c * logit
    return mixed.sigmoid() if mixed.shape[-3] == 1 else mixed.softmax(dim=-3)


def logits_of_samples(samples: Tensor) -> Tensor:
    """Logits of probabilities (N, B, K, H, W)."""
    return torch.stack([logits_of(p) for p in samples])
