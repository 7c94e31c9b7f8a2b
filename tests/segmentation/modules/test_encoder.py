"""The encoder: its input's affine map, its norms, its weights."""

import pytest
import torch
from torch import nn

from pipelines.runtime.weights import lite0_network
from segmentation.modules.encoder import (
    ImageEncoder,
    by_stream,
    groups_for,
    kept_statistics,
    load_pretrained,
    resolve_norm,
    with_group_norm,
)

NAME = "tu-tf_efficientnet_lite0"


def test_auto_norm() -> None:
    assert resolve_norm("auto", "lite0") == "frozen_bn"
    assert resolve_norm("auto", "none") == "bn"
    assert resolve_norm("bn", "lite0") == "bn"
    assert resolve_norm("gn", "lite0") == resolve_norm("gn", "none") == "gn"


def test_pretrained_it_computes_what_the_published_network_computes() -> None:
    encoder = ImageEncoder(NAME, "frozen_bn", 0.5, 0.5)
    load_pretrained(encoder)
    encoder.eval()
    images = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(0))
    network = lite0_network()
    with torch.no_grad():
        hidden = network.bn1(network.conv_stem((2.0 * images - 1.0).expand(-1, 3, -1, -1)))  # type: ignore[operator]
        hidden = network.blocks(hidden)  # type: ignore[operator]
        found = encoder(images)
    torch.testing.assert_close(found[-1], hidden, rtol=1e-3, atol=1e-4)
    assert [f.shape[1] for f in found] == encoder.channels == [16, 24, 40, 112, 320]
    assert [f.shape[-1] for f in found] == [48, 24, 12, 6, 3]


@pytest.mark.parametrize("norm", ["bn", "frozen_bn"])
def test_frozen_statistics_stay_while_scales_learn(norm: str) -> None:
    encoder = ImageEncoder(NAME, norm, 0.4, 0.2).train()  # type: ignore[arg-type]
    layers = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {layer.training for layer in layers} == {norm == "bn"}
    assert all(layer.weight.requires_grad for layer in layers)
    encoder(torch.rand(2, 1, 64, 64))
    assert bool((layers[0].running_mean == 0).all()) == (norm == "frozen_bn")


def test_groups_divide_the_channels() -> None:
    assert [groups_for(c) for c in (16, 24, 40, 112, 144, 320, 1280, 7, 3, 1)] == [4, 6, 10, 28, 24, 32, 32, 1, 1, 1]
    for channels in range(1, 700):
        groups = groups_for(channels)
        assert channels % groups == 0
        assert groups <= 32
        assert groups == 1 or channels // groups >= 4


def test_group_norm_takes_over_scale_and_shift_and_what_follows() -> None:
    norm = nn.BatchNorm2d(8, eps=1e-3)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    net = with_group_norm(nn.Sequential(nn.Conv2d(1, 8, 1), norm))
    assert isinstance(net, nn.Sequential)
    x = torch.randn(3, 8, 5, 7)
    halves = x.view(3, 2, 4 * 5 * 7)  # two groups of four channels
    spread = (halves.var(dim=2, correction=0, keepdim=True) + 1e-3).sqrt()
    plain = ((halves - halves.mean(dim=2, keepdim=True)) / spread).view_as(x)
    expected = plain * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(net[1](x), expected)
    encoder = ImageEncoder(NAME, "gn", 0.5, 0.5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in encoder.modules())
    assert any(isinstance(m, nn.ReLU6) for m in encoder.modules())


def test_pretrained_scales_and_shifts_survive_group_norm() -> None:
    usual, grouped = (ImageEncoder(NAME, norm, 0.5, 0.5) for norm in ("frozen_bn", "gn"))  # type: ignore[arg-type]
    for encoder in (usual, grouped):
        load_pretrained(encoder)
    before = [m for m in usual.modules() if isinstance(m, nn.BatchNorm2d)]
    after = [m for m in grouped.modules() if isinstance(m, nn.GroupNorm)]
    assert len(before) == len(after) == 48
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a.weight, b.weight)
        assert torch.equal(a.bias, b.bias)
    assert float(after[0].weight.detach().std()) > 0.1  # no fresh ones
    assert not any(isinstance(m, nn.BatchNorm2d) for m in grouped.modules())
    kernels = [[m.weight for m in e.modules() if isinstance(m, nn.Conv2d)] for e in (usual, grouped)]
    assert all(torch.equal(a, b) for a, b in zip(*kernels, strict=True))
    ImageEncoder(NAME, "gn", 0.5, 0.5).load_state_dict(grouped.state_dict())  # a saved one is rebuilt without the file
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    grouped.train()
    with torch.no_grad():
        whole, parts = grouped(images), [grouped(images[i : i + 1]) for i in range(3)]
    for level, feature in enumerate(whole):
        assert torch.isfinite(feature).all()
        assert float(feature.std()) > 0.01
        torch.testing.assert_close(feature, torch.cat([part[level] for part in parts]), rtol=0, atol=1e-4)


def test_kept_statistics_normalize_by_the_batch_and_restore() -> None:
    layer = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3)).train()
    x = torch.randn(4, 3, 8, 8) * 5 + 2
    with kept_statistics(layer):
        assert abs(float(layer(x).mean().detach())) < 1e-5
    assert float(layer[0].running_mean.abs().max()) == 0.0
    assert layer[0].momentum == 0.3


def test_by_stream_keeps_the_order_of_rows() -> None:
    layer = nn.BatchNorm2d(1).train()
    x = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 4, 4)
    synthetic = torch.tensor([True, False, True, False, False])
    calls: list[int] = []

    def forward(images: torch.Tensor, twice: torch.Tensor) -> list[torch.Tensor]:
        calls.append(len(images))
        assert torch.equal(twice, 2.0 * images)
        return [images, layer(images)]

    inputs = [x, 2.0 * x]
    found = by_stream(layer, forward, inputs, synthetic)
    assert torch.equal(found[0], x)
    assert calls == [3, 2]
    assert float(layer.running_mean) == pytest.approx(0.1 * (1 + 3 + 4) / 3)
    calls.clear()
    layer.eval()
    by_stream(layer, forward, inputs, synthetic)
    by_stream(layer.train(), forward, inputs, torch.zeros(5, dtype=torch.bool))
    assert calls == [5, 5]
    calls.clear()
    before = float(layer.running_mean)
    by_stream(layer, forward, inputs, torch.ones(5, dtype=torch.bool))
    assert calls == [5]
    assert float(layer.running_mean) == before
