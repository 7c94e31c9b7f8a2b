"""What all methods of semi-supervision share: their names, finite scalars, no gradient but the student's."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from pipelines.params.segmenter import SemiMethod
from segmentation.batches import one_hot
from segmentation.consistency import confident_pixels
from segmentation.losses import probability
from segmentation.semi.methods import METHODS
from tests.support.pixel_network import PixelNetwork, semi_params, unlabeled_batch
from tests.support.segmenter import make_batch, make_draws

every = pytest.mark.parametrize("name", list(METHODS))


def test_params_and_methods_name_the_same() -> None:
    assert set(METHODS) == set(get_args(SemiMethod))


@every
@pytest.mark.parametrize("classes", [1, 3])
def test_scalars_are_finite_and_the_student_alone_learns(name: str, classes: int) -> None:
    batch, network = make_batch(2, 2, classes), PixelNetwork(classes, scale=2.0, shift=-1.0)
    assert batch.unlabeled is not None
    logits = torch.zeros(2, classes, 64, 64)
    logits[:, -1:] = 12.0 * batch.unlabeled.weak - 3.0
    q = probability(logits)
    semi = semi_params(kappa_foreground=0.5, kappa_background=0.5)
    m, _ = confident_pixels(q, batch.unlabeled.valid, semi)
    loss, logs = METHODS[name](network, q, m, batch, make_draws(), semi)
    assert loss.ndim == 0
    assert float(loss.detach()) > 0
    assert all(value.ndim == 0 and torch.isfinite(value) and not value.requires_grad for value in logs.values())
    loss.backward()
    if classes == 1:
        assert float(network.scale.grad.abs()) > 0
    assert torch.isfinite(network.scale.grad)


@every
def test_an_image_wholly_outside_its_view_teaches_nothing(name: str) -> None:
    weak = torch.rand(2, 1, 12, 12)
    batch = unlabeled_batch(weak, valid=torch.zeros_like(weak), masks=one_hot(torch.zeros(2, 12, 12), 1))
    losses = []
    for level in (0.01, 0.99):
        network = PixelNetwork()
        loss, _ = METHODS[name](
            network, torch.full_like(weak, level), torch.zeros_like(weak), batch, make_draws(), semi_params()
        )
        loss.backward()
        losses.append((float(loss.detach()), float(network.scale.grad)))
    assert losses[0] == losses[1]  # copy-paste still learns from its labeled pixels
    if name != "bcp":
        assert losses[0] == (0.0, 0.0)


@every
def test_the_same_step_gives_the_same_loss(name: str) -> None:
    batch, semi = make_batch(), semi_params(kappa_foreground=0.5, kappa_background=0.5)
    assert batch.unlabeled is not None
    q = batch.unlabeled.weak
    one, two = (
        float(METHODS[name](PixelNetwork(), q, torch.ones_like(q), batch, make_draws(), semi)[0].detach())
        for _ in range(2)
    )
    assert one == two
