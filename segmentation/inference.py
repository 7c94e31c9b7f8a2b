"""From stored images to stored predictions: batches, padding, cropping. What `evaluate` and `predict` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segmentation.system import Prediction, System
from segmentation.views import MULTIPLE, averaged_views


@dataclass(frozen=True)
class Predictions:
    """probability: (N, K, H, W) float32; uncertainty: (N, H, W) float32, both in [0, 1]; extras: (N, ...) float32."""

    probability: np.ndarray
    uncertainty: np.ndarray
    extras: dict[str, np.ndarray]


def predict_rows(
    system: System,
    images: np.ndarray,
    case_ids: Sequence[str],
    *,
    steps: int,
    seeds: int,
    mode: str,
    views: int = 1,
    batch: int = 16,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict (N, H, W) uint8 images of any one size, N >= 1; the result does not depend on `batch`.

    case_ids: N names; the sampler's noise hangs on them. views: see `predict_any_size`. progress: called with the
    number of images done so far.
    """
    parts: list[Prediction] = []
    for first in range(0, len(images), batch):
        chosen = np.ascontiguousarray(images[first : first + batch])
        pixels = torch.from_numpy(chosen).to(device).float()[:, None] / 255.0
        names = list(case_ids[first : first + batch])
        parts.append(predict_any_size(system, pixels, steps=steps, seeds=seeds, mode=mode, case_ids=names, views=views))
        if progress is not None:
            progress(first + len(names))
    return Predictions(
        _joined([part.probability for part in parts]),
        _joined([part.uncertainty for part in parts])[:, 0],
        {name: _joined([part.extras[name] for part in parts]) for name in parts[0].extras},
    )


def predict_any_size(
    system: System, images: Tensor, *, steps: int, seeds: int, mode: str, case_ids: list[str], views: int = 1
) -> Prediction:
    """`predict` for (B, 1, H, W) of any size: padded by reflection to multiples of 32, the result cropped back.

    views: 1; 2, averaged with the mirrored image; 3, with an enlarged one too (`segmentation.views`). Each is a whole
    prediction.
    """

    def predict(seen: Tensor) -> Prediction:
        height, width = seen.shape[-2:]
        padded, top, left = pad_by_reflection(seen)
        found = system.predict(padded, steps=steps, seeds=seeds, mode=mode, case_ids=case_ids)
        window = (..., slice(top, top + height), slice(left, left + width))
        return Prediction(
            found.probability[window],
            found.uncertainty[window],
            {name: value[window] for name, value in found.extras.items()},
        )

    return averaged_views(predict, images, views)


def pad_by_reflection(images: Tensor, multiple: int = MULTIPLE) -> tuple[Tensor, int, int]:
    """(B, 1, H, W) with sides padded to multiples, and where the image starts: top, left.

    A side shorter than its padding has too little to mirror and repeats its border.
    """
    height, width = images.shape[-2:]
    down, across = -height % multiple, -width % multiple
    if down == across == 0:
        return images, 0, 0
    top, left = down // 2, across // 2
    sides = (left, across - left, top, down - top)
    small = height <= down or width <= across
    return F.pad(images, sides, mode="replicate" if small else "reflect"), top, left


def _joined(tensors: list[Tensor]) -> np.ndarray:
    return torch.cat(tensors).float().cpu().numpy()
