"""Guidance: one condition per level at its stride, made of what the encoder saw and what its decoder made of it."""

import pytest
import torch
from torch import Tensor

from segmentation.modules.guidance import Condition, Guidance

CHANNELS, DECODED, WIDTHS = [16, 24, 40, 112, 320], [64, 32, 16], [16, 32, 64]


def maps(height: int = 96, width: int = 64) -> tuple[list[Tensor], list[Tensor]]:
    """f1..f5, and the decoder's maps at strides 16, 8, 4."""
    seen = [torch.randn(2, c, height // 2**level, width // 2**level) for level, c in enumerate(CHANNELS, start=1)]
    made = [
        torch.randn(2, c, height // 2**level, width // 2**level) for level, c in zip((4, 3, 2), DECODED, strict=True)
    ]
    return seen, made


@pytest.mark.parametrize("size", [(96, 64), (64, 160)])
def test_shapes(size: tuple[int, int]) -> None:
    height, width = size
    conditions = Guidance(CHANNELS, DECODED, WIDTHS, global_context=True)(*maps(height, width))
    expected = [(2, c, height // s, width // s) for c, s in zip(WIDTHS, (4, 8, 16), strict=True)]
    assert [tuple(c.shape) for c in conditions] == expected


@pytest.mark.parametrize(("context", "heard"), [(False, []), (True, [False, False, True])])
def test_each_level_hears_its_own_maps_and_the_coarsest_the_context(context: bool, heard: list[bool]) -> None:
    torch.manual_seed(0)
    guidance, (seen, made) = Guidance(CHANNELS, DECODED, WIDTHS, context), maps()
    with torch.no_grad():
        plain = guidance(seen, made)

        def changed(kind: str, index: int) -> list[bool]:
            parts = {"seen": list(seen), "made": list(made)}
            parts[kind][index] = parts[kind][index] + 1.0
            return [not torch.equal(a, b) for a, b in zip(plain, guidance(parts["seen"], parts["made"]), strict=True)]

        levels = [[True, False, False], [False, True, False], [False, False, True]]
        assert [changed("seen", index) for index in (1, 2, 3)] == levels
        assert [changed("made", index) for index in (2, 1, 0)] == levels  # coarse to fine
        assert changed("seen", 0) == [False] * 3  # stride 2 is finer than the denoiser
        assert changed("seen", 4) == (heard or [False] * 3)


def test_without_context_a_level_is_a_block_of_the_sum() -> None:
    torch.manual_seed(0)
    guidance, (seen, made) = Guidance(CHANNELS, DECODED, WIDTHS, False), maps()
    for level in range(3):
        both = guidance.seen[level](seen[level + 1]) + guidance.made[level](made[2 - level])
        torch.testing.assert_close(guidance(seen, made)[level], guidance.block[level](both))


def test_conditions_repeat_in_the_order_of_samples() -> None:
    c = Condition([torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)], torch.rand(2, 1, 8, 8))
    three = c.repeated(3)
    for one, many in zip([*c.maps, c.direct], [*three.maps, three.direct], strict=True):
        assert torch.equal(many.view(3, *one.shape), one.expand(3, *one.shape))
    assert c.repeated(1) is c
