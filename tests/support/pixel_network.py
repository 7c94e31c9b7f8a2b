"""Networks and batches small enough to compute by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.params.loader import load_params
from pipelines.params.segmenter import SemiParams
from segmentation.perturbations import Perturbation
from segmentation.system import Batch, Unlabeled
from tests.support.workspaces import DEFAULT_PARAMS

CHANNELS = 64  # of the one feature map that a perturbation sees


class PixelNetwork(nn.Module):
    """logits = scale * pixel + shift, for all K channels alike. calls: the images, and what a perturbation made of a
    map of ones, of each call.
    """

    def __init__(self, classes: int = 1, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.classes = classes
        self.scale, self.shift = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(shift))
        self.calls: list[tuple[Tensor, Tensor | None]] = []

    def forward(self, images: Tensor, synthetic: Tensor, perturb: Perturbation | None = None) -> Tensor:
        assert synthetic.shape == (len(images),)
        seen = None if perturb is None else perturb(torch.ones(len(images), CHANNELS, *images.shape[-2:]))
        self.calls.append((images, seen))
        return (self.scale * images + self.shift).expand(-1, self.classes, -1, -1)


class Answers:
    """A network that answers each call by the next logits of a list: scalars or tensors."""

    def __init__(self, *logits: float | Tensor) -> None:
        self.logits = list(logits)

    def __call__(self, images: Tensor, synthetic: Tensor, perturb: Perturbation | None = None) -> Tensor:
        return torch.zeros_like(images) + self.logits.pop(0)


def semi_params(**changes: Any) -> SemiParams:
    return load_params(DEFAULT_PARAMS).segmenter.semi.model_copy(update=changes)


def unlabeled_batch(
    weak: Tensor,
    strong: Sequence[Tensor] | None = None,
    *,
    boxes: Sequence[Tensor] | None = None,
    valid: Tensor | None = None,
    images: Tensor | None = None,
    masks: Tensor | None = None,
) -> Batch:
    """Labeled images default to zeros; views to the weak one, unmixed."""
    strong = list(strong or (weak, weak))
    none = torch.zeros_like(weak, dtype=torch.bool)
    unlabeled = Unlabeled(
        weak=weak,
        strong=torch.stack(strong),
        valid=torch.ones_like(weak) if valid is None else valid,
        boxes=tuple(boxes or [none] * len(strong)),
        synthetic=torch.zeros(len(weak), dtype=torch.bool),
    )
    labeled = torch.zeros_like(weak) if images is None else images
    return Batch(labeled, torch.zeros_like(labeled) if masks is None else masks, unlabeled)


def rows(*values: Sequence[float]) -> Tensor:
    """(B, 1, 1, W): one image of one line per argument."""
    return torch.tensor(values)[:, None, None, :]
