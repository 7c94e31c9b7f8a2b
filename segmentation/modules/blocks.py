"""Blocks under their published names. Feature maps are (B, C, H, W); C is a multiple of 8, the groups of a norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8


def scaled(channels: int, width: float) -> int:
    """channels * width as a multiple of 8, at least 16 (two channels per group, or a norm would erase a map)."""
    return max(2 * GROUPS, round(channels * width / GROUPS) * GROUPS)


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels)


def conv3(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride=stride, padding=1)


def up2(x: Tensor) -> Tensor:
    """Nearest neighbor, twice the size."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class TimeEmbedding(nn.Module):
    """t (B,) -> e_t (B, width): sinusoids (Vaswani et al. 2017) through two linear layers (Ho et al. 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        half = self.width // 2
        rates = torch.exp(-math.log(10_000.0) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
        angles = t.float()[:, None] * rates
        return self.mlp(torch.cat([angles.sin(), angles.cos()], dim=1))


class ResBlock(nn.Module):
    """Pre-activation residual block (He et al. 2016), its second norm modulated by FiLM(e_t) (Perez et al. 2018).

    emb: width of e_t, or None for a block without time.
    """

    def __init__(self, inside: int, outside: int, emb: int | None = None) -> None:
        super().__init__()
        self.norm1, self.conv1 = group_norm(inside), conv3(inside, outside)
        self.norm2, self.conv2 = group_norm(outside), conv3(outside, outside)
        self.film = None if emb is None else nn.Linear(emb, 2 * outside)
        self.skip = nn.Identity() if inside == outside else nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.film is not None and e is not None:
            scale, shift = self.film(F.silu(e))[:, :, None, None].chunk(2, dim=1)
            h = h * (1.0 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))


class ConvMixer(nn.Module):
    """`depth` times: residual depthwise k x k, then 1 x 1, each with GELU and group norm (Trockman and Kolter 2022)."""

    def __init__(self, channels: int, depth: int = 2, kernel: int = 7) -> None:
        super().__init__()
        self.spatial = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels),
                nn.GELU(),
                group_norm(channels),
            )
            for _ in range(depth)
        )
        self.channel = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU(), group_norm(channels)) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for spatial, channel in zip(self.spatial, self.channel, strict=True):
            x = channel(x + spatial(x))
        return x


class Injection(nn.Module):
    """d + a (.) Conv1(c) with a = s(W [GAP c; GAP d; e_t]): the image condition enters a level of the denoiser.

    The convolution is not zero-initialized (from noise, the condition carries all there is) and a starts near 1.
    """

    def __init__(self, channels: int, emb: int) -> None:
        super().__init__()
        self.value = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Linear(2 * channels + emb, channels)
        nn.init.constant_(self.gate.bias, 2.0)

    def forward(self, d: Tensor, c: Tensor, e: Tensor) -> Tensor:
        pooled = torch.cat([c.mean(dim=(2, 3)), d.mean(dim=(2, 3)), e], dim=1)
        return d + self.gate(pooled).sigmoid()[:, :, None, None] * self.value(c)


class GlobalContext(nn.Module):
    """Pre-norm transformer layers (Vaswani et al. 2017) over all positions of a small map, any size.

    Positions are 2-D sinusoids computed from the actual size. Keys carry no bias: softmax would cancel it.
    """

    def __init__(self, channels: int, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(channels),
                    "qkv": nn.Linear(channels, 3 * channels, bias=False),
                    "out": nn.Linear(channels, channels),
                    "norm2": nn.LayerNorm(channels),
                    "mlp": nn.Sequential(
                        nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
                    ),
                }
            )
            for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = (x + _positions(c, h, w, x)).flatten(2).transpose(1, 2)  # (B, h w, C)
        for layer in self.layers:
            parts: nn.ModuleDict = layer  # type: ignore[assignment]
            q, k, v = (
                part.view(b, h * w, self.heads, -1).transpose(1, 2)
                for part in parts["qkv"](parts["norm1"](tokens)).chunk(3, dim=2)
            )
            mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
            tokens = tokens + parts["out"](mixed)
            tokens = tokens + parts["mlp"](parts["norm2"](tokens))
        return tokens.transpose(1, 2).reshape(b, c, h, w)


def _positions(channels: int, height: int, width: int, like: Tensor) -> Tensor:
    """2-D sine and cosine positions, (1, C, h, w); a quarter of the channels for each of sin y, cos y, sin x, cos x."""
    quarter = channels // 4
    rates = torch.exp(-math.log(10_000.0) * torch.arange(quarter, device=like.device, dtype=torch.float32) / quarter)
    y = (torch.arange(height, device=like.device)[:, None] * rates).T[:, :, None].expand(-1, -1, width)
    x = (torch.arange(width, device=like.device)[:, None] * rates).T[:, None, :].expand(-1, height, -1)
    return torch.cat([y.sin(), y.cos(), x.sin(), x.cos()])[None].to(like.dtype)
