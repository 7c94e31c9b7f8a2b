"""The encoder: its input's affine map, its norms, its weights."""

import pytest
import torch
from torch import nn

from pipelines.runtime.weights import lite0_network
from segmentation.modules.encoder import ImageEncoder, by_stream, kept_statistics, load_pretrained, resolve_norm

NAME = "tu-tf_efficientnet_lite0"


def test_auto_norm() -> None:
    assert resolve_norm("auto", "lite0") == "frozen_bn"
    assert resolve_norm("auto", "none") == "bn"
    assert resolve_norm("bn", "lite0") == "bn"


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

    def forward(images: torch.Tensor) -> list[torch.Tensor]:
        calls.append(len(images))
        return [images, layer(images)]

    found = by_stream(layer, forward, x, synthetic)
    assert torch.equal(found[0], x)
    assert calls == [3, 2]
    assert float(layer.running_mean) == pytest.approx(0.1 * (1 + 3 + 4) / 3)
    calls.clear()
    layer.eval()
    by_stream(layer, forward, x, synthetic)
    by_stream(layer.train(), forward, x, torch.zeros(5, dtype=torch.bool))
    assert calls == [5, 5]
