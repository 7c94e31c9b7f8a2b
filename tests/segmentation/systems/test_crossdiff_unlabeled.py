"""What teaches crossdiff from unlabeled images: the teacher's repaired pseudo-labels, and who learns what from them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from segmentation.consistency import confidence_mask, confident_pixels, consistency_weight
from segmentation.losses import probability
from segmentation.modules.direct import Pass
from segmentation.modules.guidance import Condition
from segmentation.semi.methods import METHODS
from segmentation.system import Batch, Unlabeled
from segmentation.systems import crossdiff
from segmentation.systems.crossdiff import CrossDiff
from tests.support.crossdiff import calls_of, inputs_of, make, predict
from tests.support.segmenter import average_of, gradients, make_batch, make_draws, tensors

Denoise = Callable[..., list[Tensor]]


def teacher_of(system: CrossDiff) -> CrossDiff:
    teacher = average_of(system)
    assert isinstance(teacher, CrossDiff)
    return teacher


def unlabeled_of(batch: Batch) -> Unlabeled:
    assert batch.unlabeled is not None
    return batch.unlabeled


def confident(system: CrossDiff, q: Tensor, samples: Tensor | None) -> Tensor:
    """The confident pixels of whole views."""
    return confident_pixels(q, torch.ones_like(q[:, :1]), system.config.semi, samples)[0]


def answer(system: CrossDiff, logits: list[Tensor]) -> None:
    """Let every denoiser call answer the same."""
    system.denoise = lambda *_: logits  # type: ignore[method-assign]


# ---- pseudo-labels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rectify", ["none", "refine", "mean"])
@pytest.mark.parametrize("u", [0.09, 0.1])
def test_rectified_pseudo_labels_by_hand(rectify: str, u: float) -> None:
    system, images = make(rectify=rectify).eval(), tensors(2)[0]
    q0 = probability(system.see(images).logits).detach()
    logits = torch.full_like(q0, math.log(9.0))  # the denoiser says 0.9
    answer(system, [logits])
    q, samples = system.pseudo_label(images, u, make_draws())
    early = rectify == "none" or u < 0.1  # the denoiser is not trusted yet
    expected = q0 if early else torch.full_like(q0, 0.9) if rectify == "refine" else (q0 + 0.9) / 2
    torch.testing.assert_close(q, expected)
    assert torch.equal(confident(system, q, samples), confidence_mask(q, 0.8, 0.95))
    assert not q.requires_grad


def test_rectification_is_one_warm_start_from_the_direct_head() -> None:
    system, images = make(rectify="refine").eval(), tensors(2)[0]
    ((xt, t),) = inputs_of(system, lambda: system.pseudo_label(images, 0.5, make_draws()))
    assert t.tolist() == [400, 400]
    q0, abar = probability(system.see(images).logits).detach(), system.alphas_cumprod[400]
    noise = make_draws().normal("noise/teacher/0", 1, 64, 64)
    torch.testing.assert_close(xt, abar.sqrt() * 0.5 * (2 * q0 - 1) + (1 - abar).sqrt() * noise)


def test_pseudo_labels_of_the_direct_head_alone_cost_neither_guidance_nor_denoiser() -> None:
    images = tensors(2)[0]
    for rectify, u, calls in (("none", 0.5, 0), ("refine", 0.05, 0), ("refine", 0.5, 1)):
        system = make(rectify=rectify, confidence="probability").eval()
        parts = {"E": system.encoder, "direct": system.direct, "Gd": system.guidance, "denoiser": system.denoiser}
        counts = calls_of(parts, lambda system=system, u=u: system.pseudo_label(images, u, make_draws()))
        assert [counts[name] for name in parts] == [1, 1, calls, calls]


@pytest.mark.parametrize("rectify", ["none", "refine", "mean"])
def test_agreement_of_four_samples_is_the_confidence(rectify: str) -> None:
    system, images = make(rectify=rectify, confidence="agreement").eval(), tensors(2)[0]
    q0 = probability(system.see(images).logits).detach()
    samples = torch.full((4, 2, 1, 64, 64), 0.6)
    samples[3, 0, :, :32] = 0.4  # one of four dissents about the upper half of the first image
    samples[:, 1] = 0.1
    calls: list[Tensor] = []

    def stub(xt: Tensor, t: Tensor, c: Any, draws: None) -> list[Tensor]:
        calls.append(xt)
        assert t.tolist() == [400] * 8
        torch.testing.assert_close(probability(c.direct), q0.repeat(4, 1, 1, 1))  # each sample its image's condition
        return [torch.logit(samples).flatten(0, 1)]

    system.denoise = stub  # type: ignore[method-assign]
    q, drawn = system.pseudo_label(images, 0.5, make_draws())
    agreed = torch.ones(2, 1, 64, 64)
    agreed[0, :, :32] = 0.0
    assert torch.equal(confident(system, q, drawn), agreed)
    mean = torch.full((2, 1, 64, 64), 0.6)
    mean[0, :, :32], mean[1] = 0.55, 0.1
    expected = {"none": q0, "refine": mean, "mean": (mean + q0) / 2}[rectify]
    torch.testing.assert_close(q, expected)
    (xt,) = calls
    noises = xt.view(4, 2, 1, 64, 64)
    assert all(not torch.equal(noises[0], noises[n]) for n in (1, 2, 3))
    early = confident(system, *system.pseudo_label(images, 0.05, make_draws()))
    assert torch.equal(early, confidence_mask(q0, 0.8, 0.95))
    assert len(calls) == 1


def test_three_classes_have_pseudo_labels_too() -> None:
    images = tensors(2)[0]
    for confidence in ("probability", "agreement"):
        system = make(classes=3, rectify="mean", confidence=confidence).eval()
        q, samples = system.pseudo_label(images, 0.5, make_draws())
        m = confident(system, q, samples)
        torch.testing.assert_close(q.sum(dim=1), torch.ones(2, 64, 64))
        assert m.shape == (2, 1, 64, 64)
        assert set(m.unique().tolist()) <= {0.0, 1.0}


# ---- the student's losses --------------------------------------------------------------------------------------------


def test_the_student_never_starts_from_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    system = make()
    teacher, seen = teacher_of(system), []
    for value in (0.05, 0.95):
        monkeypatch.setattr(CrossDiff, "pseudo_label", lambda self, x, u, draws, v=value: (torch.full_like(x, v), None))
        seen.append(inputs_of(system, lambda: system.losses(make_batch(), 0.5, make_draws(), teacher)))
    assert len(seen[0]) == 2
    for (one, _), (two, _) in zip(*seen, strict=True):
        assert torch.equal(one, two)


def test_the_student_starts_from_its_own_direct_head_or_from_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (torch.tensor([200, 999]), torch.tensor([False, True]))
    monkeypatch.setattr(crossdiff, "unlabeled_timesteps", lambda draws, T: rows)
    system, batch = make(), make_batch()
    teacher = teacher_of(system)
    _, (xt, t) = inputs_of(system, lambda: system.losses(batch, 0.5, make_draws(), teacher))
    assert t.tolist() == [200, 999]
    own = probability(system.see(unlabeled_of(batch).strong[0]).logits).detach()
    noise, abar = make_draws().normal("noise/unlabeled", 1, 64, 64), system.alphas_cumprod[200]
    torch.testing.assert_close(xt[0], abar.sqrt() * 0.5 * (2 * own[0] - 1) + (1 - abar).sqrt() * noise[0])
    assert torch.equal(xt[1], noise[1])


def test_the_unlabeled_loss_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pseudo-labels: a lesion everywhere, and none; CutMix puts the second into the upper half of the first."""
    q = torch.full((2, 1, 64, 64), 0.9)
    q[1] = 0.01
    valid = torch.ones_like(q)
    valid[1, :, 32:] = 0.0
    boxes = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    boxes[0, :, :32] = True
    monkeypatch.setattr(CrossDiff, "pseudo_label", lambda self, images, u, draws: (q, None))
    taken: list[Tensor] = []

    def method(student: Any, q: Tensor, m: Tensor, *_: Any) -> tuple[Tensor, dict[str, Tensor]]:
        taken.extend((q, m))
        return torch.tensor(2.0), {"mine": torch.tensor(1.0)}

    monkeypatch.setattr(crossdiff, "METHODS", {"mean_teacher": method})
    system, batch = make(lc=3.0), make_batch(valid=valid, boxes=(boxes,))
    mixed = q.clone()
    mixed[0, :, :32] = 0.01
    right = torch.where(mixed > 0.5, 3.0, -3.0)
    answer(system, [right, torch.zeros_like(q), torch.full_like(q, 50.0)])
    total, logs = system._unlabeled(batch, unlabeled_of(batch), 0.5, make_draws(), teacher_of(make()))
    p = 1 / (1 + math.exp(-3))
    dice = 1 - (2 * 2048 * p + 1) / (2048 * p + 2048 * (1 - p) + 2048 + 1)
    l_main = 0.5 * (math.log(1 + math.exp(-3)) + dice / 2)  # no Dice for the second image: it shows no lesion
    # three confident halves among four: 0.01, 0.9 and 0.01 against 0.5 and against 1
    half, one = (2 * 0.49**2 + 0.4**2) / 4, (2 * 0.99**2 + 0.1**2) / 4
    l_cross = (half + one) / 2
    assert float(logs["unlabeled_main"]) == pytest.approx(l_main, rel=1e-4)
    assert float(logs["unlabeled_cross"]) == pytest.approx(l_cross, rel=1e-4)
    assert float(logs["unlabeled_direct"]) == 2.0
    assert float(logs["mine"]) == 1.0
    assert float(total.detach()) == pytest.approx(2.0 + 0.5 * (l_main + 3.0 * l_cross), rel=1e-4)
    assert torch.equal(taken[0], q)  # unmixed: each method mixes as its images were
    assert torch.equal(taken[1], valid)
    assert float(logs["keep_foreground"]) == 1.0
    assert float(logs["keep_background"]) == 1.0  # of the half that the second view shows


def test_the_ramp_and_the_arm_weigh_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrossDiff, "_unlabeled", lambda *_: (torch.tensor(7.0), {}))
    system = make(w_max=2.0, ramp=0.3)
    losses = system.losses(make_batch(weight=0.5), 0.15, make_draws(), teacher_of(system))
    added = float((losses["total"] - losses["supervised"]).detach())
    assert added == pytest.approx(0.5 * consistency_weight(0.15, 2.0, 0.3) * 7.0, rel=1e-4)


@pytest.mark.parametrize("method", ["fixmatch", "unimatch"])
def test_zero_confidence_teaches_nothing(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def doubtful(self: CrossDiff, images: Tensor, u: float, draws: Any) -> tuple[Tensor, None]:
        return torch.full_like(images, 0.5), None

    monkeypatch.setattr(CrossDiff, "pseudo_label", doubtful)
    system, batch = make(teach=method), make_batch()
    total, logs = system._unlabeled(batch, unlabeled_of(batch), 0.9, make_draws(), system)
    total.backward()
    assert float(total.detach()) == 0.0
    assert float(logs["keep_foreground"]) == float(logs["keep_background"]) == 0.0
    assert all(float(g.abs().max()) == 0.0 for g in gradients(system).values())


@pytest.mark.parametrize("method", list(METHODS))
def test_pseudo_labels_pass_no_gradient_and_say_what_they_keep(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def spy(student: Any, q: Tensor, *more: Any) -> Any:
        seen.append(q)
        return METHODS[method](student, q, *more)

    monkeypatch.setattr(crossdiff, "METHODS", {method: spy})
    system, teacher, batch = make(teach=method), make().eval(), make_batch()
    losses = system.losses(batch, 0.9, make_draws(), teacher)
    losses["total"].backward()
    assert not seen[0].requires_grad
    assert torch.equal(seen[0], teacher.pseudo_label(unlabeled_of(batch).weak, 0.9, make_draws())[0])
    assert all(float(g.abs().max()) == 0.0 for g in gradients(teacher).values())
    assert {"keep_foreground", "keep_background"} <= set(losses)


@pytest.mark.parametrize("method", ["fixmatch", "unimatch"])
def test_agreement_decides_what_reaches_the_direct_head_too(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sure teacher whose samples disagree teaches nothing, a doubtful one whose samples agree does."""
    samples = torch.full((4, 2, 1, 64, 64), 0.9)
    apart = samples.clone()
    apart[3] = 0.1
    system, batch, found = make(teach=method, confidence="agreement"), make_batch(), []
    for level, drawn in ((0.99, apart), (0.6, samples)):
        monkeypatch.setattr(
            CrossDiff,
            "pseudo_label",
            lambda self, x, u, draws, level=level, drawn=drawn: (torch.full_like(x, level), drawn),
        )
        total, logs = system._unlabeled(batch, unlabeled_of(batch), 0.9, make_draws(), system)
        found.append((float(total.detach()), float(logs["unlabeled_direct"]), float(logs["keep_foreground"])))
    assert found[0] == (0.0, 0.0, 0.0)
    assert found[1][2] == 1.0
    assert min(found[1]) > 0.1


@pytest.mark.parametrize(
    ("method", "encoder", "direct"), [("mean_teacher", 2, 3), ("fixmatch", 2, 3), ("unimatch", 3, 4), ("bcp", 3, 4)]
)
def test_the_first_strong_views_condition_is_computed_once(method: str, encoder: int, direct: int) -> None:
    """Labeled images pass the encoder once and the direct path twice (whole, and with channels dropped)."""
    system, batch = make(teach=method, channel_dropout=0.5), make_batch()
    teacher = teacher_of(system)
    parts = {"E": system.encoder, "direct": system.direct, "Gd": system.guidance, "denoiser": system.denoiser}
    parts |= {f"aux{n}": decoder for n, decoder in enumerate(system.denoiser.auxiliary)}
    parts |= {"teacher E": teacher.encoder, "teacher denoiser": teacher.denoiser}
    parts |= {"teacher aux": teacher.denoiser.auxiliary[0]}
    counts = calls_of(parts, lambda: system.losses(batch, 0.5, make_draws(), teacher))
    assert counts == {
        "E": encoder,
        "direct": direct,
        "Gd": 2,  # one for the labeled images, one for that view
        "denoiser": 2,
        "aux0": 2,
        "aux1": 2,
        "aux2": 2,
        "teacher E": 1,
        "teacher denoiser": 1,
    }


@pytest.mark.parametrize("method", ["mean_teacher", "fixmatch", "unimatch", "bcp"])
def test_the_denoiser_is_told_about_the_first_strong_view_alone(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is in the batch that the method looks at: its second view, or mixtures."""
    system, batch, told = make(teach=method), make_batch(views=2 if method == "unimatch" else 1), []
    original = CrossDiff.told

    def spy(self: CrossDiff, seen: Pass) -> Condition:
        told.extend([seen] if self is system else [])
        return original(self, seen)

    monkeypatch.setattr(CrossDiff, "told", spy)
    system.losses(batch, 0.5, make_draws(), teacher_of(system))
    _, seen = told  # of the labeled images, and this one
    view = unlabeled_of(batch).strong[0]
    for found, expected in zip(seen.features, system.encoder(view), strict=True):
        torch.testing.assert_close(found, expected)
    assert {len(x) for x in (*seen.maps, seen.logits)} == {len(view)}


def test_a_perturbed_pass_moves_no_statistic_of_the_direct_path() -> None:
    system, images = make(norm="bn"), tensors(2)[0]
    before = {n: v.clone() for n, v in system.named_buffers() if "running" in n}
    perturbed = system.see(images, None, lambda x: 0.5 * x).logits
    moved = {n for n, v in system.named_buffers() if "running" in n and not torch.equal(v, before[n])}
    assert moved
    assert all(name.startswith("encoder.") for name in moved)  # whose maps are whole
    assert float((perturbed - system.see(images).logits).detach().abs().max()) > 1e-4


# ---- auxiliary decoders ----------------------------------------------------------------------------------------------


def test_auxiliary_decoders_belong_to_training() -> None:
    system, images = make().eval(), tensors(2)[0]
    decoders = {str(i): decoder for i, decoder in enumerate(system.denoiser.auxiliary)}
    before = predict(system, images, "refine")
    assert not calls_of(decoders, lambda: predict(system, images, "refine"))
    with torch.no_grad():
        for parameter in system.denoiser.auxiliary.parameters():
            parameter.add_(1.0)
    assert torch.equal(predict(system, images, "refine"), before)


def test_without_auxiliary_decoders_it_still_learns() -> None:
    system = make(aux_decoders=0)
    losses = system.losses(make_batch(), 0.5, make_draws(), average_of(system))
    assert float(losses["unlabeled_cross"]) == 0.0
    assert torch.isfinite(losses["total"])
