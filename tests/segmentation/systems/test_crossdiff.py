"""What crossdiff must not get wrong: no truth inside xt, a denoiser that is used, a cached condition, a real twin."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segmentation import mask_diffusion
from segmentation.losses import logits_of, probability
from segmentation.system import Batch
from segmentation.systems import crossdiff
from segmentation.systems.crossdiff import CrossDiff, posterior, supervised_timesteps, unlabeled_timesteps
from tests.support.segmenter import average_of, gradients, make_batch, make_draws, make_system, tensors

NAMES = ["a", "b"]


def make(**changes: Any) -> CrossDiff:
    system = make_system("crossdiff", **changes)
    assert isinstance(system, CrossDiff)
    return system


def predict(system: CrossDiff, images: Tensor, mode: str, steps: int = 2, seeds: int = 1) -> Tensor:
    return system.predict(images, steps=steps, seeds=seeds, mode=mode, case_ids=NAMES).probability


def inputs_of(system: CrossDiff, run: Any) -> list[tuple[Tensor, Tensor]]:
    """(xt, t) of every denoiser call while `run()` runs, before scaling."""
    seen = []
    original = system.denoise

    def spy(xt: Tensor, t: Tensor, *more: Any) -> list[Tensor]:
        seen.append((xt.detach().clone(), t.clone()))
        return original(xt, t, *more)

    system.denoise = spy  # type: ignore[method-assign]
    try:
        run()
    finally:
        del system.denoise
    return seen


def calls_of(modules: dict[str, nn.Module], run: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    handles = [
        module.register_forward_hook(lambda *_, name=name: counts.update([name])) for name, module in modules.items()
    ]
    run()
    for handle in handles:
        handle.remove()
    return counts


def test_no_mask_enters_xt_from_noise_or_by_recycling() -> None:
    images, masks = tensors(2)
    system = make(estimate="self")
    seen = [
        inputs_of(system, lambda y=y: system.losses(Batch(images, y), 0.5, make_draws(), None))
        for y in (masks, 1 - masks)
    ]
    for (one, t), (two, _) in zip(*seen, strict=True):
        assert torch.equal(one, two)
        assert t.shape == (2,)
    assert seen[0][0][1].tolist() == [999, 999]


def test_truth_is_a_control_that_leaks() -> None:
    images, masks = tensors(2)
    system = make(estimate="truth")
    seen = [
        inputs_of(system, lambda y=y: system.losses(Batch(images, y), 0.5, make_draws(), None))
        for y in (masks, 1 - masks)
    ]
    assert torch.equal(seen[0][0][0], seen[1][0][0])
    assert not torch.equal(seen[0][1][0], seen[1][1][0])


def test_the_student_never_starts_from_its_target(monkeypatch: pytest.MonkeyPatch) -> None:
    system = make()
    seen = []
    for value in (0.05, 0.95):
        monkeypatch.setattr(
            CrossDiff, "pseudo_label", lambda self, images, u, draws, v=value: torch.full_like(images, v)
        )
        seen.append(inputs_of(system, lambda: system.losses(make_batch(), 0.5, make_draws(), average_of(system))))
    assert len(seen[0]) == 3
    for (one, _), (two, _) in zip(*seen, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("kept", [0, 1])
def test_both_calls_teach_the_encoder_and_the_estimate_passes_no_gradient(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Tensor] = []

    def one_call_alone(decoders: list[Tensor], y: Tensor) -> Tensor:
        calls.append(decoders[0])
        return decoders[0].mean() * float(len(calls) - 1 == kept)

    monkeypatch.setattr(crossdiff, "_mean_loss", one_call_alone)
    monkeypatch.setattr(crossdiff, "bce_dice", lambda logits, y: 0.0 * logits.sum())
    system = make(estimate="self")
    system.losses(make_batch(unlabeled=0), 0.5, make_draws(), None)["total"].backward()
    stem = next(name for name in gradients(system) if name.endswith("conv_stem.weight"))
    assert float(gradients(system)[stem].abs().max()) > 0
    # the first call's own path: with only the second taught, nothing reaches the first call's output
    system.zero_grad()
    calls.clear()
    monkeypatch.setattr(crossdiff, "_mean_loss", lambda decoders, y: calls.append(decoders[0]) or decoders[0].mean())
    system.losses(make_batch(unlabeled=0), 0.5, make_draws(), None)
    assert torch.autograd.grad(calls[1].mean(), calls[0], allow_unused=True) == (None,)


def test_zero_confidence_teaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CrossDiff, "pseudo_label", lambda self, images, u, draws: torch.full_like(images, 0.5))
    system = make()
    images = make_batch().unlabeled
    assert images is not None
    unlabeled, logs = system._unlabeled(images, 0.9, make_draws(), system)
    unlabeled.backward()
    assert float(unlabeled.detach()) == 0.0
    assert float(logs["keep_foreground"]) == float(logs["keep_background"]) == 0.0
    assert all(float(g.abs().max()) == 0.0 for g in gradients(system).values())


def test_rectification_starts_when_the_denoiser_has_learned() -> None:
    system, images = average_of(make()), tensors(2)[0]
    assert isinstance(system, CrossDiff)
    direct = probability(system.condition(images).direct)
    assert torch.equal(system.pseudo_label(images, 0.05, make_draws()), direct)
    seen = inputs_of(system, lambda: system.pseudo_label(images, 0.5, make_draws()))
    assert [t.tolist() for _, t in seen] == [[400, 400]]
    plain = average_of(make(rectify=False))
    assert isinstance(plain, CrossDiff)
    assert torch.equal(plain.pseudo_label(images, 0.5, make_draws()), probability(plain.condition(images).direct))


def test_auxiliary_decoders_belong_to_training() -> None:
    system, images = make(), tensors(2)[0]
    decoders = {str(i): decoder for i, decoder in enumerate(system.denoiser.auxiliary)}
    system.eval()
    before = predict(system, images, "refine")
    assert not calls_of(decoders, lambda: predict(system, images, "refine"))
    with torch.no_grad():
        for parameter in system.denoiser.auxiliary.parameters():
            parameter.add_(1.0)
    assert torch.equal(predict(system, images, "refine"), before)
    system.train()
    counts = calls_of(decoders, lambda: system.losses(make_batch(), 0.5, make_draws(), average_of(system)))
    assert counts == {"0": 3, "1": 3, "2": 3}


def test_the_condition_is_computed_once_and_seeds_run_as_one_batch() -> None:
    system, images = make().eval(), tensors(2)[0]
    parts = {"E": system.encoder, "Gd": system.guidance, "direct": system.direct, "denoiser": system.denoiser}
    counts = calls_of(parts, lambda: predict(system, images, "refine", steps=3, seeds=4))
    assert counts == {"E": 1, "Gd": 1, "direct": 1, "denoiser": 3}
    c = system.condition(images)
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
    c = system.condition(images)
    samples = system.sample(c, probability(c.direct), 2, 2, mode, NAMES)[-1]
    assert not torch.equal(samples[0], samples[1])
    monkeypatch.setattr(mask_diffusion, "case_noise", lambda names, seed, shape: torch.zeros(len(names), *shape))
    samples = system.sample(c, probability(c.direct), 2, 2, mode, NAMES)[-1]
    torch.testing.assert_close(samples[0], samples[1], rtol=0, atol=1e-6)


def test_twin_and_direct_hold_nothing_random_and_the_twin_calls_once() -> None:
    images = tensors(2)[0]
    twin, system = make(twin=True).eval(), make().eval()
    assert torch.equal(predict(twin, images, "refine"), predict(twin, images, "quality", steps=5, seeds=3))
    assert torch.equal(predict(system, images, "direct"), predict(system, images, "direct", steps=5, seeds=3))
    counts = calls_of({"denoiser": twin.denoiser}, lambda: predict(twin, images, "refine", steps=3, seeds=4))
    assert counts == {"denoiser": 1}
    shapes = {name: p.shape for name, p in system.named_parameters()}
    assert shapes == {name: p.shape for name, p in twin.named_parameters()}
    batch = make_batch()
    counts = calls_of({"d": twin.denoiser}, lambda: twin.losses(batch, 0.5, make_draws(), average_of(make(twin=True))))
    other = calls_of({"d": system.denoiser}, lambda: system.losses(batch, 0.5, make_draws(), average_of(make())))
    assert counts == other == {"d": 3}


def test_modes_make_the_calls_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_warm_start_depends_on_the_direct_head() -> None:
    system, images = make().eval().requires_grad_(False), tensors(2)[0]
    c = system.condition(images)
    p = probability(c.direct)
    seen = [inputs_of(system, lambda q=q: system.sample(c, q, 1, 2, "refine", NAMES))[0][0] for q in (p, 1 - p)]
    signal = seen[0].view(2, 2, 1, 64, 64)
    noise = torch.stack([mask_diffusion.case_noise(NAMES, seed, (1, 64, 64)) for seed in range(2)])
    warm = signal - (1 - system.alphas_cumprod[400]).sqrt() * noise
    torch.testing.assert_close(warm[0], warm[1], rtol=0, atol=1e-5)
    assert not torch.equal(seen[0], seen[1])
    outputs = [system.sample(c, q, 1, 1, "refine", NAMES)[-1] for q in (p, 1 - p)]
    assert float((outputs[0] - outputs[1]).abs().max()) > 1e-4


@pytest.mark.parametrize("t", [999, 400, 0])
def test_the_image_is_heard_at_every_step(t: int) -> None:
    system, images = make().eval(), tensors(2)[0]
    xt, steps = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([t, t])
    with torch.no_grad():
        maps = system.condition(images).maps
        found = system.denoise(xt, steps, maps, None)[0]
        swapped = system.denoise(xt, steps, system.condition(1 - images).maps, None)[0]
        silenced = system.denoise(xt, steps, [torch.zeros_like(c) for c in maps], None)[0]
    for other in (swapped, silenced):
        assert float((found - other).norm() / found.norm()) > 1e-3


@pytest.mark.parametrize("switch", [{"global_context": False}, {"multi_scale": False}, {"aux_decoders": 1}])
def test_switches_remove_what_they_name(switch: dict[str, Any]) -> None:
    full, less = make(), make(**switch)
    assert len(less.state_dict()) < len(full.state_dict())
    shared = {name: value for name, value in full.state_dict().items() if name in less.state_dict()}
    less.load_state_dict(shared)
    batch = make_batch(unlabeled=0)
    one, two = (float(s.losses(batch, 0.5, make_draws(), None)["total"].detach()) for s in (full, less))
    assert abs(one - two) / abs(one) > 1e-4


def test_without_auxiliary_decoders_it_still_learns() -> None:
    system = make(aux_decoders=0)
    losses = system.losses(make_batch(), 0.5, make_draws(), average_of(system))
    assert float(losses["unlabeled_cross"]) == 0.0
    assert torch.isfinite(losses["total"])


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_any_number_of_steps_is_finite_and_every_call_is_reported(steps: int) -> None:
    system, images = make().eval(), tensors(2)[0]
    found = system.predict(images, steps=steps, seeds=2, mode="quality", case_ids=NAMES)
    assert found.extras["calls"].shape == (2, steps, 1, 64, 64)
    assert torch.isfinite(found.probability).all()
    torch.testing.assert_close(found.extras["calls"][:, -1], found.probability)


def test_posterior_has_both_read_outs_as_its_ends() -> None:
    l_dir, l_gen = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(posterior(l_dir, l_gen, 1.0, 0.0), probability(l_dir))
    torch.testing.assert_close(posterior(l_dir, l_gen, 0.0, 1.0), probability(l_gen))
    # a prior of 1/3 for the lesion, counted twice by two posteriors, is taken out once
    found = posterior(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), 1.0, 1.0, 1.0, 1 / 3)
    assert float(found) == pytest.approx(2 / 3)
    torch.testing.assert_close(probability(logits_of(torch.tensor([[[[0.25]]]]))), torch.tensor([[[[0.25]]]]))


def test_timesteps_lie_where_the_method_says() -> None:
    t = supervised_timesteps(make_draws(5000), 1000)
    assert int(t.min()) >= 0
    assert int(t.max()) <= 998
    assert float((t <= 600).float().mean()) == pytest.approx(0.8, abs=0.02)
    t, cold = unlabeled_timesteps(make_draws(5000), 1000)
    assert set(t.tolist()) == {200, 400, 600, 999}
    assert float(cold.float().mean()) == pytest.approx(0.25, abs=0.02)
    assert (t[cold] == 999).all()
    assert int(supervised_timesteps(make_draws(50), 4).max()) <= 3
