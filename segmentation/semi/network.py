"""What a method of semi-supervised learning needs of a network."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from segmentation.perturbations import Perturbation


class Network(Protocol):
    """Images to logits, with gradient."""

    def __call__(self, images: Tensor, synthetic: Tensor, perturb: Perturbation | None = None) -> Tensor:
        """images: (B, 1, H, W) in [0, 1] -> logits (B, K, H, W).

        synthetic: (B,) bool, rows that must move no running statistic. perturb: applied to each map of the encoder.
        """
        ...
