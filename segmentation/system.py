"""What every segmenter is: its batch, its prediction, its protocol, and how it is built, saved and loaded.

Systems are imported by name from a literal dict, so that a stage's code dependencies are its own imports plus the one
file that params.yaml selects.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pipelines.params.block import Block
from pipelines.params.segmenter import (
    AugmentParams,
    CrossdiffParams,
    EncoderParams,
    MaskDiffusionParams,
    SemiParams,
    UnetParams,
)
from pipelines.runtime.artifacts import load_tensors, read_json, save_tensors, write_json
from pipelines.runtime.errors import ArtifactError
from pipelines.runtime.randomness import Draws
from segmentation.losses import entropy

SYSTEMS = {"unet": "segmentation.systems.unet", "crossdiff": "segmentation.systems.crossdiff"}
MODES = ("direct", "refine", "fast", "quality", "ensemble", "posterior")
WEIGHTS, CONFIG = "weights.safetensors", "config.json"


class SystemConfig(Block):
    """All that rebuilds a system and its input, stored beside its weights.

    method: the parameters of that system alone. classes: K. mean, std: of the images in [0, 1]. size, resize,
    foreground: the working square, how images are brought to it, and the names of the classes. dataset, arm, seed,
    phantom: what it was trained on.
    """

    system: Literal["unet", "crossdiff"]
    classes: int
    width: float
    mean: float
    std: float
    encoder: EncoderParams
    mask_diffusion: MaskDiffusionParams
    semi: SemiParams
    augment: AugmentParams
    method: UnetParams | CrossdiffParams
    size: int
    resize: Literal["stretch", "letterbox"]
    foreground: list[str]
    dataset: str
    phantom: bool
    arm: str
    seed: int


@dataclass(frozen=True)
class Unlabeled:
    """Images without masks, (B, 1, H, W) float in [0, 1].

    weak: the weak view. strong: (V, B, 1, H, W), V strong views in its geometry, mixed by CutMix. boxes: (B, 1, H, W)
    bool, those of CutMix, one per strong view, to mix a target alike. valid: (B, 1, H, W), 0 where a view left its
    image, before CutMix. synthetic: (B,) bool. weight: 0 forwards without learning.
    """

    weak: Tensor
    strong: Tensor
    valid: Tensor
    boxes: tuple[Tensor, ...]
    synthetic: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Batch:
    """One training step's images on this process.

    images: labeled, weak view, (B, 1, H, W) float in [0, 1]. masks: (B, K, H, W) in {0, 1}. unlabeled: None where the
    arm has none. names: of all images, for messages.
    """

    images: Tensor
    masks: Tensor
    unlabeled: Unlabeled | None = None
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Prediction:
    """probability: (B, K, H, W) in [0, 1]. uncertainty: (B, 1, H, W) in [0, 1], entropy of the probability.

    extras: tensors with B rows, e.g. `direct` (B, K, H, W) and `epistemic` (B, 1, H, W).
    """

    probability: Tensor
    uncertainty: Tensor
    extras: dict[str, Tensor]


class System(Protocol):
    """The one protocol that trainer, evaluator and prediction know; every system is an nn.Module besides."""

    config: SystemConfig

    def losses(self, batch: Batch, u: float, draws: Draws, teacher: System | None) -> dict[str, Tensor]:
        """Scalars to log, and `total` to descend, each a mean over this process' batch.

        u: fraction of the training done, the only clock. draws: of the labeled batch, the only randomness. teacher:
        the moving average of this system in eval mode; may be None where the batch holds no unlabeled image.
        """
        ...

    def predict(self, images: Tensor, *, steps: int, seeds: int, mode: str, case_ids: list[str]) -> Prediction:
        """images: (B, 1, H, W) float in [0, 1], sides multiples of 32. case_ids: B names that the noise hangs on.

        steps: network calls of the sampler. seeds: samples that are averaged. mode: one of MODES; a system ignores
        what it has no use for. Call in eval mode; no gradient is recorded.
        """
        ...


def as_module(system: System) -> nn.Module:
    """The same object under its other type."""
    return cast(nn.Module, system)


def draws_for(draws: Draws, count: int) -> Draws:
    """Draws for a stream with `count` rows on this process, from those of another stream of the same step."""
    mine = range(draws.total)[draws.rows]
    world, rank = draws.total // len(mine), mine.start // len(mine)
    return replace(draws, total=world * count, rows=slice(rank * count, (rank + 1) * count))


def averaged(samples: Tensor, extras: dict[str, Tensor]) -> Prediction:
    """Mean of sampled probabilities (N, B, K, H, W), its entropy, and the part of it that the samples disagree on."""
    mean = samples.mean(dim=0)
    total = entropy(mean)
    within = torch.stack([entropy(sample) for sample in samples]).mean(dim=0)
    return Prediction(mean, total, {**extras, "epistemic": (total - within).clamp(min=0.0)})


def build_system(config: SystemConfig, *, pretrained: bool = False) -> System:
    """A fresh system on the CPU; pretrained: read `encoder.weights` (training only: a saved system has its own)."""
    module = importlib.import_module(SYSTEMS[config.system])
    return cast(System, module.build(config, pretrained=pretrained))


def save_system(system: System, folder: Path) -> None:
    """Write weights.safetensors and config.json into a folder."""
    save_tensors(folder / WEIGHTS, as_module(system).state_dict())
    write_json(folder / CONFIG, system.config.model_dump(mode="json"))


def load_system(folder: Path, device: torch.device | str = "cpu") -> System:
    """Rebuild a system from its folder alone, in eval mode. ArtifactError where the folder holds none."""
    found: Any = read_json(folder / CONFIG)
    try:
        config = SystemConfig.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(
            f"{folder / CONFIG}: {where}: {first['msg']}; expected the config of a segmenter, train it again"
        ) from None
    system = build_system(config)
    module = as_module(system)
    try:
        module.load_state_dict(load_tensors(folder / WEIGHTS))
    except RuntimeError as error:
        raise ArtifactError(
            f"{folder / WEIGHTS}: expected the tensors of {config.system} at width {config.width:g}, found others "
            f"({str(error).splitlines()[-1].strip()}); train it again"
        ) from None
    module.to(device).eval()
    return system
