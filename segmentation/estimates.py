"""Estimates e of a training mask that are about as wrong as the direct head is on unseen images.

Noising the true mask would teach the denoiser to copy it out of xt, which no test image offers; noising the network's
own prediction does the same once the few labeled images are fitted. So the mask itself is damaged.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.runtime.randomness import Draws
from segmentation.augmentations import gaussian_blur, partners, warp
from segmentation.losses import foreground

GRID = 32  # side on which components are told apart; nearer than one cell, two count as one
SOFT = 0.02  # no estimate is ever certain


def corrupt(y: Tensor, draws: Draws, stream: str, strength: float = 1.0) -> Tensor:
    """Damage masks: lost and false components, shift, other area, rough boundary, smoothed to probabilities.

    y: (B, K, H, W) in {0, 1}; strength scales all parts (0 only smooths). Returns (B, K, H, W) in [0.02, 0.98]; it
    differs from y everywhere. Blurs and warps run in float32, also under autocast.
    """
    with torch.autocast(y.device.type, enabled=False):
        return _corrupt(y, draws, stream, strength)


def _corrupt(y: Tensor, draws: Draws, stream: str, strength: float) -> Tensor:
    lesions = foreground(y.float())
    u = draws.uniform(f"{stream}/corrupt", 7)
    field = draws.uniform(f"{stream}/components", GRID, GRID)
    keep = kept_components(lesions, field, 0.15 * strength) & (u[:, 0] >= 0.05 * strength)[:, None, None, None]
    false = partners(lesions.flip(-1)) * (u[:, 1] < 0.15 * strength)[:, None, None, None]
    moved = _shift(torch.maximum(lesions * keep, false), 0.16 * strength * (u[:, 2:4] - 0.5))
    area = moved.sum(dim=(2, 3), keepdim=True) * (1.0 + 0.6 * strength * (u[:, 4] - 0.5))[:, None, None, None]
    height, width = y.shape[-2:]
    coarse = draws.normal(f"{stream}/boundary", 1, 8, 8)
    rough = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    soft = gaussian_blur(moved, 0.02 * height) * (1.0 + 0.4 * strength * rough).clamp(min=0.1)
    mask = largest_pixels(soft, area)
    smoothed = torch.lerp(
        gaussian_blur(mask, 1.0), gaussian_blur(mask, 1.0 + 0.03 * height), u[:, 5][:, None, None, None]
    )
    e = SOFT + (1.0 - 2.0 * SOFT) * smoothed
    if y.shape[1] == 1:
        return e
    background = (1.0 - e.sum(dim=1, keepdim=True)).clamp(min=SOFT)
    e = torch.cat([background, e], dim=1)
    return e / e.sum(dim=1, keepdim=True)


def kept_components(masks: Tensor, field: Tensor, p: float) -> Tensor:
    """False on each connected component with probability p, True elsewhere: (B, C, H, W) bool.

    masks: (B, C, H, W) in {0, 1}; field: (B, GRID, GRID) uniform. A component is told by the largest uniform number
    under it, which floods it by repeated maxima; that number decides by its later digits.
    """
    cells = F.adaptive_max_pool2d(masks, (GRID, GRID))
    name = field[:, None] * cells
    for _ in range(GRID):
        name = F.max_pool2d(name, 3, stride=1, padding=1) * cells
    drop = (name * 9973.0) % 1.0 < p  # a maximum is near 1, its later digits are uniform
    drop &= cells > 0
    return ~(F.interpolate(drop.float(), masks.shape[-2:], mode="nearest") > 0)


def largest_pixels(field: Tensor, area: Tensor) -> Tensor:
    """Mask of the `area` largest pixels of each map (empty for area < 1). field: (B, C, H, W); area: (B, C, 1, 1)."""
    flat = field.flatten(2)
    count = area.flatten(2).long().clamp(0, flat.shape[2])
    order = flat.sort(dim=2, descending=True).values
    threshold = order.gather(2, (count - 1).clamp(min=0))
    mask = (flat >= threshold) & (count > 0) & (flat > 0)
    return mask.view_as(field).float()


def _shift(x: Tensor, shares: Tensor) -> Tensor:
    """Move (B, C, H, W) by (B, 2) shares of width and height; what enters is 0."""
    theta = torch.zeros(len(x), 2, 3, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1.0
    theta[:, :, 2] = 2.0 * shares
    return warp(x, theta, "nearest")
