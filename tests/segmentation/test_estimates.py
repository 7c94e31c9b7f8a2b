"""Damaged masks: never the truth, about as wrong as asked, each part on its own."""

import torch

from segmentation.estimates import SOFT, corrupt, kept_components, largest_pixels
from segmentation.losses import hard_dice
from tests.support.segmenter import make_draws, tensors


def test_no_draw_gives_the_truth_back() -> None:
    _, y = tensors(8)
    for step in range(10):
        e = corrupt(y, make_draws(8, step), "s")
        assert e.shape == y.shape
        assert float(e.min()) >= SOFT - 1e-6
        assert float(e.max()) <= 1 - SOFT + 1e-6
        assert ((e - y).abs().amax(dim=(1, 2, 3)) > 0.01).all()


def test_strength_scales_the_error() -> None:
    _, y = tensors(16)
    scores = [
        float(torch.stack([hard_dice(corrupt(y, make_draws(16, step), "s", strength), y) for step in range(8)]).mean())
        for strength in (0.0, 0.5, 1.0, 2.0)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.97
    assert 0.5 < scores[2] < 0.9


def test_an_empty_mask_stays_possible_and_may_be_given_a_false_lesion() -> None:
    y = torch.cat([torch.zeros(1, 1, 64, 64), tensors(1)[1]])
    found = [bool((corrupt(y, make_draws(2, step), "s")[0] > 0.5).any()) for step in range(60)]
    assert 0 < sum(found) < 25


def test_components_are_dropped_whole() -> None:
    masks = torch.zeros(400, 1, 64, 64)
    masks[:, :, 8:20, 8:20] = 1.0
    masks[:, :, 40:56, 30:60] = 1.0
    field = torch.rand(400, 32, 32, generator=torch.Generator().manual_seed(0))
    kept = masks * kept_components(masks, field, 0.3)
    first, second = kept[:, 0, 8:20, 8:20].mean(dim=(1, 2)), kept[:, 0, 40:56, 30:60].mean(dim=(1, 2))
    assert set(first.tolist()) <= {0.0, 1.0}
    assert set(second.tolist()) <= {0.0, 1.0}
    assert 0.6 < float(first.mean()) < 0.8
    assert 0.6 < float(second.mean()) < 0.8
    both = float(((first == 0) & (second == 0)).float().mean())
    assert both < 0.2  # independent: 0.09


def test_largest_pixels_have_the_asked_area() -> None:
    field = torch.rand(2, 1, 10, 10, generator=torch.Generator().manual_seed(0)) + 0.1
    mask = largest_pixels(field, torch.tensor([17.0, 0.0]).view(2, 1, 1, 1))
    assert mask.sum(dim=(1, 2, 3)).tolist() == [17.0, 0.0]
    assert float(field[0][mask[0] > 0].min()) >= float(field[0][mask[0] == 0].max())


def test_several_classes_sum_to_one() -> None:
    _, y = tensors(4, classes=3)
    e = corrupt(y, make_draws(4), "s")
    torch.testing.assert_close(e.sum(dim=1), torch.ones(4, 64, 64))
    assert ((e - y).abs().amax(dim=(1, 2, 3)) > 0.01).all()
