"""The direct path: decoder and head of the U-Net (Ronneberger et al. 2015), shared by `unet` and `crossdiff`."""

from __future__ import annotations

from dataclasses import dataclass

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from segmentation.modules.blocks import scaled
from segmentation.modules.encoder import by_stream, kept_statistics
from segmentation.perturbations import Perturbation

CHANNELS = (256, 128, 64, 32, 16)  # at strides 16, 8, 4, 2, 1


class DirectPath(nn.Module):
    """smp's U-Net without its encoder; `width` scales its channels (1: as published).

    channels: of the encoder's maps f1..f5. widths: of the decoder's maps, at strides 16, 8, 4, 2, 1.
    """

    def __init__(self, channels: list[int], width: float, classes: int) -> None:
        super().__init__()
        self.widths = [scaled(c, width) for c in CHANNELS]
        self.decoder = UnetDecoder(encoder_channels=(1, *channels), decoder_channels=self.widths, n_blocks=5)
        self.head = smp.base.SegmentationHead(self.widths[-1], classes)

    def forward(self, images: Tensor, *features: Tensor) -> list[Tensor]:
        """images: (B, 1, H, W), for their size; features: f1..f5 -> [logits (B, K, H, W), maps at strides 16, 8, 4]."""
        sizes = [image.shape[-2:] for image in (*features[3::-1], images)]
        skips = [*features[3::-1], None]
        x, maps = features[4], []
        for block, (height, width), skip in zip(self.decoder.blocks, sizes, skips, strict=True):
            x = block(x, height, width, skip_connection=skip)
            maps.append(x)
        return [self.head(x).float(), *maps[:3]]


@dataclass(frozen=True)
class Pass:
    """One run of the direct path. features: f1..f5 as it was given them. maps: its own at strides 16, 8, 4.

    logits: (B, K, H, W).
    """

    features: list[Tensor]
    maps: list[Tensor]
    logits: Tensor

    def first(self, count: int) -> Pass:
        """That of the first images alone."""
        return Pass([f[:count] for f in self.features], [d[:count] for d in self.maps], self.logits[:count])


def run_direct(
    direct: DirectPath,
    images: Tensor,
    features: list[Tensor],
    synthetic: Tensor | None = None,
    perturb: Perturbation | None = None,
) -> Pass:
    """Run the direct path once. synthetic: (B,) bool, rows that move no running statistic; None: there are none.

    perturb: applied to each of f1..f5 first; running statistics stay those of whole maps.
    """
    if perturb is None:
        logits, *maps = by_stream(direct, direct, [images, *features], synthetic)
        return Pass(features, maps, logits)
    features = [perturb(feature) for feature in features]
    with kept_statistics(direct):
        logits, *maps = direct(images, *features)
    return Pass(features, maps, logits)
