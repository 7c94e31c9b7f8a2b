"""What an image tells the denoiser at strides 4, 8 and 16, computed once per image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from segmentation.modules.blocks import GlobalContext, ResBlock, up2


@dataclass(frozen=True)
class Condition:
    """What an image tells the denoiser. maps: c_1..c_3; direct: logits (B, K, H, W) of the direct head."""

    maps: list[Tensor]
    direct: Tensor

    def repeated(self, times: int) -> Condition:
        """For `times` samples of each image: (times * B, ...)."""
        if times == 1:
            return self
        return Condition([c.repeat(times, 1, 1, 1) for c in self.maps], self.direct.repeat(times, 1, 1, 1))


class Guidance(nn.Module):
    """c_l = ResBlock(Conv1 f_l + Conv1 d_l), at stride 16 also Up2 Ctx(Conv1 f_5).

    f_l are the encoder's maps and d_l the U-Net decoder's at the same stride: what is seen, and what was made of it.
    channels: of f1..f5; decoded: of the decoder's maps at strides 16, 8, 4; widths: of c_1..c_3 at strides 4, 8, 16.
    global_context: False leaves Ctx, a transformer over the coarsest map, out.
    """

    def __init__(self, channels: list[int], decoded: list[int], widths: list[int], global_context: bool) -> None:
        super().__init__()
        self.seen = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels[1:4], widths, strict=True))
        self.made = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(decoded[::-1], widths, strict=True))
        self.block = nn.ModuleList(ResBlock(w, w) for w in widths)
        self.context = None
        if global_context:
            self.context = nn.Sequential(nn.Conv2d(channels[4], widths[2], 1), GlobalContext(widths[2]))

    def forward(self, features: list[Tensor], decoded: list[Tensor]) -> list[Tensor]:
        """f1..f5 and the decoder's maps at strides 16, 8, 4 -> c_1..c_3 (B, D_l, H / 2^(l + 1), W / 2^(l + 1))."""
        conditions = []
        for level in range(3):
            g = self.seen[level](features[level + 1]) + self.made[level](decoded[2 - level])
            if level == 2 and self.context is not None:
                g = g + up2(self.context(features[4]))
            conditions.append(self.block[level](g))
        return conditions
