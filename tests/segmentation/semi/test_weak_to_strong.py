"""FixMatch and UniMatch by hand: what teaches, what is mixed, how the views are weighted."""

from math import exp, log

import pytest
import torch
from torch import Tensor

from segmentation.augmentations import cutmix
from segmentation.consistency import confident_pixels
from segmentation.semi.methods import Method
from segmentation.semi.network import Network
from segmentation.semi.weak_to_strong import fixmatch, unimatch
from segmentation.system import Batch
from tests.support.pixel_network import CHANNELS, Answers, PixelNetwork, semi_params, unlabeled_batch
from tests.support.segmenter import make_draws

SEMI = semi_params(kappa_foreground=0.8, kappa_background=0.95)
SIDE = 8  # 64 pixels; 16 confident foreground pixels are asked for by the Dice term
WEAK = torch.zeros(1, 1, SIDE, SIDE)


def taught_by(method: Method, network: Network, q: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The method's loss with the pixels that a system without a denoiser is sure of, and all that is logged."""
    assert batch.unlabeled is not None
    m, kept = confident_pixels(q, batch.unlabeled.valid, SEMI)
    loss, logs = method(network, q, m, batch, make_draws(len(q)), SEMI)
    return loss, {**kept, **logs}


def by_columns(*values: float) -> Tensor:
    """(1, 1, 8, 8): one value per column."""
    return torch.tensor(values).expand(1, 1, SIDE, SIDE).clone()


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))


def taught_foreground(logit: float, pixels: int = 64) -> float:
    """The loss of a constant logit against a wholly confident lesion."""
    p = sigmoid(logit)
    return 0.5 * (log(1 + exp(-logit)) + 1 - (2 * pixels * p + 1) / (pixels * p + pixels + 1))


def test_confident_pixels_alone_teach_their_decided_class() -> None:
    # 4 columns of confident lesion, one doubtful lesion, one doubtful background, 2 of confident background
    q = by_columns(0.9, 0.9, 0.8, 0.8, 0.79, 0.06, 0.05, 0.0)
    loss, logs = taught_by(fixmatch, Answers(0.0), q, unlabeled_batch(WEAK))
    dice = 1 - (2 * 16 + 1) / (24 + 32 + 1)  # p = 1/2 on 48 pixels, 32 of them lesion
    assert float(loss) == pytest.approx(0.5 * (log(2) + dice))
    assert float(logs["keep_foreground"]) == pytest.approx(4 / 5)
    assert float(logs["keep_background"]) == pytest.approx(2 / 3)
    # the decided mask is hard: another degree of confidence, the same loss
    surer, _ = taught_by(fixmatch, Answers(0.0), by_columns(*[0.99] * 4, 0.5, 0.5, 0.0, 0.0), unlabeled_batch(WEAK))
    assert float(surer) == pytest.approx(float(loss))


def test_doubtful_pixels_and_those_outside_the_view_do_not_matter() -> None:
    q = by_columns(0.9, 0.9, 0.9, 0.9, 0.6, 0.4, 0.01, 0.01)
    valid = by_columns(1, 1, 1, 0, 1, 1, 1, 0)
    good = by_columns(2, 2, 2, 2, 2, 2, -2, -2)
    wrong = by_columns(2, 2, 2, -9, -9, 9, -2, 9)  # there alone
    batch = unlabeled_batch(WEAK, valid=valid)
    one, two = (float(taught_by(fixmatch, Answers(x), q, batch)[0]) for x in (good, wrong))
    assert one == pytest.approx(two)
    p = sigmoid(2.0)
    dice = 1 - (2 * 24 * p + 1) / (24 * p + 8 * (1 - p) + 24 + 1)
    assert one == pytest.approx(0.5 * (log(1 + exp(-2)) + dice))


@pytest.mark.parametrize("method", [fixmatch, unimatch])
def test_the_systems_mask_decides_whatever_the_probability_says(method) -> None:  # type: ignore[no-untyped-def]
    """A sure teacher of whom four columns are taken out, and a doubtful one of whom as many are let in."""
    m = by_columns(1, 1, 1, 1, 0, 0, 0, 0)
    losses = []
    for q in (torch.full_like(WEAK, 0.99), torch.full_like(WEAK, 0.51)):
        loss, logs = method(PixelNetwork(), q, m, unlabeled_batch(WEAK), make_draws(1), SEMI)
        losses.append(float(loss.detach()))
        assert not any(name.startswith("keep_") for name in logs)
    assert losses == pytest.approx([taught_foreground(0.0, 32)] * 2)


@pytest.mark.parametrize("method", [fixmatch, unimatch])
def test_target_and_mask_are_mixed_as_the_image_was(method) -> None:  # type: ignore[no-untyped-def]
    """A network that is right about every pixel of its mixed view is told so."""
    q = torch.cat([torch.full_like(WEAK, 0.99), torch.full_like(WEAK, 0.01)])  # a lesion and its partner, background
    truth = torch.cat([torch.full_like(WEAK, 3.0), torch.full_like(WEAK, -3.0)])
    boxes = torch.zeros(2, 2, 1, SIDE, SIDE, dtype=torch.bool)
    boxes[0, 0, :, :4], boxes[1, 1, :, :, 6:] = True, True  # the views' boxes differ
    boxes = boxes[: 1 if method is fixmatch else 2]
    strong = [cutmix(truth, box) for box in boxes]
    batch = unlabeled_batch(truth, strong, boxes=list(boxes))
    loss, _ = taught_by(method, PixelNetwork(), q, batch)
    p, ce = sigmoid(3.0), log(1 + exp(-3))
    # view 0: image 0 has 32 lesion pixels, image 1 none, whose Dice is skipped
    first = 0.5 * (ce + (1 - (64 * p + 1) / (32 * p + 32 * (1 - p) + 32 + 1)) / 2)
    if method is fixmatch:
        expected = first
    else:
        whole = (1 - (128 * p + 1) / (64 * p + 64 + 1)) / 2  # unmixed, as the perturbed weak view is
        some = (1 - (32 * p + 1) / (16 * p + 48 * (1 - p) + 16 + 1)) / 2  # image 1 of view 1 shows 16
        expected = 0.5 * 0.5 * (ce + whole) + 0.25 * first + 0.25 * 0.5 * (ce + whole + some)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    # unmixed targets would be missed by far
    unmixed = unlabeled_batch(truth, strong)
    assert float(taught_by(method, PixelNetwork(), q, unmixed)[0].detach()) > 3 * expected


def test_unimatch_weighs_features_a_half_and_each_view_a_quarter() -> None:
    q = torch.full_like(WEAK, 0.9)
    loss, logs = taught_by(unimatch, Answers(0.5, torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)), q, unlabeled_batch(WEAK))
    perturbed, one, two = (taught_foreground(logit) for logit in (0.5, 1.0, -1.0))
    assert float(loss) == pytest.approx(perturbed / 2 + one / 4 + two / 4)
    assert float(logs["perturbed"]) == pytest.approx(perturbed)
    assert float(logs["strong"]) == pytest.approx((one + two) / 2)


def test_unimatch_drops_half_of_the_channels_of_the_weak_view_alone() -> None:
    network = PixelNetwork()
    weak = torch.rand(2, 1, SIDE, SIDE)
    strong = [weak + 1.0, weak + 2.0]
    taught_by(unimatch, network, torch.full_like(weak, 0.9), unlabeled_batch(weak, strong))
    assert torch.equal(network.calls[0][0], weak)
    assert torch.equal(network.calls[1][0], torch.cat(strong))  # one batch for both
    seen = [perturbed for _, perturbed in network.calls]
    assert len(seen) == 2
    assert seen[1] is None
    assert seen[0] is not None
    channels = seen[0][:, :, 0, 0]
    assert set(seen[0].unique().tolist()) == {0.0, 2.0}
    assert torch.equal(seen[0], channels[:, :, None, None].expand_as(seen[0]))  # whole channels
    assert 0.25 < float((channels == 0).float().mean()) < 0.75
    assert channels.shape == (2, CHANNELS)
    assert not torch.equal(channels[0], channels[1])  # each image its own


def test_fixmatch_takes_one_strong_view_and_drops_no_channel() -> None:
    network, weak = PixelNetwork(), torch.rand(2, 1, SIDE, SIDE)
    taught_by(fixmatch, network, torch.full_like(weak, 0.9), unlabeled_batch(weak, [weak + 1]))
    ((images, perturbed),) = network.calls
    assert torch.equal(images, weak + 1)
    assert perturbed is None


@pytest.mark.parametrize("method", [fixmatch, unimatch])
@pytest.mark.parametrize("classes", [1, 3])
def test_where_nothing_is_confident_nothing_is_learned(method, classes: int) -> None:  # type: ignore[no-untyped-def]
    network, weak = PixelNetwork(classes), torch.rand(2, 1, SIDE, SIDE)
    q = torch.full((2, classes, SIDE, SIDE), 0.5 if classes == 1 else 1 / 3)
    loss, logs = taught_by(method, network, q, unlabeled_batch(weak))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert float(network.scale.grad) == float(network.shift.grad) == 0.0
    assert float(logs["keep_foreground"]) == float(logs["keep_background"]) == 0.0


def test_three_classes() -> None:
    """Equal logits: p = 1/3 everywhere, cross-entropy log 3; Dice of class 1 by hand, class 2 is skipped."""
    q = torch.tensor([0.05, 0.9, 0.05]).view(1, 3, 1, 1).expand(1, 3, SIDE, SIDE)
    loss, _ = taught_by(fixmatch, PixelNetwork(3), q, unlabeled_batch(WEAK))
    dice = (1 - (2 * 64 / 3 + 1) / (64 / 3 + 64 + 1)) / 2
    assert float(loss.detach()) == pytest.approx(0.5 * (log(3) + dice), rel=1e-5)
