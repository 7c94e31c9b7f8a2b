"""Blocks: widths, FiLM, injection by hand, attention at any size."""

import pytest
import torch

from segmentation.modules.blocks import (
    ConvMixer,
    GlobalContext,
    Injection,
    ResBlock,
    TimeEmbedding,
    scaled,
)


def test_widths_are_multiples_of_the_groups() -> None:
    assert [scaled(c, 1.0) for c in (64, 96, 192, 256)] == [64, 96, 192, 256]
    assert [scaled(c, 0.25) for c in (64, 96, 192, 256)] == [16, 24, 48, 64]
    assert scaled(16, 0.1) == 16


def test_time_reaches_a_residual_block_through_film_alone() -> None:
    torch.manual_seed(0)
    block, embed = ResBlock(16, 24, emb=32), TimeEmbedding(32)
    x = torch.randn(2, 16, 8, 8)
    early, late = (block(x, embed(torch.tensor([t, t]))) for t in (0, 900))
    assert early.shape == (2, 24, 8, 8)
    assert float((early - late).detach().abs().max()) > 1e-4
    torch.nn.init.zeros_(block.film.weight)  # type: ignore[union-attr]
    torch.nn.init.zeros_(block.film.bias)  # type: ignore[union-attr]
    plain = ResBlock(16, 24)
    plain.load_state_dict({k: v for k, v in block.state_dict().items() if "film" not in k})
    torch.testing.assert_close(block(x, embed(torch.tensor([5, 5]))), plain(x))


def test_injection_adds_the_gated_condition() -> None:
    block = Injection(16, 8)
    torch.nn.init.zeros_(block.gate.weight)
    d, c, e = torch.randn(2, 16, 4, 4), torch.randn(2, 16, 4, 4), torch.randn(2, 8)
    torch.testing.assert_close(block(d, c, e), d + torch.sigmoid(torch.tensor(2.0)) * block.value(c))
    assert float(Injection(16, 8).value.weight.detach().abs().max()) > 0  # not zero-initialized


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 8)])
def test_mixers_and_attention_take_any_size(size: tuple[int, int]) -> None:
    x = torch.randn(2, 16, *size)
    assert ConvMixer(16)(x).shape == x.shape
    assert GlobalContext(16)(x).shape == x.shape


def test_attention_joins_distant_pixels_and_knows_where_they_are() -> None:
    torch.manual_seed(0)
    block = GlobalContext(16, layers=1)
    x = torch.randn(1, 16, 4, 4, requires_grad=True)
    block(x)[0, 0, 0, 0].backward()
    assert x.grad is not None
    assert float(x.grad[0, :, 3, 3].abs().max()) > 0
    constant = block(torch.ones(1, 16, 4, 4))
    assert float((constant[..., 0, 0] - constant[..., 3, 3]).detach().abs().max()) > 1e-3
