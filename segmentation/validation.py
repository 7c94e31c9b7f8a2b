"""Dice of validation images during a training, for its log alone: it selects no weights and changes none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pipelines.datasets.case import Prepared, rows_of_part
from pipelines.params.segmenter import SegmentParams
from pipelines.runtime.stage import Run
from pipelines.runtime.trainer import Observe
from segmentation.batches import one_hot
from segmentation.consistency import decided_foreground
from segmentation.inference import predict_rows
from segmentation.losses import foreground
from segmentation.system import System

LIMIT = 64  # images: a look must stay cheap beside the steps between two of them


def make_observer(run: Run, prepared: Prepared, settings: SegmentParams, classes: int) -> Observe | None:
    """What the trainer calls after each step: every `validate_every` steps, and after the last one, it returns `score`.

    None where params ask for no validation, or the val part shows no lesion, which is said once.
    """
    every, last = settings.validate_every, settings.total_steps
    if every == 0:
        return None
    rows = validation_rows(prepared, run.inputs["split"])
    if not rows:
        run.log("no image with a lesion in the val part: no validation Dice is logged")
        return None
    images, labels = np.asarray(prepared.images[rows]), np.asarray(prepared.labels[rows])
    names = [prepared.cases[row]["case"] for row in rows]

    def observe(ema: Any, done: int) -> dict[str, float]:
        if done % every and done != last:
            return {}
        found = score(ema, images, labels, names, classes, run.device)
        run.log(f"step {done}: Dice {found['dice_val']:.3f} on {len(rows)} validation images")
        return found

    return observe


def validation_rows(prepared: Prepared, split: Any) -> list[int]:
    """At most 64 rows of the val part, all with a lesion, evenly spread over the order of cases.csv."""
    rows = [row for row in rows_of_part(prepared, split, "val") if prepared.labels[row].any()]
    count = min(LIMIT, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


def score(
    system: System,
    images: np.ndarray,
    labels: np.ndarray,
    names: list[str],
    classes: int,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """dice_val: mean Dice of the direct masks over images and those foreground classes that each one shows.

    foreground_val: share of all pixels called foreground; 0 or 1 is a collapse. images: (N, H, W) uint8; labels: label
    maps (N, H, W) uint8, each with a lesion. One forward pass in float32, whatever `runtime.precision` says.
    """
    found = predict_rows(system, images, names, steps=1, seeds=1, mode="direct", device=device)
    a = decided_foreground(torch.from_numpy(found.probability))
    y = foreground(one_hot(torch.from_numpy(labels), classes)) > 0
    total = a.sum(dim=(2, 3)) + y.sum(dim=(2, 3))
    dice = 2.0 * (a & y).sum(dim=(2, 3)).double() / total.clamp(min=1)
    return {
        "dice_val": float(dice[y.any(dim=(2, 3))].mean()),
        "foreground_val": float(a.any(dim=1).double().mean()),
    }
