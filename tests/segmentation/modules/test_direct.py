"""The direct path is the library's U-Net without its encoder: the same numbers from the same weights, at any size."""

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from segmentation.modules.direct import DirectPath, run_direct

CHANNELS = [16, 24, 40, 112, 320]


def features(height: int, width: int, count: int = 2) -> list[Tensor]:
    """f1..f5 for images whose sides are multiples of 32."""
    random = torch.Generator().manual_seed(0)
    sizes = [(c, height // 2**level, width // 2**level) for level, c in enumerate(CHANNELS, start=1)]
    return [torch.randn(count, *size, generator=random) for size in sizes]


@pytest.mark.parametrize("classes", [1, 3])
def test_at_width_one_it_computes_what_the_library_computes(classes: int) -> None:
    torch.manual_seed(0)
    published = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, in_channels=1, classes=classes).eval()
    ours = DirectPath(CHANNELS, 1.0, classes).eval()
    ours.decoder.load_state_dict(published.decoder.state_dict())
    ours.head.load_state_dict(published.segmentation_head.state_dict())
    images = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        logits, *_ = ours(images, *published.encoder(images)[1:])
        expected = published(images)
    assert torch.equal(logits, expected)
    assert float(expected.std()) > 0.01


@pytest.mark.parametrize("size", [(192, 256), (320, 288), (64, 32)])
def test_sizes_strides_and_channels(size: tuple[int, int]) -> None:
    height, width = size
    path = DirectPath(CHANNELS, 0.25, 3).eval()
    assert path.widths == [64, 32, 16, 16, 16]  # never fewer than two channels per group of the blocks behind
    with torch.no_grad():
        logits, *maps = path(torch.zeros(2, 1, height, width), *features(height, width))
    assert logits.shape == (2, 3, height, width)
    assert torch.isfinite(logits).all()
    assert [tuple(m.shape) for m in maps] == [
        (2, c, height // s, width // s) for c, s in zip(path.widths, (16, 8, 4), strict=False)
    ]


def test_the_maps_are_those_on_the_way_to_the_logits() -> None:
    path, given = DirectPath(CHANNELS, 0.25, 1).eval(), features(64, 64)
    seen: list[Tensor] = []
    for block in path.decoder.blocks:
        block.register_forward_hook(lambda *arguments: seen.append(arguments[2]))
    with torch.no_grad():
        _, *maps = path(torch.zeros(2, 1, 64, 64), *given)
    assert len(seen) == 5
    assert all(torch.equal(a, b) for a, b in zip(seen, maps, strict=False))
    # f1 joins at stride 2, behind all three maps; f4 at stride 16, before the first
    for level, changed in ((0, [False, False, False]), (3, [True, True, True])):
        other = [f + 1.0 if index == level else f for index, f in enumerate(given)]
        with torch.no_grad():
            _, *found = path(torch.zeros(2, 1, 64, 64), *other)
        assert [not torch.equal(a, b) for a, b in zip(found, maps, strict=True)] == changed


def test_logits_are_float32_under_autocast() -> None:
    path = DirectPath(CHANNELS, 0.25, 1).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits, *maps = path(torch.zeros(2, 1, 64, 64), *features(64, 64))
    assert logits.dtype == torch.float32
    assert maps[0].dtype == torch.bfloat16


def statistics(path: DirectPath) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in path.named_buffers() if "running" in name}


def test_a_perturbed_run_reads_perturbed_maps_and_moves_no_statistic() -> None:
    path, given, images = DirectPath(CHANNELS, 0.25, 1).train(), features(64, 64), torch.zeros(2, 1, 64, 64)
    before = statistics(path)
    seen = run_direct(path, images, given, perturb=lambda x: 0.5 * x)
    assert all(torch.equal(value, before[name]) for name, value in statistics(path).items())
    assert all(torch.equal(half, 0.5 * whole) for half, whole in zip(seen.features, given, strict=True))
    logits, *maps = path(images, *seen.features)
    for found, expected in zip([seen.logits, *seen.maps], [logits, *maps], strict=True):
        torch.testing.assert_close(found, expected)


def test_only_real_rows_move_statistics() -> None:
    given, images = features(64, 64), torch.zeros(2, 1, 64, 64)
    torch.manual_seed(0)
    paths = [DirectPath(CHANNELS, 0.25, 1).train() for _ in range(2)]
    paths[1].load_state_dict(paths[0].state_dict())
    one = run_direct(paths[0], images, given, torch.tensor([False, True]))
    assert all(torch.equal(a, b) for a, b in zip(one.features, given, strict=True))
    alone = run_direct(paths[1], images[:1], [f[:1] for f in given])
    torch.testing.assert_close(one.logits[:1], alone.logits)
    expected = statistics(paths[1])
    for name, value in statistics(paths[0]).items():
        torch.testing.assert_close(value, expected[name], msg=name)
