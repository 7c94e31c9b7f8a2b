"""What crossdiff must not get wrong: no truth inside xt, a denoiser that corrects and is used, a cached condition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from segmentation import mask_diffusion
from segmentation.losses import bce_dice, logits_of, probability
from segmentation.modules.guidance import Condition
from segmentation.system import Batch
from segmentation.systems import crossdiff
from segmentation.systems.crossdiff import CrossDiff
from segmentation.systems.unet import UNet
from tests.support.crossdiff import NAMES, calls_of, condition_of, inputs_of, make, predict
from tests.support.segmenter import average_of, gradients, make_batch, make_draws, make_system, tensors

# ---- the direct head, and what is built on it ------------------------------------------------------------------------


def test_the_direct_path_is_the_unet() -> None:
    """With the same weights, the same logits, the same loss and the same gradients from labeled images."""
    system, plain = make(), make_system("unet")
    assert isinstance(plain, UNet)
    mine = system.state_dict()
    plain.load_state_dict({name: mine[name] for name in plain.state_dict()})
    batch = make_batch(unlabeled=0)
    losses, expected = (s.losses(batch, 0.5, make_draws(), None) for s in (system, plain))
    torch.testing.assert_close(losses["direct"], expected["supervised"])
    expected["total"].backward()
    bce_dice(condition_of(system, batch.images).direct, batch.masks).backward()
    theirs = gradients(plain)
    for name, gradient in gradients(system).items():
        torch.testing.assert_close(gradient, theirs.get(name, torch.zeros_like(gradient)), msg=name)
    mine = system.state_dict()  # a second pass has moved its running statistics again
    plain.load_state_dict({name: mine[name] for name in plain.state_dict()})
    system.eval(), plain.eval()
    for size in ((64, 64), (96, 160)):
        images = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(condition_of(system, images).direct, plain(images))
    assert torch.equal(predict(system, images, "direct"), probability(plain(images)))


@pytest.mark.parametrize("classes", [1, 3])
def test_the_main_decoder_corrects_the_direct_heads_logits(classes: int) -> None:
    system, images = make(classes=classes), tensors(2)[0]
    c = condition_of(system, images)
    xt, t = torch.randn(2, classes, 64, 64), torch.tensor([3, 900])
    main, *auxiliary = system.denoise(xt, t, c, make_draws(), "p")
    assert float((main - c.direct).detach().abs().max()) > 1e-3
    gradient = torch.autograd.grad(main.sum(), c.direct, retain_graph=True, allow_unused=True)
    assert gradient == (None,)  # the direct head is taught by its own losses alone
    higher = Condition(c.maps, c.direct + 5.0)
    corrected, *alone = system.denoise(xt, t, higher, make_draws(), "p")
    torch.testing.assert_close(corrected, main + 5.0)
    assert all(torch.equal(a, b) for a, b in zip(alone, auxiliary, strict=True))  # auxiliary decoders stand alone
    with torch.no_grad():
        for parameter in system.denoiser.main.head.parameters():
            parameter.zero_()
        assert torch.equal(system.denoise(xt, t, c, None)[0], c.direct)
        system.eval()
        for mode in ("refine", "fast", "quality"):
            torch.testing.assert_close(predict_classes(system, images, mode), predict_classes(system, images, "direct"))


def predict_classes(system: CrossDiff, images: Tensor, mode: str) -> Tensor:
    return system.predict(images, steps=3, seeds=2, mode=mode, case_ids=NAMES).probability


@pytest.mark.parametrize("t", [999, 400, 0])
def test_the_image_is_heard_at_every_step(t: int) -> None:
    system, images = make().eval(), tensors(2)[0]
    xt, steps = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([t, t])
    with torch.no_grad():
        c, other = condition_of(system, images), condition_of(system, 1 - images)
        found = system.denoise(xt, steps, c, None)[0]
        swapped = system.denoise(xt, steps, Condition(other.maps, c.direct), None)[0]
        silenced = system.denoise(xt, steps, Condition([torch.zeros_like(m) for m in c.maps], c.direct), None)[0]
    for changed in (swapped, silenced):
        assert float((found - changed).norm() / (found - c.direct).norm()) > 1e-3


# ---- the supervised step ---------------------------------------------------------------------------------------------


def warm_then_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (torch.tensor([400, 999]), torch.tensor([False, True]))
    monkeypatch.setattr(crossdiff, "supervised_timesteps", lambda draws, T: rows)


@pytest.mark.parametrize(
    ("estimate", "warm", "twin"),
    [
        ("self", True, "none"),
        ("teacher", True, "none"),
        ("corrupt", False, "none"),
        ("truth", False, "none"),
        ("self", True, "cascade"),
        ("truth", False, "cascade"),
        ("truth", True, "zero"),
    ],
)
def test_where_a_mask_may_enter_xt(estimate: str, warm: bool, twin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two opposite masks: rows from noise never differ, warm ones where the estimate is made of the mask."""
    warm_then_cold(monkeypatch)
    images, masks = tensors(2)
    system = make(estimate=estimate, twin=twin)
    teacher = average_of(system)
    seen = []
    for y in (masks, 1 - masks):
        ((xt, t),) = inputs_of(system, lambda y=y: system.losses(Batch(images, y), 0.5, make_draws(), teacher))
        assert t.tolist() == [400, 999]
        seen.append(xt)
    assert torch.equal(seen[0][1], seen[1][1])
    assert torch.equal(seen[0][0], seen[1][0]) == warm
    if twin == "none":
        assert torch.equal(seen[0][1], make_draws().normal("noise/supervised", 1, 64, 64)[1])
    else:
        assert float(seen[0][1].abs().max()) == 0.0


@pytest.mark.parametrize("estimate", ["corrupt", "teacher", "self", "truth"])
def test_the_estimate_passes_no_gradient(estimate: str) -> None:
    system, (images, masks) = make(estimate=estimate), tensors(2)
    teacher = average_of(system)
    assert isinstance(teacher, CrossDiff)
    c = condition_of(system, images)
    e = system.estimate(masks, images, c, make_draws(), teacher)
    assert not e.requires_grad
    assert 0.0 <= float(e.min()) <= float(e.max()) <= 1.0
    if estimate == "teacher":
        assert torch.equal(e, probability(condition_of(teacher, images).direct))
    elif estimate == "self":
        assert torch.equal(e, probability(c.direct.detach()))
    else:
        assert torch.equal(e, masks) == (estimate == "truth")
        assert bool((e != masks).all()) == (estimate == "corrupt")


def test_the_denoisers_loss_teaches_encoder_and_decoder_but_not_the_direct_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    system = make()
    original = crossdiff.bce_dice
    denoised: list[Tensor] = []
    monkeypatch.setattr(crossdiff, "_mean_loss", lambda d, y: denoised.append(original(d[0], y)) or denoised[-1])
    monkeypatch.setattr(crossdiff, "bce_dice", lambda logits, y: 0.0 * logits.sum())
    losses = system.losses(make_batch(unlabeled=0), 0.5, make_draws(), None)
    torch.testing.assert_close(losses["total"], 0.5 * denoised[0])
    losses["total"].backward()
    found = {name for name, gradient in gradients(system).items() if gradient.abs().max() > 0}
    assert any(name.endswith("conv_stem.weight") for name in found)
    assert any(name.startswith("direct.decoder.blocks.2.") for name in found)
    assert not any(
        name.startswith(("direct.head.", "direct.decoder.blocks.3.", "direct.decoder.blocks.4.")) for name in found
    )
    assert not any(name.startswith("denoiser.auxiliary") for name in found)


def test_the_supervised_loss_by_its_parts() -> None:
    system, batch = make(), make_batch(unlabeled=0)
    outputs: list[list[Tensor]] = []
    original = system.denoise
    system.denoise = lambda *a: outputs.append(original(*a)) or outputs[-1]  # type: ignore[method-assign]
    losses = system.losses(batch, 0.5, make_draws(), None)
    (decoders,) = outputs
    assert len(decoders) == 4
    mean = sum(bce_dice(logits, batch.masks) for logits in decoders) / 4
    torch.testing.assert_close(losses["denoised"], mean.detach())  # type: ignore[union-attr]
    torch.testing.assert_close(losses["total"], losses["direct"] + 0.5 * mean)
    expected = {"total", "supervised", "direct", "denoised"}
    assert set(losses) == expected | {f"dice_{n}" for n in ("estimate", "direct", "condition", "denoised")}


def features_told(system: CrossDiff, batch: Batch) -> list[list[Tensor]]:
    """The encoder's maps of each call of the guidance in one step."""
    seen: list[list[Tensor]] = []
    handle = system.guidance.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    system.losses(batch, 0.5, make_draws(), None)
    handle.remove()
    return seen


def test_the_denoiser_is_told_about_labeled_images_with_half_of_the_channels() -> None:
    batch = make_batch(unlabeled=0)
    system = make(norm="bn", channel_dropout=0.5)
    told = features_told(system, batch)[-1]
    plain = make(norm="bn", channel_dropout=0.0)
    (whole,) = features_told(plain, batch)
    gone = []
    for dropped, full in zip(told, whole, strict=True):
        lost = dropped.abs().amax(dim=(2, 3)) == 0
        torch.testing.assert_close(dropped[~lost], 2.0 * full[~lost])
        gone.append((lost & (full.abs().amax(dim=(2, 3)) > 0)).float())
    share = float(torch.cat(gone, dim=1).mean())
    assert 0.4 < share < 0.6
    assert not torch.equal(gone[4][0], gone[4][1])  # each image loses channels of its own
    # the direct head learns from whole maps, and their statistics alone are remembered
    for name, value in system.named_buffers():
        if "running" in name:
            torch.testing.assert_close(value, dict(plain.named_buffers())[name], msg=name)


@pytest.mark.parametrize(("p", "passes"), [(0.0, 1), (0.5, 2)])
def test_the_guidance_runs_for_the_pass_that_the_denoiser_is_told_about(p: float, passes: int) -> None:
    system = make(channel_dropout=p)
    parts = {"E": system.encoder, "direct": system.direct, "Gd": system.guidance, "denoiser": system.denoiser}
    counts = calls_of(parts, lambda: system.losses(make_batch(unlabeled=0), 0.5, make_draws(), None))
    assert counts == {"E": 1, "direct": passes, "Gd": 1, "denoiser": 1}


def test_the_teachers_estimate_needs_no_guidance() -> None:
    system = make(estimate="teacher")
    teacher = average_of(system)
    assert isinstance(teacher, CrossDiff)
    parts = {"E": teacher.encoder, "direct": teacher.direct, "Gd": teacher.guidance}
    counts = calls_of(parts, lambda: system.losses(make_batch(unlabeled=0), 0.5, make_draws(), teacher))
    assert counts == {"E": 1, "direct": 1}


@pytest.mark.parametrize("switch", [{"global_context": False}, {"multi_scale": False}, {"aux_decoders": 1}])
def test_switches_remove_what_they_name(switch: dict[str, Any]) -> None:
    full, less = make(), make(**switch)
    assert len(less.state_dict()) < len(full.state_dict())
    shared = {name: value for name, value in full.state_dict().items() if name in less.state_dict()}
    less.load_state_dict(shared)
    batch, xt, t = make_batch(unlabeled=0), torch.zeros(2, 1, 64, 64), torch.tensor([400, 999])
    losses, corrections = [], []
    for system in (full, less):
        losses.append(float(system.losses(batch, 0.5, make_draws(), None)["denoised"]))
        c = condition_of(system, batch.images)
        corrections.append((system.denoise(xt, t, c, None)[0] - c.direct).detach())
    assert losses[0] != losses[1]
    change = float((corrections[1] - corrections[0]).norm() / corrections[0].norm())
    assert (change > 1e-3) == ("aux_decoders" not in switch)  # those never speak for the main one


# ---- prediction ------------------------------------------------------------------------------------------------------


def test_the_condition_is_computed_once_and_seeds_run_as_one_batch() -> None:
    system, images = make().eval(), tensors(2)[0]
    parts = {"E": system.encoder, "Gd": system.guidance, "direct": system.direct, "denoiser": system.denoiser}
    counts = calls_of(parts, lambda: predict(system, images, "refine", steps=3, seeds=4))
    assert counts == {"E": 1, "Gd": 1, "direct": 1, "denoiser": 3}
    assert calls_of(parts, lambda: predict(system, images, "direct")) == {"E": 1, "direct": 1}
    c = condition_of(system, images)
    p_dir = probability(c.direct)
    whole = system.sample(c, p_dir, 3, 3, "refine", NAMES)[-1]
    original = mask_diffusion.case_noise
    for seed in range(3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mask_diffusion, "case_noise", lambda n, _, shape, seed=seed: original(n, seed, shape))
            alone = system.sample(c, p_dir, 3, 1, "refine", NAMES)[-1]
        torch.testing.assert_close(alone[0], whole[seed], rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["refine", "fast", "quality", "ensemble", "posterior"])
def test_seeds_differ_through_the_noise_alone(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system, images = make().eval(), tensors(2)[0]
    c = condition_of(system, images)
    samples = system.sample(c, probability(c.direct), 2, 2, mode, NAMES)[-1]
    assert not torch.equal(samples[0], samples[1])
    monkeypatch.setattr(mask_diffusion, "case_noise", lambda names, seed, shape: torch.zeros(len(names), *shape))
    samples = system.sample(c, probability(c.direct), 2, 2, mode, NAMES)[-1]
    torch.testing.assert_close(samples[0], samples[1], rtol=0, atol=1e-6)


def test_a_warm_start_depends_on_the_direct_head() -> None:
    system, images = make().eval().requires_grad_(False), tensors(2)[0]
    c = condition_of(system, images)
    p = probability(c.direct)
    seen = [inputs_of(system, lambda q=q: system.sample(c, q, 1, 2, "refine", NAMES))[0][0] for q in (p, 1 - p)]
    noise = torch.stack([mask_diffusion.case_noise(NAMES, seed, (1, 64, 64)) for seed in range(2)])
    abar = system.alphas_cumprod[400]
    for xt, q in zip(seen, (p, 1 - p), strict=True):  # the same estimate for all seeds
        expected = abar.sqrt() * 0.5 * (2 * q - 1) + (1 - abar).sqrt() * noise
        torch.testing.assert_close(xt.view(2, 2, 1, 64, 64), expected)
    outputs = [system.sample(c, q, 1, 1, "refine", NAMES)[-1] for q in (p, 1 - p)]
    assert float((outputs[0] - outputs[1]).abs().max()) > 1e-4


def test_any_estimate_can_be_refined() -> None:
    system, images = make().eval(), tensors(2)[0]
    p = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    call = {"start": 600, "steps": 2, "seeds": 3, "case_ids": NAMES}
    seen = inputs_of(system, lambda: system.refine_from(images, p, **call))  # type: ignore[arg-type]
    assert [t.unique().tolist() for _, t in seen] == [[600], [300]]
    found = system.refine_from(images, p, **call)  # type: ignore[arg-type]
    assert found.shape == (3, 2, 1, 64, 64)
    # from the own direct head and the configured start it is the mode `refine`
    own = probability(condition_of(system, images).direct).detach()
    again = system.refine_from(images, own, start=400, steps=2, seeds=2, case_ids=NAMES).mean(dim=0)
    torch.testing.assert_close(again, predict(system, images, "refine", seeds=2))


def test_modes_make_the_calls_they_say() -> None:
    system, images = make().eval(), tensors(2)[0]
    grids = {
        mode: [int(t[0]) for _, t in inputs_of(system, lambda mode=mode: predict(system, images, mode, steps=3))]
        for mode in ("direct", "refine", "fast", "quality", "ensemble", "posterior")
    }
    warm = [400, 267, 133]
    assert grids == {
        "direct": [],
        "refine": warm,
        "fast": [999],
        "quality": [999, 666, 333],
        "ensemble": warm,
        "posterior": warm,
    }
    with pytest.raises(ValueError, match="best"):
        predict(system, images, "best")


@pytest.mark.parametrize(("weight", "same"), [(0.0, "direct"), (1.0, "refine"), (0.25, "")])
def test_the_ensemble_weighs_both_read_outs(weight: float, same: str) -> None:
    system, images = make(ensemble=weight).eval(), tensors(2)[0]
    refined, direct = predict(system, images, "refine", seeds=2), predict(system, images, "direct")
    found = predict(system, images, "ensemble", seeds=2)
    torch.testing.assert_close(found, weight * refined + (1 - weight) * direct)
    if same:
        torch.testing.assert_close(found, predict(system, images, same, seeds=2))


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 50])
def test_any_number_of_steps_is_finite_and_every_call_is_reported(steps: int) -> None:
    system, images = make().eval(), tensors(2, size=32)[0]
    found = system.predict(images, steps=steps, seeds=2, mode="quality", case_ids=NAMES)
    assert found.extras["calls"].shape == (2, steps, 1, 32, 32)
    assert torch.isfinite(found.probability).all()
    torch.testing.assert_close(found.extras["calls"][:, -1], found.probability)


def test_the_posterior_takes_both_read_outs_as_evidence() -> None:
    system, images = make().eval(), tensors(2)[0]
    refined = logits_of(predict(system, images, "refine"))
    expected = torch.sigmoid((condition_of(system, images).direct + refined) / 2.0)
    torch.testing.assert_close(predict(system, images, "posterior"), expected.detach())


# ---- twins without diffusion -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", ["zero", "cascade"])
def test_a_twin_holds_nothing_random_and_costs_the_same(twin: str) -> None:
    images, batch = tensors(2)[0], make_batch()
    system, other = make(), make(twin=twin)
    shapes = {name: p.shape for name, p in system.named_parameters()}
    assert shapes == {name: p.shape for name, p in other.named_parameters()}
    counts = []
    for one in (system, other):
        teacher = average_of(one)
        assert isinstance(teacher, CrossDiff)
        modules = {"student": one.denoiser, "teacher": teacher.denoiser, "E": one.encoder}
        counts.append(calls_of(modules, lambda one=one, t=teacher: one.losses(batch, 0.5, make_draws(), t)))
        one.eval()
        for mode in ("refine", "fast", "quality"):
            run = lambda one=one, mode=mode: predict(one, images, mode, steps=3, seeds=4)  # noqa: E731
            counts[-1].update({f"{mode}/{k}": v for k, v in calls_of({"denoiser": one.denoiser}, run).items()})
    assert counts[0] == counts[1]
    assert (counts[0]["student"], counts[0]["teacher"], counts[0]["refine/denoiser"]) == (2, 1, 3)
    assert torch.equal(predict(other, images, "refine", seeds=1), predict(other, images, "refine", seeds=4))
    names = [
        other.predict(images, steps=2, seeds=1, mode="refine", case_ids=n).probability for n in (NAMES, ["x", "y"])
    ]
    assert torch.equal(*names)


def heard(system: CrossDiff, images: Tensor, mode: str) -> tuple[list[Tensor], list[Tensor]]:
    """What the denoiser itself is given as x, and its step, in each of three calls."""
    xs: list[Tensor] = []
    ts: list[Tensor] = []

    def note(_: object, arguments: tuple[Tensor, Tensor]) -> None:
        xs.append(arguments[0])
        ts.append(arguments[1])

    handle = system.denoiser.register_forward_pre_hook(note)
    predict(system, images, mode, steps=3)
    handle.remove()
    return xs, ts


def test_the_twin_zero_hears_no_mask() -> None:
    xs, ts = heard(make(twin="zero").eval(), tensors(2)[0], "refine")
    assert [float(x.abs().max()) for x in xs] == [0.0] * 3
    assert [t.tolist() for t in ts] == [[999, 999]] * 3


def test_the_twin_cascade_hears_the_mask_so_far_without_noise() -> None:
    system, images = make(twin="cascade").eval(), tensors(2)[0]
    found = system.predict(images, steps=3, seeds=1, mode="refine", case_ids=NAMES)
    xs, ts = heard(system, images, "refine")
    calls = found.extras["calls"]
    for x, p in zip(xs, (found.extras["direct"], calls[:, 0], calls[:, 1]), strict=True):
        torch.testing.assert_close(x, 2 * p - 1)
    assert [t.tolist() for t in ts] == [[999, 999]] * 3
    assert not torch.equal(calls[:, 0], calls[:, 2])
    cold, _ = heard(system, images, "quality")
    assert float(cold[0].abs().max()) == 0.0
    assert float(cold[1].abs().max()) > 0.0


def test_diffusion_hears_unit_variance_and_the_step() -> None:
    system = make().eval()
    xs, ts = heard(system, tensors(2)[0], "quality")
    assert [t.tolist() for t in ts] == [[999, 999], [666, 666], [333, 333]]
    assert float(xs[0].std()) == pytest.approx(1.0, abs=0.03)
