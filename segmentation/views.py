"""Test-time augmentation: several views of an image are predicted, their maps brought back and averaged.

Each view is a whole prediction: two views cost twice one, three nearly four times, since the enlarged one has about
16/9 of the pixels. Depth is never flipped: shadows and enhancement lie below what casts them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from segmentation.losses import entropy
from segmentation.system import Prediction

MULTIPLE = 32  # the encoder's stride
ENLARGED = 4 / 3


@dataclass(frozen=True)
class View:
    """forward: images (B, 1, H, W) -> (B, 1, h, w). back: maps (B, ..., h, w) in [0, 1], (H, W) -> (B, ..., H, W)."""

    forward: Callable[[Tensor], Tensor]
    back: Callable[[Tensor, tuple[int, int]], Tensor]


def averaged_views(predict: Callable[[Tensor], Prediction], images: Tensor, views: int) -> Prediction:
    """The mean prediction of the first `views` of VIEWS; with one, `predict` as it is.

    images: (B, 1, H, W) in [0, 1]; predict: maps of the size of what it is given, the noise of its samples not mirrored
    or enlarged with the image. Uncertainty is the entropy of the mean probability, so it holds what the views disagree
    on. Extras are averaged as they are: `epistemic` is the mean of what samples disagree on within each view, and holds
    nothing of the views' own disagreement. ValueError: a number of views that there is not.
    """
    if not 1 <= views <= len(VIEWS):
        raise ValueError(f"views: expected 1 to {len(VIEWS)}, found {views}")
    if views == 1:
        return predict(images)
    height, width = images.shape[-2:]
    chosen = VIEWS[:views]
    found = [predict(view.forward(images)) for view in chosen]

    def mean(maps: list[Tensor]) -> Tensor:
        back = [view.back(each, (height, width)) for view, each in zip(chosen, maps, strict=True)]
        return torch.stack(back).mean(dim=0)

    probability = mean([part.probability for part in found])
    extras = {name: mean([part.extras[name] for part in found]) for name in found[0].extras}
    return Prediction(probability, entropy(probability), extras)


def enlarged_side(side: int) -> int:
    """The multiple of 32 nearest to 4/3 of a side, and always larger than the side."""
    return MULTIPLE * max(round(side * ENLARGED / MULTIPLE), side // MULTIPLE + 1)


def _same(images: Tensor) -> Tensor:
    return images


def _same_back(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps


def _mirror(images: Tensor) -> Tensor:
    return images.flip(-1)


def _mirror_back(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps.flip(-1)


def _enlarge(images: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    return F.interpolate(images, (enlarged_side(height), enlarged_side(width)), mode="bilinear", align_corners=False)


def _enlarge_back(maps: Tensor, size: tuple[int, int]) -> Tensor:
    flat = maps.reshape(len(maps), -1, *maps.shape[-2:])
    small = F.interpolate(flat, size, mode="bilinear", align_corners=False)
    return small.clamp(0.0, 1.0).view(*maps.shape[:-2], *size)  # weights sum to 1 but for rounding


VIEWS = (View(_same, _same_back), View(_mirror, _mirror_back), View(_enlarge, _enlarge_back))
