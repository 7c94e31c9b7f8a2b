"""The mean teacher's term by hand."""

import pytest
import torch

from segmentation.semi.mean_teacher import mean_teacher
from tests.support.pixel_network import PixelNetwork, rows, semi_params, unlabeled_batch
from tests.support.segmenter import make_draws

Q = rows([0.9, 0.2], [0.6, 0.4])
NOTHING = rows([0.0, 0.0])  # no pixel is confident: all teach nevertheless
BOX = rows([0.0, 1.0], [0.0, 0.0]) > 0  # the second pixel of the first image is its partner's


def test_squared_error_against_the_mixed_target_where_the_mixed_view_shows_its_image() -> None:
    p = rows([0.5, 0.25], [0.5, 0.9])
    batch = unlabeled_batch(torch.zeros_like(Q), [torch.logit(p)], boxes=[BOX])
    loss, logs = mean_teacher(PixelNetwork(), Q, NOTHING, batch, make_draws(), semi_params(lc=3.0))
    # targets 0.9 0.4 (the partner's) and 0.6 0.4
    mean = (0.4**2 + 0.15**2 + 0.1**2 + 0.5**2) / 4
    assert float(loss.detach()) == pytest.approx(3.0 * mean)
    assert float(logs["consistency"]) == pytest.approx(mean)
    left = unlabeled_batch(torch.zeros_like(Q), [torch.logit(p)], boxes=[BOX], valid=rows([1.0, 1.0], [1.0, 0.0]))
    loss, _ = mean_teacher(PixelNetwork(), Q, NOTHING, left, make_draws(), semi_params(lc=1.0))
    # the partner's second pixel lay outside: it teaches neither image
    assert float(loss.detach()) == pytest.approx((0.4**2 + 0.1**2) / 4)


def test_all_classes_count_and_equal_views_give_zero() -> None:
    q = torch.full((2, 3, 1, 2), 1 / 3)
    batch = unlabeled_batch(torch.zeros(2, 1, 1, 2))
    loss, _ = mean_teacher(PixelNetwork(3), q, NOTHING, batch, make_draws(), semi_params(lc=1.0))
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
    other = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, 1, 2)
    loss, _ = mean_teacher(PixelNetwork(3), other, NOTHING, batch, make_draws(), semi_params(lc=1.0))
    assert float(loss.detach()) == pytest.approx(((2 / 3) ** 2 + 2 * (1 / 3) ** 2) / 3)


def test_it_sees_the_first_strong_view_once_and_a_weight_of_zero_is_finite() -> None:
    network, strong = PixelNetwork(), [rows([0.1, 0.2]), rows([0.3, 0.4])]
    batch = unlabeled_batch(torch.zeros(1, 1, 1, 2), strong)
    loss, logs = mean_teacher(network, rows([0.9, 0.1]), NOTHING, batch, make_draws(1), semi_params(lc=0.0))
    ((images, perturbed),) = network.calls
    assert torch.equal(images, strong[0])
    assert perturbed is None
    assert float(loss.detach()) == float(logs["consistency"]) == 0.0
