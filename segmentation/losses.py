"""Losses and read-outs of logits. K = 1 channel means a sigmoid, K >= 2 a softmax whose channel 0 is the background.

Everything runs in float32, also under autocast.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def probability(logits: Tensor) -> Tensor:
    """(B, K, H, W) logits -> probabilities float32."""
    logits = logits.float()
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def logits_of(p: Tensor, limit: float = 1e-6) -> Tensor:
    """Logits that give p back (up to `limit`): log odds for K = 1, log p for K >= 2."""
    p = p.clamp(limit, 1.0 - limit)
    return torch.logit(p) if p.shape[1] == 1 else p.log()


def foreground(p: Tensor) -> Tensor:
    """The channels that are not background: (B, 1, H, W) for K = 1, (B, K - 1, H, W) otherwise."""
    return p if p.shape[1] == 1 else p[:, 1:]


def cross_entropy_map(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each pixel against a hard or soft target of the same shape: (B, 1, H, W)."""
    logits, target = logits.float(), target.float()
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return -(target * logits.log_softmax(dim=1)).sum(dim=1, keepdim=True)


def soft_dice(p: Tensor, y: Tensor, e: float = 1.0) -> Tensor:
    """(2 sum(p y) + e) / (sum p + sum y + e) for each image and foreground channel: (B, C).

    e = 1: an empty target asks for an empty prediction; a tiny e would make its loss 1 whatever is predicted.
    """
    p, y = foreground(p.float()), foreground(y.float())
    overlap, total = (p * y).sum(dim=(2, 3)), p.sum(dim=(2, 3)) + y.sum(dim=(2, 3))
    return (2.0 * overlap + e) / (total + e)


def bce_dice(logits: Tensor, y: Tensor, lb: float = 0.5, e: float = 1.0) -> Tensor:
    """lb * cross-entropy + 1 - soft Dice (Milletari et al. 2016), a mean over the batch: scalar.

    logits: (B, K, H, W); y: (B, K, H, W) in {0, 1} (one-hot for K >= 2) or soft.
    """
    return lb * cross_entropy_map(logits, y).mean() + 1.0 - soft_dice(probability(logits), y, e).mean()


def entropy(p: Tensor) -> Tensor:
    """Entropy of each pixel as a share of its maximum, in [0, 1]: (B, 1, H, W)."""
    if p.shape[1] == 1:
        p = torch.cat([1.0 - p, p], dim=1)
    p = p.double()  # so that p = 1 gives 0, and equal votes cancel to rounding
    terms = torch.special.entr(p).sum(dim=1, keepdim=True)
    return (terms / torch.log(torch.tensor(float(p.shape[1]), dtype=torch.float64))).float().clamp(0.0, 1.0)


def hard_dice(p: Tensor, y: Tensor) -> Tensor:
    """Mean Dice of the decided masks over images and foreground channels, 1 where both are empty: scalar, for logs."""
    if p.shape[1] == 1:
        a, b = p > 0.5, y > 0.5
    else:
        channels = torch.arange(1, p.shape[1], device=p.device)[None, :, None, None]
        a, b = p.argmax(dim=1, keepdim=True) == channels, y.argmax(dim=1, keepdim=True) == channels
    overlap, total = (a & b).sum(dim=(2, 3)), a.sum(dim=(2, 3)) + b.sum(dim=(2, 3))
    return torch.where(total == 0, 1.0, 2.0 * overlap / total.clamp(min=1)).mean()
