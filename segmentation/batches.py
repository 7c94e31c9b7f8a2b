"""The batches of an arm, as a pure function of (seed, step).

Arms of one table see the same labeled images in the same order under the same augmentation; they differ in the
unlabeled stream alone. The padding of a letterbox teaches nothing in the real stream; in labeled images it is plain
background, and synthetic and phantom images come without a record of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from pipelines.datasets.images import valid_region
from pipelines.runtime.errors import ParamsError
from pipelines.runtime.randomness import Draws
from segmentation.augmentations import cutmix, cutmix_boxes, photometric, warp, weak_geometry
from segmentation.system import Batch, Unlabeled

Kind = Literal["real", "labeled", "synthetic", "phantom"]
View = Literal["weak", "strong"]


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
    "augmented": Arm(("labeled",)),
    "synthetic": Arm(("synthetic",)),
    "both": Arm(("real", "synthetic")),
    "phantom": Arm(("phantom",)),
    "all_labels": Arm(all_labels=True),
    "all_labels_synthetic": Arm(("synthetic",), all_labels=True),
}


@dataclass(frozen=True)
class Pool:
    """Some rows of an array of images. images: (N, H, W) uint8; names: one per row of `rows`.

    cases: the row of cases.csv of each, which tells image from padding; None where no image is padded.
    """

    images: np.ndarray
    rows: Sequence[int]
    names: Sequence[str]
    cases: Sequence[dict[str, str]] | None = None


@dataclass(frozen=True)
class Pools:
    """What an arm trains on. labels: label maps (N, H, W) uint8 beside labeled.images; classes: K; views: number of
    strong views of each unlabeled image.
    """

    labeled: Pool
    labels: np.ndarray
    unlabeled: Mapping[Kind, Pool]
    classes: int
    weight: float
    views: int = 1


class StepLike(Protocol):
    """The part of the trainer's step that a batch is made from."""

    device: torch.device

    def rows(self, stream: str, count: int, batch: int) -> np.ndarray: ...

    def draws(self, batch: int) -> Draws: ...


def strong_views(semi: str) -> int:
    """How many strong views of an unlabeled image a method of semi-supervision reads."""
    return 2 if semi == "unimatch" else 1


def check_pools(pools: Pools, arm: str, batch_labeled: int, batch_unlabeled: int, world: int = 1) -> None:
    """ParamsError where an arm has nothing to draw from, its streams cannot share a batch equally, or its processes
    cannot share it in whole pairs: neighbors are mixed (CutMix, false components), so that a pair torn apart would make
    the result depend on the number of processes. One process may keep an odd image without a partner.
    """
    for kind, pool in pools.unlabeled.items():
        if not pool.rows:
            advice = {
                "real": "lower segmenter.label_fraction, or drop the arm",
                "labeled": "raise segmenter.label_fraction, or drop the arm",
                "synthetic": "the audit kept no sample: raise sample.count, or drop the arm",
                "phantom": "run phantom_pool again",
            }[kind]
            raise ParamsError(f"arm {arm}: expected unlabeled {kind} images, found none; {advice}")
    streams = len(pools.unlabeled)
    pair = 2 if world > 1 else 1
    sizes = [("batch_labeled", batch_labeled, pair * world, "")]
    if streams:
        share = f"{streams} stream{'s' if streams > 1 else ''}, "
        sizes.append(("batch_unlabeled", batch_unlabeled, pair * world * streams, share))
    for key, size, unit, share in sizes:
        if size % unit:
            processes = f"{world} processes with whole pairs of images each" if world > 1 else "1 process"
            raise ParamsError(
                f"arm {arm}: segment.{key} of the scale: expected a multiple of {unit} ({share}{processes}), found "
                f"{size}; make it {-(-size // unit) * unit}{', or start fewer processes' if world > 1 else ''}"
            )


def make_batch(
    pools: Pools, step: StepLike, batch_labeled: int, batch_unlabeled: int, labeled_view: View = "weak"
) -> Batch:
    """This process's part of the batch of one step, augmented. The batch sizes are global.

    labeled_view: labeled images change in geometry alone (weak), or in brightness and texture too (strong).
    """
    rows = step.rows("labeled", len(pools.labeled.rows), batch_labeled)
    picked = [pools.labeled.rows[row] for row in rows]
    names = [pools.labeled.names[row] for row in rows]
    masks = one_hot(torch.from_numpy(pools.labels[picked]).to(step.device), pools.classes)
    draws = step.draws(batch_labeled)
    theta = weak_geometry(draws, "labeled")
    images, masks = warp(_images(pools.labeled, rows, step.device), theta), warp(masks, theta, "nearest")
    if labeled_view == "strong":
        images = photometric(images, draws, "labeled", cutout=False)
    if pools.classes > 1:  # what entered from outside the image is background
        masks[:, :1] += 1.0 - masks.sum(dim=1, keepdim=True)
    if not pools.unlabeled:
        return Batch(images, masks, names=names)
    unlabeled, more = _unlabeled(pools, step, batch_unlabeled)
    return Batch(images, masks, unlabeled, names + more)


def _unlabeled(pools: Pools, step: StepLike, batch: int) -> tuple[Unlabeled, list[str]]:
    """The weak and the strong views of the unlabeled rows, and the rows' names."""
    images, inside, synthetic, names = _mixed(pools, step, batch)
    draws = step.draws(batch)
    theta = weak_geometry(draws, "unlabeled")
    view = warp(images, theta)
    streams = ["unlabeled", *(f"unlabeled/{index}" for index in range(1, pools.views))]
    boxes = tuple(cutmix_boxes(draws, f"{stream}/cutmix", *view.shape[-2:]) for stream in streams)
    strong = (photometric(view, draws, stream) for stream in streams)
    return Unlabeled(
        weak=view,
        strong=torch.stack([cutmix(x, box) for x, box in zip(strong, boxes, strict=True)]),
        valid=warp(inside, theta, "nearest"),
        boxes=boxes,
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

    CutMix pairs neighbors, so a pair is of one stream; and each process's slice holds an equal share of every stream
    (`check_pools` refuses the sizes that would tear a pair apart).
    """
    starts = np.cumsum([0, *(len(part) for part in parts)])
    order: list[int] = []
    for first in range(0, max(len(part) for part in parts), 2):
        for start, part in zip(starts, parts, strict=False):
            order += [int(start) + i for i in range(first, min(first + 2, len(part)))]
    return order


def _mixed(pools: Pools, step: StepLike, batch: int) -> tuple[Tensor, Tensor, Tensor, list[str]]:
    """Images and what of them is no padding (both (b, 1, H, W)), which are synthetic (b,), and names."""
    share = batch // len(pools.unlabeled)
    images, inside, synthetic, names, parts = [], [], [], [], []
    for kind, pool in pools.unlabeled.items():
        rows = step.rows(f"unlabeled/{kind}", len(pool.rows), share)
        images.append(_images(pool, rows, step.device))
        inside.append(_inside(pool, rows, step.device))
        synthetic.append(torch.full((len(rows),), kind not in ("real", "labeled"), device=step.device))
        names += [pool.names[row] for row in rows]
        parts.append(list(rows))
    order = interleave(parts)
    picked = [names[place] for place in order]
    return torch.cat(images)[order], torch.cat(inside)[order], torch.cat(synthetic)[order], picked


def _images(pool: Pool, rows: np.ndarray, device: torch.device) -> Tensor:
    """(b, 1, H, W) float32 in [0, 1]."""
    picked = pool.images[[pool.rows[row] for row in rows]]
    return torch.from_numpy(np.ascontiguousarray(picked)).to(device).float()[:, None] / 255.0


def _inside(pool: Pool, rows: np.ndarray, device: torch.device) -> Tensor:
    """(b, 1, H, W) float32: 1 where the working square shows the image, 0 in its padding."""
    height, width = pool.images.shape[1:]
    if pool.cases is None:
        return torch.ones(len(rows), 1, height, width, device=device)
    regions = np.stack([valid_region(pool.cases[row], height) for row in rows])
    return torch.from_numpy(regions).to(device).float()[:, None]
