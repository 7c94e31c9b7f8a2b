"""Guidance: one condition per level at its stride; the direct head at full size."""

import torch

from segmentation.modules.guidance import DirectHead, GuidanceDecoder


def test_shapes() -> None:
    channels, widths = [16, 24, 40, 112, 320], [16, 24, 48, 64]
    features = [torch.randn(2, c, 96 // 2**level, 64 // 2**level) for level, c in enumerate(channels, start=1)]
    conditions = GuidanceDecoder(channels, widths, global_context=True)(features)
    assert [tuple(c.shape) for c in conditions] == [(2, 16, 48, 32), (2, 24, 24, 16), (2, 48, 12, 8), (2, 64, 6, 4)]
    assert DirectHead(16, 3)(conditions[0]).shape == (2, 3, 96, 64)


def test_the_coarsest_map_reaches_the_finest_condition() -> None:
    channels, widths = [16, 24, 40, 112, 320], [16, 24, 48, 64]
    features = [torch.randn(1, c, 64 // 2**level, 64 // 2**level) for level, c in enumerate(channels, start=1)]
    features[4].requires_grad_()
    GuidanceDecoder(channels, widths, global_context=False)(features)[0].sum().backward()
    assert features[4].grad is not None
    assert float(features[4].grad.abs().max()) > 0
