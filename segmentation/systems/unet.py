"""`unet`: the U-Net (Ronneberger et al. 2015) of segmentation-models-pytorch, supervised or with a mean teacher.

The reference that every other system is measured against, with the same encoder, budget and augmentations.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from pipelines.params.segmenter import UnetParams
from pipelines.runtime.randomness import Draws
from segmentation.augmentations import cutmix
from segmentation.consistency import consistency_weight
from segmentation.losses import bce_dice, entropy, hard_dice, probability
from segmentation.modules.blocks import scaled
from segmentation.modules.encoder import ImageEncoder, by_stream, load_pretrained, resolve_norm
from segmentation.system import Batch, Prediction, System, SystemConfig

DECODER_CHANNELS = (256, 128, 64, 32, 16)


class UNet(nn.Module):
    """smp's U-Net with the shared encoder; `width` scales its decoder (1: as published)."""

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        assert isinstance(config.method, UnetParams)
        self.config, self.method = config, config.method
        norm = resolve_norm(config.encoder.norm, config.encoder.weights)
        self.encoder = ImageEncoder(config.encoder.name, norm, config.mean, config.std)
        widths = [scaled(c, config.width) for c in DECODER_CHANNELS]
        self.decoder = UnetDecoder(encoder_channels=(1, *self.encoder.channels), decoder_channels=widths, n_blocks=5)
        self.head = smp.base.SegmentationHead(widths[-1], config.classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) in [0, 1] -> logits (B, K, H, W)."""
        return self.head(self.decoder([images, *self.encoder(images)]))

    def losses(self, batch: Batch, u: float, draws: Draws, teacher: System | None) -> dict[str, Tensor]:
        """BCEDice on labeled images, plus w(u) lc mean((p - q)^2) against the teacher (Tarvainen and Valpola 2017)."""
        logits = self(batch.images)
        supervised = bce_dice(logits, batch.masks)
        logs = {"supervised": supervised.detach(), "dice": hard_dice(probability(logits.detach()), batch.masks)}
        if batch.unlabeled is None:
            return {"total": supervised, **logs}
        assert isinstance(teacher, UNet), "unlabeled images need the moving average as teacher"
        unlabeled, semi = batch.unlabeled, self.config.semi
        with torch.no_grad():
            q = probability(teacher(unlabeled.weak))
        q, valid, strong = (cutmix(x, unlabeled.boxes) for x in (q, unlabeled.valid, unlabeled.strong))
        (student,) = by_stream(self, lambda images: [self(images)], strong, unlabeled.synthetic)
        consistency = (valid * (probability(student) - q) ** 2).mean()
        weight = unlabeled.weight * semi.lc * consistency_weight(u, semi.w_max, semi.ramp)
        if self.method.semi == "none":
            weight = 0.0
        return {"total": supervised + weight * consistency, **logs, "consistency": consistency.detach()}

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
