"""Losses by hand-computed values."""

import math

import pytest
import torch

from segmentation.losses import (
    bce_dice,
    cross_entropy_map,
    entropy,
    hard_dice,
    logits_of,
    probability,
    soft_dice,
)


def test_bce_dice_by_hand() -> None:
    logits = torch.zeros(1, 1, 2, 2)
    y = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    # p = 0.5: cross-entropy ln 2; Dice (2 * 1 + 1) / (2 + 2 + 1)
    assert float(bce_dice(logits, y)) == pytest.approx(0.5 * math.log(2) + 1 - 3 / 5)


def test_an_empty_target_asks_for_an_empty_prediction() -> None:
    empty = torch.zeros(1, 1, 4, 4)
    assert float(soft_dice(torch.zeros(1, 1, 4, 4), empty)) == 1.0
    assert float(soft_dice(torch.ones(1, 1, 4, 4), empty)) == pytest.approx(1 / 17)
    assert float(bce_dice(torch.full((1, 1, 4, 4), -30.0), empty)) == pytest.approx(0.0, abs=1e-6)


def test_several_classes_use_a_softmax_and_leave_the_background_out_of_dice() -> None:
    logits = torch.tensor([2.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    p = probability(logits)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(1, 2, 2))
    y = torch.zeros(1, 3, 2, 2)
    y[:, 0] = 1.0
    assert soft_dice(p, y).shape == (1, 2)
    expected = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert float(cross_entropy_map(logits, y).mean()) == pytest.approx(expected)
    torch.testing.assert_close(probability(logits_of(p)), p)


def test_entropy_is_a_share_of_its_maximum() -> None:
    p = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert entropy(p).flatten().tolist() == [0.0, 1.0, 0.0]
    third = torch.full((1, 3, 1, 1), 1 / 3)
    assert float(entropy(third)) == pytest.approx(1.0)


def test_hard_dice_of_empty_pairs_is_one() -> None:
    p = torch.zeros(2, 1, 2, 2)
    y = torch.zeros(2, 1, 2, 2)
    y[1, 0, 0, 0] = 1.0
    assert float(hard_dice(p, y)) == 0.5
    assert float(hard_dice(torch.eye(3)[None, :, :, None], torch.eye(3)[None, :, :, None])) == 1.0
