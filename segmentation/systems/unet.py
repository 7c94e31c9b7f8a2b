"""`unet`: the U-Net (Ronneberger et al. 2015) of segmentation-models-pytorch, with any method of `segmentation/semi`.

The reference that every other system is measured against, with the same encoder, budget and augmentations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipelines.params.segmenter import UnetParams
from pipelines.runtime.randomness import Draws
from segmentation.consistency import confident_pixels, consistency_weight
from segmentation.losses import bce_dice, entropy, hard_dice, probability
from segmentation.modules.direct import DirectPath, run_direct
from segmentation.modules.encoder import ImageEncoder, by_stream, load_pretrained, resolve_norm
from segmentation.perturbations import Perturbation, channels_dropped
from segmentation.semi.methods import METHODS
from segmentation.system import Batch, Prediction, System, SystemConfig

DROPPED = 0.5  # weight of the pass with dropped channels beside the whole one


class UNet(nn.Module):
    """smp's U-Net with the shared encoder; `width` scales its decoder (1: as published)."""

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        assert isinstance(config.method, UnetParams)
        self.config, self.method = config, config.method
        norm = resolve_norm(config.encoder.norm, config.encoder.weights)
        self.encoder = ImageEncoder(config.encoder.name, norm, config.mean, config.std)
        self.direct = DirectPath(self.encoder.channels, config.width, config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) in [0, 1] -> logits (B, K, H, W)."""
        return self.direct(images, *self.encoder(images))[0]

    def student(self, images: Tensor, synthetic: Tensor, perturb: Perturbation | None = None) -> Tensor:
        """See `Network`."""
        features = by_stream(self.encoder, self.encoder, [images], synthetic)
        return run_direct(self.direct, images, features, synthetic, perturb).logits

    def losses(self, batch: Batch, u: float, draws: Draws, teacher: System | None) -> dict[str, Tensor]:
        """L_sup + w(u) L_u of the chosen method, with the moving average as teacher.

        L_sup = BCEDice(l) + 1/2 BCEDice(l'), l' with dropped channels of the encoder (`augment.channel_dropout`).
        """
        features, p = self.encoder(batch.images), self.config.augment.channel_dropout
        logits = self.direct(batch.images, *features)[0]
        supervised = bce_dice(logits, batch.masks)
        if p > 0.0:
            perturb = channels_dropped(draws, "labeled/channels", p)
            dropped = run_direct(self.direct, batch.images, features, perturb=perturb).logits
            supervised = supervised + DROPPED * bce_dice(dropped, batch.masks)
        logs = {"supervised": supervised.detach(), "dice": hard_dice(probability(logits.detach()), batch.masks)}
        if batch.unlabeled is None:
            return {"total": supervised, **logs}
        assert isinstance(teacher, UNet), "unlabeled images need the moving average as teacher"
        with torch.no_grad():
            q = probability(teacher(batch.unlabeled.weak))
        semi = self.config.semi
        m, kept = confident_pixels(q, batch.unlabeled.valid, semi)
        unlabeled, more = METHODS[self.method.semi](self.student, q, m, batch, draws, semi)
        weight = batch.unlabeled.weight * consistency_weight(u, semi.w_max, semi.ramp)
        return {"total": supervised + weight * unlabeled, **logs, **kept, **more}

    @torch.no_grad()
    def predict(self, images: Tensor, *, steps: int, seeds: int, mode: str, case_ids: list[str]) -> Prediction:
        """One forward pass; steps, seeds, mode and case_ids change nothing."""
        p = probability(self(images))
        return Prediction(p, entropy(p), {"direct": p})


def build(config: SystemConfig, *, pretrained: bool) -> UNet:
    system = UNet(config)
    if pretrained and config.encoder.weights == "lite0":
        load_pretrained(system.encoder)
    return system
