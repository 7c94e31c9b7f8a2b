"""Image augmentations that keep ultrasound plausible: depth stays vertical, brightness changes as a scanner's does.

Images are (B, 1, H, W) float in [0, 1]. All numbers come from `draws` under names that start with `stream`, so an
image receives the same augmentation whatever else is drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipelines.runtime.randomness import Draws


def between(uniform: Tensor, low: float, high: float) -> Tensor:
    """U[0, 1) -> U[low, high), shaped (B, 1, 1, 1) when (B, 1)."""
    return (low + (high - low) * uniform)[..., None, None]


def weak_geometry(draws: Draws, stream: str) -> Tensor:
    """The weak view: horizontal flip, crop of 0.8 to 1.0 of the side, shift by up to a tenth: (B, 2, 3), see `warp`.

    No vertical flip and no rotation: sound comes from above.
    """
    u = draws.uniform(f"{stream}/geometry", 6)
    flip = torch.where(u[:, 0] < 0.5, -1.0, 1.0)
    side = 0.8 + 0.2 * u[:, 1]
    shift = (1.0 - side)[:, None] * (2.0 * u[:, 2:4] - 1.0) + 0.2 * (2.0 * u[:, 4:6] - 1.0)
    theta = torch.zeros(len(u), 2, 3, device=u.device)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = flip * side, side, shift
    return theta


def warp(x: Tensor, theta: Tensor, mode: str = "bilinear") -> Tensor:
    """Resample (B, C, H, W) by theta (B, 2, 3); what lies outside the image becomes 0."""
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=False)


def photometric(images: Tensor, draws: Draws, stream: str) -> Tensor:
    """The strong view, same geometry: gain, gamma, contrast, time-gain slope, speckle, blur, cutout."""
    u = draws.uniform(f"{stream}/photometric", 8)
    height, width = images.shape[-2:]
    x = images.clamp(min=1e-4) ** between(u[:, :1], -0.5, 0.5).exp()  # gamma
    x = x * between(u[:, 1:2], 0.7, 1.3)  # overall gain
    mean = x.mean(dim=(2, 3), keepdim=True)
    x = mean + (x - mean) * between(u[:, 2:3], 0.7, 1.3)  # contrast
    depth = torch.linspace(-0.5, 0.5, height, device=x.device)[None, None, :, None]
    x = x * (1.0 + between(u[:, 3:4], -0.8, 0.8) * depth)  # time-gain compensation set otherwise
    x = x * (1.0 + between(u[:, 4:5], 0.0, 0.3) * draws.normal(f"{stream}/speckle", 1, height, width))
    strength = between((2.0 * u[:, 5:6] - 1.0).clamp(min=0.0), 0.0, 1.0)  # half of the images stay sharp
    x = torch.lerp(x, gaussian_blur(x, 1.0 + height / 256.0), strength)
    x = torch.where(
        _boxes(draws, f"{stream}/cutout", height, width, 0.01, 0.1) & (u[:, 6] < 0.5)[:, None, None, None], 0.0, x
    )
    return x.clamp(0.0, 1.0)


def cutmix_boxes(draws: Draws, stream: str, height: int, width: int) -> Tensor:
    """With probability 0.5 a box over 10 to 40% of the image, else nothing (Yun et al. 2019): (B, 1, H, W) bool."""
    on = draws.uniform(f"{stream}/on", 1) < 0.5
    return _boxes(draws, stream, height, width, 0.1, 0.4) & on[..., None, None]


def _boxes(draws: Draws, stream: str, height: int, width: int, smallest: float, largest: float) -> Tensor:
    """A box of that share of the area, wholly inside the image, at a uniform place: (B, 1, H, W) bool."""
    u = draws.uniform(f"{stream}/box", 3)
    side = (smallest + (largest - smallest) * u[:, 0]).sqrt()[:, None]
    top, left = u[:, 1:2] * (1.0 - side), u[:, 2:3] * (1.0 - side)
    y = (torch.arange(height, device=u.device) + 0.5) / height
    x = (torch.arange(width, device=u.device) + 0.5) / width
    rows, columns = (y >= top) & (y < top + side), (x >= left) & (x < left + side)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def partners(x: Tensor) -> Tensor:
    """Each image's partner for mixing: rows 2k and 2k + 1 trade places, a last odd one stays.

    Pairs lie inside one process' slice of the batch, so that several processes mix as one does.
    """
    order = torch.arange(len(x), device=x.device) ^ 1
    return x[order.clamp(max=len(x) - 1)]


def cutmix(x: Tensor, boxes: Tensor) -> Tensor:
    """The partner's pixels inside the box, the own ones outside. x: (B, C, H, W); boxes: (B, 1, H, W) bool."""
    return torch.where(boxes, partners(x), x)


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur of (B, C, H, W), borders replicated."""
    radius = max(1, round(2.5 * sigma))
    taps = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).repeat(x.shape[1], 1, 1, 1)
    padded = F.pad(x, (radius, radius, radius, radius), mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=x.shape[1]), kernel.mT, groups=x.shape[1])
