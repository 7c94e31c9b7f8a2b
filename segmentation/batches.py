"""The batches of an arm, as a pure function of (seed, step).

Arms of one table see the same labeled images in the same order under the same augmentation; they differ in the
unlabeled stream alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from pipelines.runtime.errors import ParamsError
from pipelines.runtime.randomness import Draws
from segmentation.augmentations import cutmix_boxes, photometric, warp, weak_geometry
from segmentation.system import Batch, Unlabeled

Kind = Literal["real", "synthetic", "phantom"]


@dataclass(frozen=True)
class Arm:
    """streams: the unlabeled kinds, equal shares of a batch. all_labels: every train image is labeled. weight: of the
    unlabeled losses; 0 forwards the images for nothing, which is what gains are measured against.
    """

    streams: tuple[Kind, ...] = ()
    all_labels: bool = False
    weight: float = 1.0


ARMS: Mapping[str, Arm] = {
    "supervised": Arm(),
    "control": Arm(("real",), weight=0.0),
    "real": Arm(("real",)),
    "synthetic": Arm(("synthetic",)),
    "both": Arm(("real", "synthetic")),
    "phantom": Arm(("phantom",)),
    "all_labels": Arm(all_labels=True),
    "all_labels_synthetic": Arm(("synthetic",), all_labels=True),
}


@dataclass(frozen=True)
class Pool:
    """Some rows of an array of images. images: (N, H, W) uint8; names: one per row of `rows`."""

    images: np.ndarray
    rows: Sequence[int]
    names: Sequence[str]


@dataclass(frozen=True)
class Pools:
    """What an arm trains on. labels: label maps (N, H, W) uint8 beside labeled.images; classes: K."""

    labeled: Pool
    labels: np.ndarray
    unlabeled: Mapping[Kind, Pool]
    classes: int
    weight: float


class StepLike(Protocol):
    """The part of the trainer's step that a batch is made from."""

    device: torch.device

    def rows(self, stream: str, count: int, batch: int) -> np.ndarray: ...

    def draws(self, batch: int) -> Draws: ...


def check_pools(pools: Pools, arm: str, batch_unlabeled: int, world: int = 1) -> None:
    """ParamsError where an arm has nothing to draw from, or its streams cannot share a batch equally."""
    for kind, pool in pools.unlabeled.items():
        if not pool.rows:
            advice = {
                "real": "lower segmenter.label_fraction, or drop the arm",
                "synthetic": "the audit kept no sample: raise sample.count, or drop the arm",
                "phantom": "run phantom_pool again",
            }[kind]
            raise ParamsError(f"arm {arm}: expected unlabeled {kind} images, found none; {advice}")
    streams = len(pools.unlabeled)
    if streams and batch_unlabeled % (streams * world):
        raise ParamsError(
            f"arm {arm}: batch_unlabeled {batch_unlabeled}: expected a multiple of {streams * world} "
            f"({streams} streams, {world} processes)"
        )


def make_batch(pools: Pools, step: StepLike, batch_labeled: int, batch_unlabeled: int) -> Batch:
    """This process's part of the batch of one step, augmented. The batch sizes are global."""
    rows = step.rows("labeled", len(pools.labeled.rows), batch_labeled)
    picked = [pools.labeled.rows[row] for row in rows]
    names = [pools.labeled.names[row] for row in rows]
    masks = one_hot(torch.from_numpy(pools.labels[picked]).to(step.device), pools.classes)
    theta = weak_geometry(step.draws(batch_labeled), "labeled")
    images, masks = warp(_images(pools.labeled, rows, step.device), theta), warp(masks, theta, "nearest")
    if pools.classes > 1:  # what entered from outside the image is background
        masks[:, :1] += 1.0 - masks.sum(dim=1, keepdim=True)
    if not pools.unlabeled:
        return Batch(images, masks, names=names)
    unlabeled, more = _unlabeled(pools, step, batch_unlabeled)
    return Batch(images, masks, unlabeled, names + more)


def _unlabeled(pools: Pools, step: StepLike, batch: int) -> tuple[Unlabeled, list[str]]:
    """Both views of the unlabeled rows, and the rows' names."""
    images, synthetic, names = _mixed(pools, step, batch)
    draws = step.draws(batch)
    theta = weak_geometry(draws, "unlabeled")
    view = warp(images, theta)
    return Unlabeled(
        weak=view,
        strong=photometric(view, draws, "unlabeled"),
        valid=warp(torch.ones_like(view), theta, "nearest"),
        boxes=cutmix_boxes(draws, "unlabeled/cutmix", *view.shape[-2:]),
        synthetic=synthetic,
        weight=pools.weight,
    ), names


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Label maps (B, H, W) -> targets (B, K, H, W) float32: any foreground for K = 1, one channel per label else."""
    if classes == 1:
        return (labels > 0).float()[:, None]
    return (labels[:, None] == torch.arange(classes, device=labels.device)[None, :, None, None]).float()


def interleave(parts: Sequence[Sequence[int]]) -> list[int]:
    """Two from each part in turn, as places in their concatenation.

    CutMix pairs neighbors, so a pair is of one stream; and each process's slice holds an equal share of every stream.
    """
    starts = np.cumsum([0, *(len(part) for part in parts)])
    order: list[int] = []
    for first in range(0, max(len(part) for part in parts), 2):
        for start, part in zip(starts, parts, strict=False):
            order += [int(start) + i for i in range(first, min(first + 2, len(part)))]
    return order


def _mixed(pools: Pools, step: StepLike, batch: int) -> tuple[Tensor, Tensor, list[str]]:
    """Images (b, 1, H, W), which are synthetic (b,), and names."""
    share = batch // len(pools.unlabeled)
    images, synthetic, names, parts = [], [], [], []
    for kind, pool in pools.unlabeled.items():
        rows = step.rows(f"unlabeled/{kind}", len(pool.rows), share)
        images.append(_images(pool, rows, step.device))
        synthetic.append(torch.full((len(rows),), kind != "real", device=step.device))
        names += [pool.names[row] for row in rows]
        parts.append(list(rows))
    order = interleave(parts)
    return torch.cat(images)[order], torch.cat(synthetic)[order], [names[place] for place in order]


def _images(pool: Pool, rows: np.ndarray, device: torch.device) -> Tensor:
    """(b, 1, H, W) float32 in [0, 1]."""
    picked = pool.images[[pool.rows[row] for row in rows]]
    return torch.from_numpy(np.ascontiguousarray(picked)).to(device).float()[:, None] / 255.0
