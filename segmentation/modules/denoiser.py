"""The denoiser: one call of the conditional diffusion network, with perturbed auxiliary decoders in training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from segmentation.modules.blocks import ConvMixer, Injection, ResBlock, TimeEmbedding, conv3, up2
from segmentation.perturbations import Perturbation

R = 4  # pixel unshuffle: the denoiser works at a quarter of the size
LEVELS = 3  # strides 4, 8, 16


class MaskDecoder(nn.Module):
    """Stride 16 -> logits: twice Up2, concat skip, ResBlock, inject; then Conv3 and PixelShuffle.

    injected: the levels (0-based) that see the condition again.
    """

    def __init__(self, widths: list[int], emb: int, classes: int, injected: Sequence[int]) -> None:
        super().__init__()
        levels = range(LEVELS - 1)
        self.block = nn.ModuleList(ResBlock(widths[i + 1] + widths[i], widths[i], emb) for i in levels)
        self.inject = nn.ModuleDict({str(i): Injection(widths[i], emb) for i in levels if i in injected})
        self.head = nn.Sequential(conv3(widths[0], classes * R * R), nn.PixelShuffle(R))

    def forward(self, v: Tensor, skips: list[Tensor], conditions: list[Tensor], e: Tensor) -> Tensor:
        for level in reversed(range(LEVELS - 1)):
            v = self.block[level](torch.cat([up2(v), skips[level]], dim=1), e)
            if str(level) in self.inject:
                v = self.inject[str(level)](v, conditions[level], e)
        return self.head(v)


class Denoiser(nn.Module):
    """(input, t, conditions) -> logits of x0 from the main decoder, and in training from perturbed auxiliary ones.

    widths: at strides 4, 8, 16, those of the conditions c_1..c_3. aux_decoders: 0 to 3; decoder k reads the context
    after k - 1 mixers, the main one after all three (growing context, as in MGCC). multi_scale False: the condition
    enters at stride 16 alone.
    """

    def __init__(self, classes: int, widths: list[int], emb: int, aux_decoders: int, multi_scale: bool) -> None:
        super().__init__()
        injected = range(LEVELS) if multi_scale else (LEVELS - 1,)
        self.time = TimeEmbedding(emb)
        self.stem = nn.Sequential(nn.PixelUnshuffle(R), conv3(classes * R * R, widths[0]))
        self.down = nn.ModuleList(conv3(w, w, stride=2) for w in widths[:-1])
        self.block = nn.ModuleList(ResBlock(a, b, emb) for a, b in pairwise(widths))
        self.inject = nn.ModuleDict({str(i): Injection(widths[i], emb) for i in injected})
        self.mixers = nn.ModuleList(ConvMixer(widths[-1]) for _ in range(3))
        self.main = MaskDecoder(widths, emb, classes, injected)
        self.auxiliary = nn.ModuleList(MaskDecoder(widths, emb, classes, injected) for _ in range(aux_decoders))

    def forward(
        self, x: Tensor, t: Tensor, conditions: list[Tensor], perturbations: Sequence[Perturbation] | None = None
    ) -> list[Tensor]:
        """x: (B, K, H, W) of unit variance; t: (B,); conditions: c_1..c_3; perturbations: one per auxiliary decoder.

        Returns logits (B, K, H, W): [main] where perturbations is None, else [main, aux1, ...].
        """
        e = self.time(t)
        d = self._inject(self.stem(x), 0, conditions, e)
        skips = [d]
        for level in range(1, LEVELS):
            d = self._inject(self.block[level - 1](self.down[level - 1](d), e), level, conditions, e)
            skips.append(d)
        contexts = [skips.pop()]
        for mixer in self.mixers:
            contexts.append(mixer(contexts[-1]))
        logits = [self.main(contexts[3], skips, conditions, e)]
        if perturbations is not None:
            for decoder, perturb, v in zip(self.auxiliary, perturbations, contexts[:3], strict=False):
                logits.append(decoder(perturb(v), [perturb(skip) for skip in skips], conditions, e))
        return logits

    def _inject(self, d: Tensor, level: int, conditions: list[Tensor], e: Tensor) -> Tensor:
        if str(level) not in self.inject:
            return d
        return self.inject[str(level)](d, conditions[level], e)
