"""What a call starts from and hears, by hand, for diffusion and its twins; where training's timesteps lie."""

from __future__ import annotations

import pytest
import torch

from segmentation.mask_diffusion import linear_alphas_cumprod
from segmentation.starts import Starts, supervised_timesteps, unlabeled_timesteps
from tests.support.segmenter import make_draws

ABAR = linear_alphas_cumprod(1000, 1e-4, 0.02)
P = torch.tensor([0.0, 0.5, 0.9]).view(1, 1, 1, 3).repeat(2, 1, 1, 1)
EPS = torch.tensor([1.0, -2.0, 0.5]).view(1, 1, 1, 3).repeat(2, 1, 1, 1)
T = torch.tensor([400, 999])
COLD = torch.tensor([False, True])


def starts(twin: str) -> Starts:
    return Starts(twin, 0.5, ABAR)  # type: ignore[arg-type]


def test_diffusion_starts_from_a_noised_estimate_or_from_noise() -> None:
    xt = starts("none").start(P, EPS, T, COLD)
    expected = ABAR[400].sqrt() * 0.5 * torch.tensor([-1.0, 0.0, 0.8]) + (1 - ABAR[400]).sqrt() * EPS[0, 0, 0]
    torch.testing.assert_close(xt[0, 0, 0], expected)
    assert torch.equal(xt[1], EPS[1])
    warm = starts("none").start(P, EPS, T)  # even at T - 1 an estimate leaves a trace
    assert torch.equal(warm[0], xt[0])
    assert not torch.equal(warm[1], EPS[1])


def test_twins_start_from_the_estimate_itself_or_from_nothing() -> None:
    xt = starts("cascade").start(P, EPS, T, COLD)
    torch.testing.assert_close(xt[0, 0, 0], torch.tensor([-1.0, 0.0, 0.8]))
    assert float(xt[1].abs().max()) == 0.0
    torch.testing.assert_close(starts("cascade").start(P, EPS, T)[1], xt[0])
    for cold in (None, COLD):
        assert float(starts("zero").start(P, EPS, T, cold).abs().max()) == 0.0


def test_diffusion_hears_unit_variance_and_the_step_a_twin_neither() -> None:
    random = torch.Generator().manual_seed(0)
    eps, t = torch.randn(2, 1, 200, 200, generator=random), torch.tensor([50, 800])
    p = (torch.rand(2, 1, 200, 200, generator=random) > 0.5).float()
    diffusion = starts("none")
    x, heard = diffusion.heard(diffusion.start(p, eps, t), t)
    assert torch.equal(heard, t)
    assert x.std(dim=(1, 2, 3)).tolist() == pytest.approx([1.0, 1.0], abs=0.02)
    for twin in ("zero", "cascade"):
        x, heard = starts(twin).heard(P, t)
        assert x is P
        assert heard.tolist() == [999, 999]


def test_timesteps_lie_where_the_method_says() -> None:
    t, cold = supervised_timesteps(make_draws(20000), 1000)
    assert float(cold.float().mean()) == pytest.approx(0.25, abs=0.01)
    assert (t[cold] == 999).all()
    warm = t[~cold]
    assert (int(warm.min()), int(warm.max())) == (0, 998)
    assert float((warm <= 600).float().mean()) == pytest.approx(0.8, abs=0.01)
    assert float(warm[warm <= 600].float().mean()) == pytest.approx(300, abs=5)  # uniform on both sides
    assert float(warm[warm > 600].float().mean()) == pytest.approx(800, abs=7)
    t, cold = unlabeled_timesteps(make_draws(20000), 1000)
    assert float(cold.float().mean()) == pytest.approx(0.25, abs=0.01)
    assert (t[cold] == 999).all()
    shares = [float((t[~cold] == start).float().mean()) for start in (200, 400, 600)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.02)
    for T in (2, 4, 50):
        assert int(supervised_timesteps(make_draws(200), T)[0].max()) <= T - 1
        assert int(unlabeled_timesteps(make_draws(200), T)[0].max()) <= T - 1
