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


def photometric(images: Tensor, draws: Draws, stream: str, *, cutout: bool = True) -> Tensor:
    """The strong view, same geometry: dynamic range, gamma, gain, contrast, time-gain slope, speckle, blur, cutout.

    cutout: black boxes over half of the images; not for images with masks, which would then lie.
    """
    u = draws.uniform(f"{stream}/photometric", 8)
    height, width = images.shape[-2:]
    x = dynamic_range(images, between(u[:, 7:8], -0.2, 0.2))
    x = gamma(x, between(u[:, :1], -0.5, 0.5).exp())
    x = gain(x, between(u[:, 1:2], 0.7, 1.3))
    x = contrast(x, between(u[:, 2:3], 0.7, 1.3))
    x = time_gain(x, between(u[:, 3:4], -0.8, 0.8))
    x = speckle(x, between(u[:, 4:5], 0.0, 0.3), draws.normal(f"{stream}/speckle", 1, height, width))
    strength = between((2.0 * u[:, 5:6] - 1.0).clamp(min=0.0), 0.0, 1.0)  # half of the images stay sharp
    x = torch.lerp(x, gaussian_blur(x, 1.0 + height / 256.0), strength)
    if cutout:
        boxes = _boxes(draws, f"{stream}/cutout", height, width, 0.01, 0.1)
        x = torch.where(boxes & (u[:, 6] < 0.5)[:, None, None, None], 0.0, x)
    return x.clamp(0.0, 1.0)


def dynamic_range(x: Tensor, a: Tensor) -> Tensor:
    """v' = clip((v - a) / (1 - a), 0, 1), the dynamic-range knob; a: (B, 1, 1, 1), below 1.

    A pixel is log-compressed: v = 1 + e / R for an echo of e <= 0 dB where R dB are shown. So a > 0 shows (1 - a) R dB
    and cuts the floor to black, a < 0 shows more than R and lifts the floor, and a = 0 changes nothing.
    """
    return ((x - a) / (1.0 - a)).clamp(0.0, 1.0)


def gamma(x: Tensor, g: Tensor) -> Tensor:
    """v' = v^g, the gray map; g: (B, 1, 1, 1), above 0. Black is held at 1e-4, where the power would have no slope."""
    return x.clamp(min=1e-4) ** g


def gain(x: Tensor, g: Tensor) -> Tensor:
    """v' = g v, overall gain; g: (B, 1, 1, 1)."""
    return x * g


def contrast(x: Tensor, c: Tensor) -> Tensor:
    """v' = m + c (v - m) about each image's own mean m; c: (B, 1, 1, 1)."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return mean + (x - mean) * c


def time_gain(x: Tensor, s: Tensor) -> Tensor:
    """v' = v (1 + s d), depth d from -1/2 at the top to 1/2: time-gain compensation set otherwise; s: (B, 1, 1, 1)."""
    depth = torch.linspace(-0.5, 0.5, x.shape[-2], device=x.device)[None, None, :, None]
    return x * (1.0 + s * depth)


def speckle(x: Tensor, s: Tensor, noise: Tensor) -> Tensor:
    """v' = v (1 + s n), multiplicative noise; s: (B, 1, 1, 1); noise n: (B, 1, H, W), standard normal."""
    return x * (1.0 + s * noise)


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
