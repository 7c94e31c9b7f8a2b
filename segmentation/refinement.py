"""What the denoiser repairs, image by image: one refiner from several starts, beside the direct head and the samplers.

Dice is that of the mean of the samples at working size, on the images that show the lesion there; intervals are over
groups, and a gain is the mean paired difference to the mask that the refiner started from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from pipelines.datasets.case import Prepared
from pipelines.datasets.images import inner_box
from pipelines.runtime.bootstrap import group_interval
from pipelines.runtime.randomness import numpy_generator_for
from segmentation.inference import pad_by_reflection, predict_any_size
from segmentation.metrics import dice
from segmentation.scores import of_class
from segmentation.system import System

STARTS, CALLS = (200, 400, 600), (1, 3)  # thousandths of T; calls of the denoiser
DRAWS = 2000  # of the intervals over groups
BATCH = 16
DIRECT, OTHER, TRUTH = "direct", "from", "true mask"


@runtime_checkable
class Refiner(Protocol):
    """A system whose denoiser can start from any estimate of the mask."""

    def refine_from(
        self, images: Tensor, p: Tensor, *, start: int, steps: int, seeds: int, case_ids: list[str]
    ) -> Tensor:
        """images: (B, 1, H, W) in [0, 1]; p: (B, K, H, W), the estimate; start: timestep in [0, T); steps: calls.
        Returns probabilities (seeds, B, K, H, W).
        """
        ...


@dataclass(frozen=True)
class Material:
    """What is predicted: rows of `prepared`, and the group of each."""

    prepared: Prepared
    rows: list[int]
    groups: list[str]


def starts_of(T: int) -> dict[int, int]:
    """Thousandths of T -> timestep."""
    return {start: min(round(start * T / 1000), T - 1) for start in STARTS}


def refined(refiner: Refiner, T: int, images: Tensor, p: Tensor, seeds: int, names: list[str]) -> dict[str, Tensor]:
    """Every start and number of calls from p (B, K, H, W): name -> (seeds, B, K, H, W). Any size, as `inference`."""
    height, width = images.shape[-2:]
    padded, top, left = pad_by_reflection(images)
    estimate = pad_by_reflection(p)[0]
    return {
        refine_name(start, calls): refiner.refine_from(
            padded, estimate, start=t, steps=calls, seeds=seeds, case_ids=names
        )[..., top : top + height, left : left + width]
        for start, t in starts_of(T).items()
        for calls in CALLS
    }


def refine_name(start: int, calls: int) -> str:
    return f"refine {start}, {calls} call{'s' * (calls > 1)}"


def candidates(
    system: System,
    refiner: Refiner,
    other: System | None,
    images: Tensor,
    truth: Tensor,
    names: list[str],
    seeds: int,
) -> dict[str, Tensor]:
    """All ways of prediction: name -> samples (seeds, B, K, H, W), (1, ...) where `predict` gives their mean alone.

    Those that start from truth (B, K, H, W), the mask itself, are named "true mask: ...": no estimate could be better,
    so they say what any start could win. With another segmenter its own prediction is `from`, and those that start
    there are named "from: ...".
    """
    own = system.config.mask_diffusion

    def mode(name: str) -> Tensor:
        found = predict_any_size(system, images, steps=own.steps, seeds=seeds, mode=name, case_ids=names)
        return found.probability[None]

    direct = mode(DIRECT)
    table = {DIRECT: direct, "fast": mode("fast")}
    table |= refined(refiner, own.T, images, direct[0], seeds, names)
    table["ensemble"] = mode("ensemble")
    best = refined(refiner, own.T, images, truth, seeds, names)
    table |= {f"{TRUTH}: {name}": samples for name, samples in best.items()}
    if other is not None:
        d = other.config.mask_diffusion
        p = predict_any_size(other, images, steps=d.steps, seeds=d.seeds, mode=d.mode, case_ids=names).probability
        table[OTHER] = p[None]
        again = refined(refiner, own.T, images, p, seeds, names)
        table |= {f"{OTHER}: {name}": samples for name, samples in again.items()}
    return table


def batches(material: Material, device: torch.device | str) -> Iterator[tuple[list[int], Tensor, list[str]]]:
    """Rows, images (B, 1, H, W) in [0, 1] and case names."""
    for first in range(0, len(material.rows), BATCH):
        rows = material.rows[first : first + BATCH]
        pixels = torch.from_numpy(np.asarray(material.prepared.images[rows])).to(device).float()[:, None] / 255.0
        yield rows, pixels, [material.prepared.cases[row]["case"] for row in rows]


def one_hot(labels: np.ndarray, classes: int) -> Tensor:
    """Label maps (B, H, W) as what a perfect network would say: (B, K, H, W) in {0, 1}, K = 1 without a background."""
    wanted = [1] if classes == 1 else range(classes)
    return torch.from_numpy(np.stack([labels == index for index in wanted], axis=1).astype(np.float32))


def dice_of(samples: np.ndarray, target: np.ndarray, inner: tuple[slice, slice], index: int) -> np.ndarray:
    """Dice of one class of one image: first that of the mean of the samples, then of each alone.

    samples: (S, K, H, W) in [0, 1]; target: (H, W) label map; inner: the image within the working square.
    """
    truth = target[inner] == index
    masks = [of_class(p[:, *inner], index)[0] for p in (samples.mean(axis=0), *samples)]
    return np.array([dice(mask, truth) for mask in masks])


def diagnose(
    system: System,
    refiner: Refiner,
    other: System | None,
    material: Material,
    seeds: int,
    device: torch.device | str,
    progress: Callable[[int], None],
) -> dict[str, dict[str, Any]]:
    """foreground class -> images, groups and methods; see `summarize`. Only images that show the lesion enter.

    refiner: the system under its other type. progress: called with the number of images done so far.
    """
    foreground = material.prepared.dataset["foreground"]
    scores: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in foreground}
    groups: dict[str, list[str]] = {name: [] for name in foreground}
    known = dict(zip(material.rows, material.groups, strict=True))
    done = 0
    for rows, images, names in batches(material, device):
        truth = one_hot(np.asarray(material.prepared.labels[rows]), system.config.classes).to(device)
        found = {
            name: samples.float().cpu().numpy()
            for name, samples in candidates(system, refiner, other, images, truth, names, seeds).items()
        }
        for place, row in enumerate(rows):
            target = np.asarray(material.prepared.labels[row])
            inner = inner_box(material.prepared.cases[row]).slices
            for index, name in enumerate(foreground, start=1):
                if not (target[inner] == index).any():
                    continue
                groups[name].append(known[row])
                for method, samples in found.items():
                    scores[name].setdefault(method, []).append(dice_of(samples[:, place], target, inner, index))
        done += len(rows)
        progress(done)
    return {name: summarize(scores[name], groups[name]) for name in foreground}


def summarize(scores: Mapping[str, Sequence[np.ndarray]], groups: Sequence[str]) -> dict[str, Any]:
    """images, groups, and per method Dice of the mean of its samples with its interval over groups, `one_seed` (mean
    Dice of single samples), `seed_sd` (mean over images of the spread of Dice between samples) and `gain`, the paired
    difference to where it started: "from" for methods named "from: ...", else "direct".
    """
    methods = {}
    for name, values in scores.items():
        table = np.stack(values)  # (images, 1 + S)
        start = OTHER if name.startswith(f"{OTHER}:") else DIRECT
        entry: dict[str, Any] = {"dice": interval(table[:, 0], groups, name)}
        if table.shape[1] > 2:
            entry["one_seed"] = float(table[:, 1:].mean())
            entry["seed_sd"] = float(table[:, 1:].std(axis=1, ddof=1).mean())
        if name != start:
            entry["gain"] = interval(table[:, 0] - np.stack(scores[start])[:, 0], groups, f"{name} - {start}")
        methods[name] = entry
    return {"images": len(groups), "groups": len(set(groups)), "methods": methods}


def interval(values: np.ndarray, groups: Sequence[str], stream: str) -> dict[str, float]:
    """Mean and its 95% interval over groups."""
    found = group_interval(values, groups, DRAWS, numpy_generator_for(0, f"diagnose/{stream}"))
    return {"mean": found.mean, "low": found.low, "high": found.high}
