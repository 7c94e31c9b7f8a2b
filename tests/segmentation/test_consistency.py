"""The unlabeled losses: ramp, confidence, masked terms, cross-consistency."""

import math

import pytest
import torch

from segmentation.consistency import (
    agreement_mask,
    confidence_mask,
    confident_pixels,
    consistency_weight,
    cross_consistency,
    decided,
    decided_foreground,
    keep_rates,
    masked_cross_entropy,
    masked_dice,
    rectified,
)
from tests.support.pixel_network import semi_params


@pytest.mark.parametrize(("u", "share"), [(0.0, 0.0), (0.15, 0.5), (0.3, 1.0), (1.0, 1.0)])
def test_ramp_is_the_formula(u: float, share: float) -> None:
    assert consistency_weight(u, 2.0, 0.3) == pytest.approx(2.0 * math.exp(-5 * (1 - share) ** 2))


def test_each_class_has_its_own_threshold() -> None:
    q = torch.tensor([0.85, 0.75, 0.5, 0.1, 0.04]).view(1, 1, 1, 5)
    assert confidence_mask(q, 0.8, 0.95).flatten().tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
    m = confidence_mask(q, 0.8, 0.95)
    foreground, background = keep_rates(q, m, torch.ones_like(m))
    assert float(foreground) == pytest.approx(1 / 2)
    assert float(background) == pytest.approx(1 / 3)
    inside = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0]).view(1, 1, 1, 5)  # the others belong to no image
    assert [float(rate) for rate in keep_rates(q, m * inside, inside)] == [0.0, 0.5]
    three = torch.tensor([[0.96, 0.02, 0.02], [0.9, 0.05, 0.05], [0.1, 0.85, 0.05]]).T.view(1, 3, 1, 3)
    assert confidence_mask(three, 0.8, 0.95).flatten().tolist() == [1.0, 0.0, 1.0]


def test_decided_masks() -> None:
    one = torch.tensor([0.51, 0.5, 0.49]).view(1, 1, 1, 3)
    assert decided(one).flatten().tolist() == [1.0, 0.0, 0.0]
    assert decided_foreground(one).flatten().tolist() == [True, False, False]
    three = torch.tensor([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]]).T.view(1, 3, 1, 3)
    assert torch.equal(decided(three)[0, :, 0], torch.eye(3))
    assert torch.equal(decided_foreground(three)[0, :, 0], torch.eye(3)[1:] > 0)
    assert decided(three).dtype == torch.float32


def test_agreement_is_of_decisions_and_not_of_probabilities() -> None:
    samples = torch.tensor([[0.51, 0.6, 0.1, 0.5], [0.99, 0.4, 0.2, 0.45]]).view(2, 1, 1, 1, 4)
    assert agreement_mask(samples).flatten().tolist() == [1.0, 0.0, 1.0, 1.0]
    assert agreement_mask(samples[:1]).flatten().tolist() == [1.0] * 4
    # classes 1 and 2 are both foreground and still no agreement; one dissenter of three suffices
    classes = torch.tensor([[1, 2, 0, 1], [1, 1, 0, 1], [1, 1, 0, 0]])
    several = torch.nn.functional.one_hot(classes, 3).float().permute(0, 2, 1)[:, None, :, None]
    assert agreement_mask(several).flatten().tolist() == [1.0, 0.0, 1.0, 0.0]
    assert agreement_mask(several).shape == (1, 1, 1, 4)


def test_confident_pixels_lie_inside_the_view_and_are_counted() -> None:
    q = torch.tensor([0.85, 0.9, 0.75, 0.5, 0.04]).view(1, 1, 1, 5)
    valid = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]).view(1, 1, 1, 5)
    samples = torch.stack([q, torch.tensor([0.9, 0.9, 0.6, 0.1, 0.6]).view(1, 1, 1, 5)])
    kappas = {"kappa_foreground": 0.8, "kappa_background": 0.95}
    by_probability, kept = confident_pixels(q, valid, semi_params(confidence="probability", **kappas), samples)
    assert by_probability.flatten().tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert {n: float(v) for n, v in kept.items()} == pytest.approx({"keep_foreground": 0.5, "keep_background": 0.5})
    agreement = semi_params(confidence="agreement", **kappas)
    agreed, kept = confident_pixels(q, valid, agreement, samples)
    assert agreed.flatten().tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]
    assert {n: float(v) for n, v in kept.items()} == pytest.approx({"keep_foreground": 1.0, "keep_background": 0.5})
    without, _ = confident_pixels(q, valid, agreement)  # where nothing was sampled, the probability decides
    assert torch.equal(without, by_probability)


def test_rectified_pseudo_labels() -> None:
    q, samples = torch.full((1, 1, 1, 2), 0.2), torch.tensor([0.5, 0.9]).view(2, 1, 1, 1, 1).expand(2, 1, 1, 1, 2)
    assert rectified(q, samples, "none") is q
    torch.testing.assert_close(rectified(q, samples, "refine"), torch.full_like(q, 0.7))
    torch.testing.assert_close(rectified(q, samples, "mean"), torch.full_like(q, 0.45))


def test_no_confident_pixel_gives_zero_without_nan_or_gradient() -> None:
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)
    q, m = torch.full((2, 1, 8, 8), 0.5), torch.zeros(2, 1, 8, 8)
    p = logits.sigmoid()
    loss = masked_cross_entropy(logits, q, m) + masked_dice(p, q, m) + cross_consistency(q, [p, p], m)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) == 0.0


def test_masked_dice_is_zero_for_the_teachers_own_mask_and_counts_images() -> None:
    h = torch.zeros(2, 1, 8, 8)
    h[0, 0, :4] = 1.0  # 32 confident pixels; the other image has none
    m = torch.ones_like(h)
    assert float(masked_dice(h, h, m)) == 0.0
    # image 0: p = 0 there, 1 - 1 / 33; image 1 is skipped; a mean over two images
    assert float(masked_dice(torch.zeros_like(h), h, m)) == pytest.approx((1 - 1 / 33) / 2)
    few = torch.zeros(1, 1, 8, 8)
    few[..., :1, : 15 // 2] = 1.0
    assert float(masked_dice(1 - few, few, torch.ones_like(few))) == 0.0


def test_masked_cross_entropy_ignores_the_rest() -> None:
    logits = torch.tensor([0.0, 50.0]).view(1, 1, 1, 2)
    q = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    m = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    assert float(masked_cross_entropy(logits, q, m)) == pytest.approx(math.log(2))


def test_cross_consistency_by_hand() -> None:
    q, m = torch.ones(1, 1, 1, 2), torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    decoders = [torch.full((1, 1, 1, 2), 0.5), torch.ones(1, 1, 1, 2)]
    assert float(cross_consistency(q, decoders, m)) == pytest.approx((0.25 / 2 + 0.0) / 2)
    assert float(cross_consistency(q, [q, q, q], m)) == 0.0
    assert float(cross_consistency(q, [], m)) == 0.0
