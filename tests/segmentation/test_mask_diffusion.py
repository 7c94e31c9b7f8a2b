"""The schedule by its analytic values, the sampler by an oracle."""

import pytest
import torch

from segmentation.mask_diffusion import (
    case_noise,
    ddim,
    ddim_step,
    linear_alphas_cumprod,
    q_sample,
    timesteps_from,
    unit_variance,
)

T = 1000
ABAR = linear_alphas_cumprod(T, 1e-4, 0.02)


def test_schedule_has_the_published_values() -> None:
    found = [round(float(ABAR[t]), 6) for t in (999, 799, 599, 400, 200)]
    assert found == pytest.approx([4.0e-5, 1.5e-3, 2.6e-2, 0.19, 0.66], rel=0.05)


@pytest.mark.parametrize("t", [0, 500, 999])
def test_forward_moments_and_unit_input_variance(t: int) -> None:
    b, count = 0.5, 200_000
    x0 = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0).view(1, 1, 1, count)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([t])
    xt = q_sample(x0, eps, steps, ABAR, b)
    abar = float(ABAR[t])
    assert float(xt[x0 > 0].mean()) == pytest.approx(abar**0.5 * b, abs=0.01)
    assert float(xt[x0 > 0].var()) == pytest.approx(1 - abar, rel=0.02)
    assert float(unit_variance(xt, steps, ABAR, b).var()) == pytest.approx(1.0, rel=0.02)


def test_grids_trail_from_the_start_and_never_reach_zero() -> None:
    assert timesteps_from(999, 5) == [999, 799, 599, 400, 200]
    assert timesteps_from(400, 3) == [400, 267, 133]
    assert timesteps_from(999, 1) == [999]


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 50])
@pytest.mark.parametrize("start", [T - 1, 400])
def test_an_oracle_is_returned_from_any_start(steps: int, start: int) -> None:
    y = (torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    xt = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    calls = ddim(lambda x, t: y, xt, timesteps_from(start, steps), ABAR, 0.5)
    assert len(calls) == steps
    assert torch.equal(calls[-1], y)


def test_ddim_with_the_true_mask_stays_on_its_own_noise() -> None:
    x0 = torch.tensor([[[[1.0, -1.0]]]])
    eps = torch.tensor([[[[0.3, -1.2]]]])
    t, s = torch.tensor([600]), torch.tensor([200])
    moved = ddim_step(q_sample(x0, eps, t, ABAR, 0.5), x0, t, s, ABAR, 0.5)
    torch.testing.assert_close(moved, q_sample(x0, eps, s, ABAR, 0.5), rtol=1e-4, atol=1e-5)


def test_noise_hangs_on_case_and_seed_alone() -> None:
    both = case_noise(["a", "b"], 0, (1, 4, 4))
    assert torch.equal(case_noise(["b"], 0, (1, 4, 4))[0], both[1])
    assert not torch.equal(case_noise(["a"], 1, (1, 4, 4))[0], both[0])
    # golden: a change of the hash would change every stored prediction
    assert float(case_noise(["case-1"], 0, (4,)).sum()) == pytest.approx(1.4897960, abs=1e-5)
