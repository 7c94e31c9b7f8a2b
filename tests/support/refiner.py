"""A segmenter without a network: its direct head sees the left part of the lesion, each call finds more of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from segmentation.system import Prediction

THRESHOLD = 0.5  # images are their own truth: bright is lesion


class StubRefiner:
    """calls: what was asked of it, for the tests. The n-th seed of a refinement adds nothing where n is odd."""

    def __init__(self, *, T: int = 1000, mode: str = "refine", system: str = "crossdiff", **config: Any) -> None:
        diffusion = SimpleNamespace(T=T, steps=3, seeds=2, mode=mode)
        known = {"classes": 1, "size": 32, "resize": "stretch", "arm": "supervised"}
        self.config: Any = SimpleNamespace(system=system, mask_diffusion=diffusion, **known | config)
        self.calls: list[tuple[Any, ...]] = []

    def losses(self, *_: Any) -> dict[str, Tensor]:
        raise AssertionError("a diagnosis trains nothing")

    def predict(self, images: Tensor, *, steps: int, seeds: int, mode: str, case_ids: list[str]) -> Prediction:
        """direct: the left half of the image; fast: nothing; other modes: everything."""
        self.calls.append(("predict", mode, steps, seeds, tuple(images.shape), tuple(case_ids)))
        truth = (images > THRESHOLD).float()
        if mode == "direct":
            truth[..., truth.shape[-1] // 2 :] = 0.0
        p = torch.zeros_like(truth) if mode == "fast" else truth
        return Prediction(p, torch.zeros_like(p), {})

    def refine_from(
        self, images: Tensor, p: Tensor, *, start: int, steps: int, seeds: int, case_ids: list[str]
    ) -> Tensor:
        """Even seeds find all of the lesion when started at 400 or above, odd seeds return p."""
        self.calls.append(("refine", start, steps, seeds, tuple(images.shape), tuple(p.shape)))
        truth = (images > THRESHOLD).float()
        return torch.stack([truth if seed % 2 == 0 and start >= 400 else p for seed in range(seeds)])
