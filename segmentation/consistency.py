"""What teaches from unlabeled images: the weight ramp, confident pixels, masked losses, cross-consistency.

q is the teacher's probability (B, K, H, W), m the mask of confident pixels (B, 1, H, W) in {0, 1}; neither carries a
gradient. All results are scalars, finite also where no pixel is confident.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.params.segmenter import SemiParams
from segmentation.losses import cross_entropy_map, foreground


def consistency_weight(u: float, w_max: float, ramp: float) -> float:
    """w(u) = w_max exp(-5 (1 - min(u / ramp, 1))^2) (Laine and Aila 2017), u the fraction of the training done."""
    return w_max * math.exp(-5.0 * (1.0 - min(u / ramp, 1.0)) ** 2)


def rectified(q: Tensor, samples: Tensor, how: str) -> Tensor:
    """Pseudo-label (B, K, H, W) from the direct head's q and the denoiser's samples (N, B, K, H, W).

    how: `none` leaves q alone, `refine` is the mean of the samples, `mean` that of both.
    """
    if how == "none":
        return q
    return samples.mean(dim=0) if how == "refine" else (samples.mean(dim=0) + q) / 2.0


def confident_pixels(
    q: Tensor, valid: Tensor, semi: SemiParams, samples: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """m, and for logs the share of each class that it keeps (`keep_foreground`, `keep_background`).

    valid: (B, 1, H, W), 0 where a view left its image: such a pixel is never confident. samples: (N, B, K, H, W) of a
    denoiser, whose agreement is the confidence where `semi.confidence` asks for it; else, or without any, it is q.
    """
    if samples is not None and semi.confidence == "agreement":
        m = agreement_mask(samples) * valid
    else:
        m = confidence_mask(q, semi.kappa_foreground, semi.kappa_background) * valid
    kept_foreground, kept_background = keep_rates(q, m, valid)
    return m, {"keep_foreground": kept_foreground, "keep_background": kept_background}


def confidence_mask(q: Tensor, kappa_foreground: float, kappa_background: float) -> Tensor:
    """1 where the teacher's class is at least as probable as that class' threshold: (B, 1, H, W) float32.

    Two thresholds, since the background dominates: one for both would keep hardly any lesion.
    """
    if q.shape[1] == 1:
        return ((q >= kappa_foreground) | (1.0 - q >= kappa_background)).float()
    best, index = q.max(dim=1, keepdim=True)
    return (best >= torch.where(index == 0, kappa_background, kappa_foreground)).float()


def agreement_mask(samples: Tensor) -> Tensor:
    """1 where all samples decide for the same class. samples: (N, B, K, H, W) probabilities -> (B, 1, H, W) float32."""
    decisions = torch.stack([decided(p) for p in samples])
    return (decisions == decisions[:1]).all(dim=0).all(dim=1, keepdim=True).float()


def keep_rates(q: Tensor, m: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Share of confident pixels among the valid ones that the teacher calls foreground, and background: two scalars,
    for logs.
    """
    kept, inside = m > 0, valid > 0
    positive = decided_foreground(q).any(dim=1, keepdim=True) & inside
    negative = inside & ~positive
    return (
        (kept & positive).sum() / positive.sum().clamp(min=1),
        (kept & negative).sum() / negative.sum().clamp(min=1),
    )


def decided_foreground(q: Tensor) -> Tensor:
    """h = 1[q > 0.5], or the channel of the largest q: (B, C, H, W) bool, C foreground channels."""
    if q.shape[1] == 1:
        return q > 0.5
    return q.argmax(dim=1, keepdim=True) == torch.arange(1, q.shape[1], device=q.device)[None, :, None, None]


def decided(q: Tensor) -> Tensor:
    """The decided mask as a target: (B, K, H, W) float32 in {0, 1}, one-hot over all channels for K >= 2."""
    if q.shape[1] == 1:
        return (q > 0.5).float()
    return (q.argmax(dim=1, keepdim=True) == torch.arange(q.shape[1], device=q.device)[None, :, None, None]).float()


def masked_cross_entropy(logits: Tensor, q: Tensor, m: Tensor) -> Tensor:
    """sum(m CE(l, q)) / max(sum m, 1)."""
    return (m * cross_entropy_map(logits, q)).sum() / m.sum().clamp(min=1.0)


def masked_dice(p: Tensor, q: Tensor, m: Tensor, pixels: int = 16) -> Tensor:
    """MD = 1 - (2 sum(m p h) + 1) / (sum(m p) + sum(m h) + 1) with h = 1[q > 0.5], a mean over the batch.

    An image (or class of it) with fewer than `pixels` confident foreground pixels adds 0. Without this term the
    background's confident pixels rule, and small lesions are segmented too small.
    """
    h, p = decided_foreground(q).float(), foreground(p)
    overlap, confident = (m * p * h).sum(dim=(2, 3)), (m * h).sum(dim=(2, 3))
    loss = 1.0 - (2.0 * overlap + 1.0) / ((m * p).sum(dim=(2, 3)) + confident + 1.0)
    return (loss * (confident >= pixels)).mean()


def cross_consistency(q: Tensor, auxiliary: Sequence[Tensor], m: Tensor) -> Tensor:
    """(1/A) sum_k mean(m (q - p_k)^2) over A perturbed decoders (Ouali et al. 2020, eq. 2); 0 without any.

    auxiliary: probabilities (B, K, H, W) each.
    """
    if not auxiliary:
        return q.new_zeros(())
    return torch.stack([(m * (q - p) ** 2).mean() for p in auxiliary]).mean()
