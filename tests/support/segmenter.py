"""Tiny segmenters and batches for tests: width 0.25, 64 x 64, dark ellipses in speckle."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.params.loader import load_params
from pipelines.runtime.randomness import Draws
from segmentation.augmentations import cutmix
from segmentation.batches import one_hot
from segmentation.system import Batch, System, SystemConfig, Unlabeled, as_module, build_system
from tests.support.workspaces import DEFAULT_PARAMS


def make_config(
    system: str = "crossdiff", *, teach: str = "mean_teacher", norm: str = "frozen_bn", **changes: Any
) -> SystemConfig:
    """The default parameters at width 0.25 from scratch; `changes` go to the block that has them.

    teach: the method of segmentation/semi, by name; tests name their own, whatever the default is.
    """
    params = load_params(DEFAULT_PARAMS).segmenter
    method = getattr(params, system).model_copy(update={"semi": teach})
    augment = params.augment.model_copy(update={"channel_dropout": 0.0})
    blocks = {"mask_diffusion": params.mask_diffusion, "semi": params.semi, "augment": augment, "method": method}
    for name, block in blocks.items():
        mine = {key: changes.pop(key) for key in list(changes) if key in type(block).model_fields and key != "semi"}
        blocks[name] = block.model_copy(update=mine)
    encoder = params.encoder.model_copy(update={"weights": "none", "norm": norm})
    known: dict[str, Any] = {"system": system, "classes": 1, "width": 0.25, "mean": 0.5, "std": 0.5, "encoder": encoder}
    known |= {"size": 64, "resize": "stretch", "foreground": ["lesion"], "dataset": "phantom", "phantom": True}
    return SystemConfig(**{**known, **blocks, "arm": "both", "seed": 0, **changes})


def make_system(system: str = "crossdiff", *, perturbed: bool = True, **changes: Any) -> System:
    """A seeded system in training mode; perturbed: noise on every parameter wakes branches that start at zero."""
    torch.manual_seed(0)
    built = build_system(make_config(system, **changes))
    module = as_module(built).train()
    if perturbed:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    return built


def average_of(system: System) -> System:
    """A teacher as the trainer makes it."""
    return copy.deepcopy(as_module(system)).eval().requires_grad_(False)  # type: ignore[return-value]


def pictures(count: int, size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and label maps (count, size, size) uint8: one dark ellipse each."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    images, labels = [], []
    for _ in range(count):
        cy, cx = random.uniform(0.35, 0.65, size=2)
        inside = ((y - cy) / random.uniform(0.12, 0.25)) ** 2 + ((x - cx) / random.uniform(0.12, 0.25)) ** 2 < 1
        speckle = random.rayleigh(1.0, size=(size, size))
        images.append(np.clip(np.where(inside, 25, 110) * speckle, 0, 255))
        labels.append(inside)
    return np.stack(images).astype(np.uint8), np.stack(labels).astype(np.uint8)


def tensors(count: int, classes: int = 1, size: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (count, 1, size, size) in [0, 1] and targets (count, K, size, size); two lesion classes take turns."""
    images, labels = pictures(count, size, seed)
    if classes > 1:
        labels = labels * (1 + np.arange(count, dtype=np.uint8) % (classes - 1))[:, None, None]
    return torch.from_numpy(images).float()[:, None] / 255.0, one_hot(torch.from_numpy(labels), classes)


def make_batch(labeled: int = 2, unlabeled: int = 2, classes: int = 1, views: int = 2, **changes: Any) -> Batch:
    """views: strong views, each darker than the one before. boxes (one per view): those of CutMix, by default none."""
    images, masks = tensors(labeled, classes)
    if not unlabeled:
        return Batch(images, masks)
    weak, _ = tensors(unlabeled, seed=1)
    boxes = changes.pop("boxes", tuple(torch.zeros_like(weak, dtype=torch.bool) for _ in range(views)))
    strong = torch.stack([cutmix((0.8 - 0.3 * n) * weak + 0.05, box) for n, box in enumerate(boxes)])
    fields: dict[str, Any] = {
        "weak": weak,
        "strong": strong,
        "valid": torch.ones_like(weak),
        "boxes": boxes,
        "synthetic": torch.zeros(unlabeled, dtype=torch.bool),
    }
    return Batch(images, masks, Unlabeled(**{**fields, **changes}))


def make_draws(total: int = 2, step: int = 0, rows: slice | None = None) -> Draws:
    return Draws(0, step, total, rows or slice(0, total))


def gradients(system: System) -> dict[str, Tensor]:
    """Gradients by parameter name, zeros where there is none."""
    module: nn.Module = as_module(system)
    return {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in module.named_parameters()}
