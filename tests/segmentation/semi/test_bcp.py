"""Bidirectional copy-paste by hand: boxes, sources of pixels and of their targets, weights, largest component."""

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from pipelines.runtime.randomness import Draws
from segmentation.batches import one_hot
from segmentation.semi import bcp as module
from segmentation.semi.bcp import bcp, largest_component, masked_loss, pasted_boxes
from tests.support.pixel_network import PixelNetwork, semi_params, unlabeled_batch
from tests.support.segmenter import make_draws

SEMI = semi_params()
SIDE = 6  # boxes of 4 x 4: 16 pixels inside, 20 outside
NOTHING = torch.zeros(1, 1, 1, 1)  # no pixel is confident: all teach nevertheless


def square(value: float, count: int = 1, classes: int = 1) -> Tensor:
    return torch.full((count, classes, SIDE, SIDE), value)


def test_boxes_have_two_thirds_of_each_side_and_lie_inside() -> None:
    found = pasted_boxes(torch.tensor([[0.0, 0.0], [0.999, 0.999], [0.0, 0.5]]), 6, 9)
    assert found.shape == (3, 1, 6, 9)
    assert found.dtype == torch.bool
    first = torch.zeros(6, 9, dtype=torch.bool)
    first[:4, :6] = True
    assert torch.equal(found[0, 0], first)
    assert torch.equal(found[1, 0], first.flip(0, 1))
    assert torch.equal(found[2, 0], first.roll(2, 1))  # 4 places along the columns: 0 to 3
    many = pasted_boxes(torch.rand(300, 2), 6, 6)
    assert many.sum(dim=(1, 2, 3)).unique().tolist() == [16]
    corners = {tuple(torch.nonzero(box[0])[0].tolist()) for box in many}
    assert corners == {(y, x) for y in range(3) for x in range(3)}


def test_loss_of_a_constant_network_by_hand() -> None:
    """p = 1/2 everywhere; labeled images are all lesion, the teacher sees none."""
    batch = unlabeled_batch(square(0.0), images=square(0.0), masks=square(1.0))
    loss, logs = bcp(PixelNetwork(), square(0.1), NOTHING, batch, make_draws(1), SEMI)
    ce = log(2)
    lesion_inside, none_outside = 1 - (2 * 8 + 1) / (8 + 16 + 1), 1 - 1 / (10 + 1)
    lesion_outside, none_inside = 1 - (2 * 10 + 1) / (10 + 20 + 1), 1 - 1 / (8 + 1)
    labeled_in = 0.5 * (ce + lesion_inside) + 0.5 * 0.5 * (ce + none_outside)
    unlabeled_in = 0.5 * (ce + lesion_outside) + 0.5 * 0.5 * (ce + none_inside)
    assert float(logs["labeled_in"]) == pytest.approx(labeled_in, rel=1e-5)
    assert float(logs["unlabeled_in"]) == pytest.approx(unlabeled_in, rel=1e-5)
    assert float(loss.detach()) == pytest.approx((labeled_in + unlabeled_in) / 2, rel=1e-5)


def test_three_classes_by_hand() -> None:
    """p = 1/3; labeled pixels are of class 1, the teacher decides for class 2: Dice is a mean over both."""
    masks = one_hot(torch.ones(1, SIDE, SIDE), 3)
    q = torch.tensor([0.1, 0.2, 0.7]).view(1, 3, 1, 1).expand(1, 3, SIDE, SIDE)
    batch = unlabeled_batch(square(0.0), images=square(0.0), masks=masks)
    _, logs = bcp(PixelNetwork(3), q, NOTHING, batch, make_draws(1), SEMI)

    def part(pixels: int) -> float:
        present = 1 - (2 * pixels / 3 + 1) / (pixels / 3 + pixels + 1)
        absent = 1 - 1 / (pixels / 3 + 1)
        return 0.5 * (log(3) + (present + absent) / 2)

    assert float(logs["labeled_in"]) == pytest.approx(part(16) + 0.5 * part(20), rel=1e-5)
    assert float(logs["unlabeled_in"]) == pytest.approx(part(20) + 0.5 * part(16), rel=1e-5)


@pytest.mark.parametrize(("labeled", "unlabeled"), [(1, 3), (3, 2), (2, 2)])
def test_each_pixel_comes_with_the_target_of_its_own_source(labeled: int, unlabeled: int) -> None:
    """Labeled image i is 10 + i, unlabeled -20 - i; a network that reads lesion from the sign is right everywhere."""
    images = 10.0 + torch.arange(labeled).view(-1, 1, 1, 1) * torch.ones(1, 1, SIDE, SIDE)
    weak = -20.0 - torch.arange(unlabeled).view(-1, 1, 1, 1) * torch.ones(1, 1, SIDE, SIDE)
    batch = unlabeled_batch(weak, images=images, masks=torch.ones_like(images))
    network, draws = PixelNetwork(), make_draws(labeled)
    loss, _ = bcp(network, square(0.01, unlabeled), NOTHING, batch, draws, SEMI)
    assert float(loss.detach()) < 0.01
    wrong, _ = bcp(network, square(0.99, unlabeled), NOTHING, batch, draws, SEMI)
    assert float(wrong.detach()) > 1.0
    place = [i % labeled for i in range(unlabeled)]
    box = pasted_boxes(draws.uniform("semi/box", 2)[place], SIDE, SIDE)
    one, two = network.calls[0][0].chunk(2)  # one batch for both mixtures
    assert torch.equal(one, torch.where(box, images[place], weak))
    assert torch.equal(two, torch.where(box, weak, images[place]))


def test_pixels_outside_a_view_teach_nothing_and_labeled_ones_always_do() -> None:
    batch = unlabeled_batch(square(0.0), images=square(0.0), masks=square(1.0), valid=square(0.0))
    losses = [bcp(PixelNetwork(), square(q), NOTHING, batch, make_draws(1), SEMI)[0] for q in (0.01, 0.99)]
    ce = log(2)
    expected = 0.25 * (2 * ce + 1 - 17 / 25 + 1 - 21 / 31)
    assert [float(loss.detach()) for loss in losses] == pytest.approx([expected, expected], rel=1e-5)
    assert float(masked_loss(square(3.0), square(1.0), square(0.0))) == 0.0  # finite where there is no pixel at all


def test_only_the_largest_component_of_the_teachers_mask_is_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    q = square(0.1)
    q[0, 0, :2, :2], q[0, 0, 4:, :] = 0.9, 0.6  # 4 surer pixels and 12 others
    seen: list[Tensor] = []

    def spy(logits: Tensor, y: Tensor, m: Tensor) -> Any:
        seen.append(y)
        return masked_loss(logits, y, m)

    monkeypatch.setattr(module, "masked_loss", spy)
    masks = square(1.0)
    bcp(PixelNetwork(), q, NOTHING, unlabeled_batch(square(0.0), images=square(0.0), masks=masks), make_draws(1), SEMI)
    expected = square(0.0)
    expected[0, 0, 4:, :] = 1.0
    assert [torch.equal(y, masks) or torch.equal(y, expected) for y in seen] == [True] * 4
    assert [torch.equal(y, expected) for y in seen] == [False, True, False, True]


def test_largest_component() -> None:
    mask = torch.tensor(
        [
            [1, 1, 0, 0, 1],
            [1, 0, 0, 1, 1],
            [0, 1, 0, 1, 1],  # touches the first component at a corner alone
        ]
    ).float()[None, None]
    kept = largest_component(mask)
    assert kept[0, 0].tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]
    assert kept.dtype == mask.dtype
    batch = torch.cat([mask, torch.zeros_like(mask), mask.flip(-1)])
    found = largest_component(batch)
    assert torch.equal(found, torch.cat([kept, torch.zeros_like(mask), kept.flip(-1)]))
    # two classes that touch are one component; what goes becomes background
    labels = torch.tensor([[1, 2, 0, 2], [1, 2, 0, 0]])[None]
    several = largest_component(one_hot(labels, 3))
    assert several.argmax(dim=1)[0].tolist() == [[1, 2, 0, 0], [1, 2, 0, 0]]
    assert torch.equal(several.sum(dim=1), torch.ones(1, 2, 4))


def test_boxes_hang_on_the_step_and_the_image() -> None:
    batch = unlabeled_batch(torch.rand(4, 1, 12, 12), images=torch.zeros(4, 1, 12, 12))

    def first(draws: Draws) -> Tensor:
        network = PixelNetwork()
        bcp(network, torch.zeros(4, 1, 12, 12), NOTHING, batch, draws, SEMI)
        return network.calls[0][0]

    assert torch.equal(first(make_draws(4, step=3)), first(make_draws(4, step=3)))
    assert not torch.equal(first(make_draws(4, step=3)), first(make_draws(4, step=4)))
