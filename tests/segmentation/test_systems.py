"""The contract that every system keeps, for unet, crossdiff and crossdiff's twins without diffusion."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.runtime.errors import ArtifactError
from segmentation.inference import predict_any_size
from segmentation.losses import hard_dice
from segmentation.semi.methods import METHODS
from segmentation.system import (
    SYSTEMS,
    Prediction,
    System,
    as_module,
    averaged,
    draws_for,
    load_system,
    save_system,
)
from tests.support.segmenter import (
    average_of,
    gradients,
    make_batch,
    make_draws,
    make_system,
    tensors,
)

VARIANTS: dict[str, dict[str, Any]] = {
    "unet": {"system": "unet"},
    "crossdiff": {"system": "crossdiff"},
    "zero": {"system": "crossdiff", "twin": "zero"},
    "cascade": {"system": "crossdiff", "twin": "cascade"},
}
every = pytest.mark.parametrize("variant", list(VARIANTS))


def predict(system: System, images: torch.Tensor, mode: str = "refine", seeds: int = 2, first: int = 0) -> Prediction:
    names = [f"case-{first + i}" for i in range(len(images))]
    return system.predict(images, steps=2, seeds=seeds, mode=mode, case_ids=names)


@every
def test_gradients_reach_every_parameter(variant: str) -> None:
    system = make_system(**VARIANTS[variant])
    losses = system.losses(make_batch(), 0.5, make_draws(), average_of(system))
    losses["total"].backward()
    silent = {name for name, gradient in gradients(system).items() if not gradient.abs().max() > 0}
    # this twin hears no mask: the kernel that would read it sees zeros
    assert silent == ({"denoiser.stem.1.weight"} if variant == "zero" else set())


@pytest.mark.parametrize("system", ["unet", "crossdiff"])
@pytest.mark.parametrize("teach", [name for name in METHODS if name != "mean_teacher"])
def test_every_method_teaches_every_system(system: str, teach: str) -> None:
    """On unlabeled images alone: all of the encoder, the decoder and the direct head learn from them."""
    built = make_system(system, teach=teach, kappa_foreground=0.5, kappa_background=0.5)
    teacher = average_of(built)
    built.losses(make_batch(), 1.0, make_draws(), teacher)["total"].backward()
    both = gradients(built)
    alone = make_system(system, teach=teach, kappa_foreground=0.5, kappa_background=0.5)
    alone.losses(make_batch(weight=0.0), 1.0, make_draws(), teacher)["total"].backward()
    same = {name for name, gradient in gradients(alone).items() if torch.equal(gradient, both[name])}
    assert {name for name, gradient in both.items() if not gradient.abs().max() > 0} == set()
    assert not {name for name in same if name.startswith(("encoder.", "direct."))}


@every
def test_losses_are_a_function_of_batch_u_and_draws(variant: str) -> None:
    system = make_system(**VARIANTS[variant], norm="frozen_bn")
    teacher = average_of(system)
    one, two = (system.losses(make_batch(), 0.5, make_draws(), teacher) for _ in range(2))
    assert {name: float(value.detach()) for name, value in one.items()} == {
        name: float(value.detach()) for name, value in two.items()
    }
    other = system.losses(make_batch(), 0.5, make_draws(step=1), teacher)
    assert (float(other["total"].detach()) != float(one["total"].detach())) == (variant != "unet")
    assert all(value.ndim == 0 and torch.isfinite(value) for value in one.values())


@every
@pytest.mark.parametrize("norm", ["frozen_bn", "gn"])
def test_weight_zero_learns_what_supervised_learns(variant: str, norm: str) -> None:
    """The arm `control`: the same losses and gradients of labeled images. Its decoder's running statistics alone have
    seen the unlabeled images, so that its teacher and its predictions are not those of `supervised`.
    """
    found, statistics = [], []
    for batch in (make_batch(unlabeled=0), make_batch(weight=0.0)):
        system = make_system(**VARIANTS[variant], norm=norm)
        losses = system.losses(batch, 0.9, make_draws(), average_of(system))
        losses["total"].backward()
        found.append(gradients(system) | {"total": losses["total"].detach(), "supervised": losses["supervised"]})
        statistics.append({n: v.clone() for n, v in as_module(system).named_buffers() if "running" in n})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, msg=name)
    moved = {name for name, value in statistics[0].items() if not torch.equal(value, statistics[1][name])}
    assert moved == {name for name in statistics[0] if name.startswith("direct.decoder.")}
    assert moved


@every
def test_the_teacher_is_left_alone(variant: str) -> None:
    system = make_system(**VARIANTS[variant], norm="bn")
    teacher = average_of(system)
    before = {name: value.clone() for name, value in as_module(teacher).state_dict().items()}
    system.losses(make_batch(), 0.5, make_draws(), teacher)["total"].backward()
    assert all(parameter.grad is None for parameter in as_module(teacher).parameters())
    assert all(torch.equal(before[name], value) for name, value in as_module(teacher).state_dict().items())
    assert not any(module.training for module in as_module(teacher).modules())


@every
def test_synthetic_rows_move_no_running_statistic(variant: str) -> None:
    after = []
    for synthetic in (True, False):
        system = make_system(**VARIANTS[variant], norm="bn")
        labeled = make_batch(unlabeled=0)
        system.losses(labeled, 0.0, make_draws(), None)
        alone = _statistics(system)
        system = make_system(**VARIANTS[variant], norm="bn")
        batch = make_batch(synthetic=torch.full((2,), synthetic))
        system.losses(batch, 0.0, make_draws(), average_of(system))
        after.append(torch.equal(alone, _statistics(system)))
    assert after == [True, False]


def _statistics(system: System) -> torch.Tensor:
    buffers = as_module(system).named_buffers()
    return torch.cat([value.flatten() for name, value in buffers if "running_mean" in name])


@every
def test_prediction_is_pure_and_independent_of_the_batch(variant: str) -> None:
    system = make_system(**VARIANTS[variant])
    module = as_module(system).eval()
    images, _ = tensors(3)
    names = {name for name, _ in module.named_modules()}
    whole = predict(system, images)
    assert torch.equal(whole.probability, predict(system, images).probability)
    assert {name for name, _ in module.named_modules()} == names
    assert not whole.probability.requires_grad
    assert whole.uncertainty.shape == (3, 1, 64, 64)
    for value in (whole.probability, whole.uncertainty, whole.extras["direct"]):
        assert 0.0 <= float(value.min()) <= float(value.max()) <= 1.0
    parts = [predict(system, images[:2]), predict(system, images[2:], first=2)]
    torch.testing.assert_close(torch.cat([p.probability for p in parts]), whole.probability, rtol=0, atol=1e-4)


@every
@pytest.mark.parametrize("size", [(96, 64), (50, 83), (33, 20)])
def test_any_size_comes_back_at_its_size(variant: str, size: tuple[int, int]) -> None:
    system = make_system(**VARIANTS[variant])
    as_module(system).eval()
    images = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    found = predict_any_size(system, images, steps=2, seeds=1, mode="refine", case_ids=["a"])
    assert found.probability.shape == (1, 1, *size)
    assert found.uncertainty.shape == (1, 1, *size)
    assert found.extras["direct"].shape == (1, 1, *size)
    assert torch.isfinite(found.probability).all()


@every
@pytest.mark.parametrize("classes", [1, 3])
def test_classes(variant: str, classes: int) -> None:
    system = make_system(**VARIANTS[variant], classes=classes)
    losses = system.losses(make_batch(classes=classes), 0.5, make_draws(), average_of(system))
    assert torch.isfinite(losses["total"])
    as_module(system).eval()
    p = predict(system, tensors(2)[0]).probability
    assert p.shape == (2, classes, 64, 64)
    if classes > 1:
        torch.testing.assert_close(p.sum(dim=1), torch.ones(2, 64, 64))


@every
def test_a_saved_system_is_the_same_system(variant: str, tmp_path: Path) -> None:
    system = make_system(**VARIANTS[variant], norm="bn")
    as_module(system).eval()
    save_system(system, tmp_path)
    images, _ = tensors(2)
    loaded = load_system(tmp_path)
    assert loaded.config == system.config
    assert torch.equal(predict(loaded, images).probability, predict(system, images).probability)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"width": 0.25', '"width": 0.5'))
    with pytest.raises(ArtifactError, match=r"at width 0\.5"):
        load_system(tmp_path)
    (tmp_path / "config.json").write_text(config.replace('"width": 0.25', '"width": "wide"'))
    with pytest.raises(ArtifactError, match="width"):
        load_system(tmp_path)


@pytest.mark.slow
@every
def test_overfits_four_images(variant: str) -> None:
    system = make_system(**VARIANTS[variant], perturbed=False)
    module = as_module(system)
    images, masks = tensors(4)
    optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
    for step in range(120):
        optimizer.zero_grad()
        batch = make_batch(4, 0)
        system.losses(batch, step / 120, make_draws(4, step), None)["total"].backward()
        optimizer.step()
    module.eval()
    assert float(hard_dice(predict(system, images, "refine").probability, masks)) > 0.95


def test_draws_for_another_count_keep_the_rank() -> None:
    half = draws_for(make_draws(8, rows=slice(4, 8)), 3)
    assert (half.total, half.rows) == (6, slice(3, 6))
    assert torch.equal(half.normal("s", 2), draws_for(make_draws(8), 6).normal("s", 2)[3:])


def test_uncertainty_splits_into_what_samples_agree_on() -> None:
    samples = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1)
    found = averaged(samples, {})
    assert float(found.probability) == 0.5
    assert float(found.uncertainty) == float(found.extras["epistemic"]) == 1.0
    agreed = averaged(torch.full((2, 1, 1, 1, 1), 0.5), {})
    assert float(agreed.uncertainty) == 1.0
    assert float(agreed.extras["epistemic"]) == 0.0


def test_importing_is_inert() -> None:
    modules = ", ".join([*SYSTEMS.values(), "segmentation.train", "segmentation.inference"])
    code = (
        "import socket, torch\n"
        "def refuse(*_): raise RuntimeError('a socket was opened')\n"
        "socket.socket.connect = socket.socket.bind = refuse\n"
        f"import {modules}\n"
        "assert not torch.cuda.is_initialized()\n"
        "assert torch.is_grad_enabled()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
