"""`unet` at width 1 is smp's U-Net, and what the methods of semi-supervision receive from it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from segmentation.consistency import confident_pixels
from segmentation.losses import bce_dice, probability
from segmentation.perturbations import channel_dropout, image_generators, uniform_like
from segmentation.semi.methods import METHODS
from segmentation.systems import unet
from segmentation.systems.unet import UNet
from tests.support.segmenter import average_of, gradients, make_batch, make_draws, make_system, tensors


def make(**changes: Any) -> UNet:
    system = make_system("unet", **changes)
    assert isinstance(system, UNet)
    return system


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.named_buffers() if "running" in name}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, b[name]) for name, value in a.items())


def test_at_width_one_it_is_the_network_of_the_library() -> None:
    system = make(width=1.0, norm="bn")
    published = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, in_channels=1, classes=1)
    published.encoder.load_state_dict(system.encoder.net.state_dict())
    published.decoder.load_state_dict(system.direct.decoder.state_dict())
    published.segmentation_head.load_state_dict(system.direct.head.state_dict())
    images, _ = tensors(1)
    with torch.no_grad():
        found, expected = system.eval()(images), published.eval()(2.0 * images - 1.0)
    torch.testing.assert_close(found, expected)
    assert float(expected.std()) > 1e-3
    assert sum(p.numel() for p in system.parameters()) == sum(p.numel() for p in published.parameters())


@pytest.mark.parametrize("method", list(METHODS))
def test_the_chosen_method_is_weighted_by_the_ramp(method: str) -> None:
    settings = {"w_max": 2.0, "lc": 3.0, "kappa_foreground": 0.5, "kappa_background": 0.5}
    batch = make_batch()
    assert batch.unlabeled is not None
    system = make(teach=method, **settings)
    teacher = average_of(system)
    losses = system.losses(batch, 0.15, make_draws(), teacher)
    other = make(teach=method, **settings)
    assert isinstance(teacher, UNet)
    supervised = bce_dice(other(batch.images), batch.masks)
    q = probability(teacher(batch.unlabeled.weak))
    m, kept = confident_pixels(q, batch.unlabeled.valid, other.config.semi)
    unlabeled, logs = METHODS[method](other.student, q, m, batch, make_draws(), other.config.semi)
    assert float(unlabeled.detach()) > 0
    torch.testing.assert_close(losses["supervised"], supervised.detach())
    torch.testing.assert_close(losses["total"], supervised + 2.0 * math.exp(-1.25) * unlabeled)
    assert set(losses) == {"total", "supervised", "dice", *kept, *logs}


@pytest.mark.parametrize("method", list(METHODS))
def test_pseudo_labels_carry_no_gradient(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def spy(student: Any, q: Tensor, m: Tensor, *more: Any) -> Any:
        seen.extend((q, m))
        return METHODS[method](student, q, m, *more)

    monkeypatch.setattr(unet, "METHODS", {method: spy})
    valid = torch.ones(2, 1, 64, 64)
    valid[1, :, :, 40:] = 0.0
    system, batch = make(teach=method, kappa_background=0.5), make_batch(valid=valid)
    teacher = make().eval()  # whose parameters ask for gradients
    losses = system.losses(batch, 0.9, make_draws(), teacher)
    losses["total"].backward()
    assert batch.unlabeled is not None
    q, m = seen
    assert not q.requires_grad
    assert torch.equal(q, probability(teacher(batch.unlabeled.weak)).detach())
    expected, kept = confident_pixels(q, valid, system.config.semi)
    assert torch.equal(m, expected)
    assert 0 < float(m.sum()) <= float(valid.sum())
    assert {name: float(losses[name]) for name in kept} == {name: float(value) for name, value in kept.items()}
    assert all(float(g.abs().max()) == 0.0 for g in gradients(teacher).values())


def test_the_student_is_the_network_and_a_perturbed_pass_moves_no_statistic() -> None:
    images, synthetic = tensors(2)[0], torch.zeros(2, dtype=torch.bool)
    system = make(norm="bn")
    before = statistics(system.direct)
    scale = system.student(images, synthetic, lambda x: 0.0 * x)
    assert equal(before, statistics(system.direct))
    assert float(scale[0, 0].std().detach()) < 1.0
    found = system.student(images, synthetic)
    assert not equal(before, statistics(system.direct))
    torch.testing.assert_close(found, make(norm="bn")(images))
    generators = image_generators(make_draws(), "test")
    dropped = system.student(images, synthetic, lambda x: channel_dropout(x, uniform_like(x[:, :, :1, :1], generators)))
    assert float((dropped - found).detach().abs().max()) > 1e-3


def test_the_perturbation_reaches_each_map_of_the_encoder() -> None:
    shapes: list[tuple[int, ...]] = []

    def spy(x: Tensor) -> Tensor:
        shapes.append(tuple(x.shape))
        return x

    system, images, synthetic = make(), tensors(2)[0], torch.zeros(2, dtype=torch.bool)
    found = system.student(images, synthetic, spy)
    sides = [32, 16, 8, 4, 2]
    assert shapes == [(2, c, s, s) for c, s in zip(system.encoder.channels, sides, strict=True)]
    torch.testing.assert_close(found, system(images))


def test_modes_and_seeds_change_nothing() -> None:
    system = make().eval()
    images, _ = tensors(2)
    found = [
        system.predict(images, steps=s, seeds=s, mode=mode, case_ids=["a", "b"]).probability
        for s, mode in ((1, "direct"), (3, "refine"))
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], probability(system(images)))


def test_unlabeled_images_without_a_teacher_are_a_fault_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="moving average"):
        make().losses(make_batch(), 0.5, make_draws(), None)


def test_labeled_images_are_seen_again_with_dropped_channels() -> None:
    """L_sup = BCEDice(l) + 1/2 BCEDice(l'), and the second pass moves no running statistic."""
    batch = make_batch(unlabeled=0)
    system, plain = make(norm="bn", channel_dropout=0.5), make(norm="bn", channel_dropout=0.0)
    whole = plain.losses(batch, 0.0, make_draws(), None)["total"]
    total = system.losses(batch, 0.0, make_draws(), None)["total"]
    assert equal(statistics(system), statistics(plain))
    features = make(norm="bn").encoder(batch.images)
    generators = image_generators(make_draws(), "labeled/channels")
    dropped = [channel_dropout(x, uniform_like(x[:, :, :1, :1], generators)) for x in features]
    logits = make(norm="bn").direct(batch.images, *dropped)[0]
    torch.testing.assert_close(total, whole + 0.5 * bce_dice(logits, batch.masks))
    assert bool(total > whole)
