"""The guidance decoder and the direct head: what is computed once per image, before any denoiser call."""

from __future__ import annotations

from torch import Tensor, nn

from segmentation.modules.blocks import GlobalContext, ResBlock, conv3, up2


class GuidanceDecoder(nn.Module):
    """g_5 = Ctx(Conv1 f_5); g_l = Conv3(Up2 g_{l+1}) + Conv1 f_l; c_l = ResBlock(g_l), l = 4..1.

    channels: of f1..f5; widths: of c_1..c_4 at strides 2, 4, 8, 16. global_context: False leaves Ctx out.
    """

    def __init__(self, channels: list[int], widths: list[int], global_context: bool) -> None:
        super().__init__()
        self.top = nn.Conv2d(channels[4], widths[3], 1)
        self.context = GlobalContext(widths[3]) if global_context else nn.Identity()
        above = [*widths[1:], widths[3]]
        self.up = nn.ModuleList(conv3(a, w) for a, w in zip(above, widths, strict=True))
        self.lateral = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels[:4], widths, strict=True))
        self.block = nn.ModuleList(ResBlock(w, w) for w in widths)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """f1..f5 (B, C_l, H / 2^l, W / 2^l) -> c_1..c_4 (B, D_l, H / 2^l, W / 2^l)."""
        g = self.context(self.top(features[4]))
        conditions = []
        for level in (3, 2, 1, 0):
            g = self.up[level](up2(g)) + self.lateral[level](features[level])
            conditions.append(self.block[level](g))
        return conditions[::-1]


class DirectHead(nn.Module):
    """l_dir = PixelShuffle2(Conv3(ResBlock(c_1))): (B, D_1, H / 2, W / 2) -> logits (B, K, H, W)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(ResBlock(width, width), conv3(width, 4 * classes), nn.PixelShuffle(2))

    def forward(self, c1: Tensor) -> Tensor:
        return self.net(c1)
