"""The calls of a stub for a denoiser: which steps, from what, with whose noise; and the modes' read-outs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from segmentation.losses import probability
from segmentation.mask_diffusion import case_noise, linear_alphas_cumprod
from segmentation.sampling import joined, logits_of_samples, posterior, sample
from segmentation.starts import Starts
from tests.support.segmenter import make_config

ABAR = linear_alphas_cumprod(1000, 1e-4, 0.02)
NAMES = ["a", "b"]
P = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Sharpener:
    """Answers sigmoid(2 x) and remembers its calls."""

    def __init__(self) -> None:
        self.xs: list[Tensor] = []
        self.ts: list[Tensor] = []

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.xs.append(x)
        self.ts.append(t)
        return torch.sigmoid(2.0 * x)


def run(mode: str, twin: str = "none", *, seeds: int = 1, start: int | None = None) -> tuple[Sharpener, list[Tensor]]:
    denoise, d = Sharpener(), make_config().mask_diffusion
    starts = Starts(twin, d.input_scale, ABAR)  # type: ignore[arg-type]
    return denoise, sample(denoise, starts, P, d, mode, 3, seeds, NAMES, start)


@pytest.mark.parametrize(
    ("mode", "start", "grid"),
    [
        ("refine", None, [400, 267, 133]),
        ("refine", 600, [600, 400, 200]),
        ("ensemble", None, [400, 267, 133]),
        ("fast", 600, [999]),
        ("quality", 600, [999, 666, 333]),
    ],
)
def test_each_mode_walks_its_grid_from_an_estimate_or_from_noise(mode: str, start: int | None, grid: list[int]) -> None:
    denoise, calls = run(mode, seeds=2, start=start)
    assert [t.unique().tolist() for t in denoise.ts] == [[step] for step in grid]
    noise = torch.cat([case_noise(NAMES, seed, (1, 4, 4)) for seed in range(2)])
    abar = ABAR[grid[0]]
    warm = abar.sqrt() * 0.5 * (2.0 * P.repeat(2, 1, 1, 1) - 1.0) + (1.0 - abar).sqrt() * noise
    torch.testing.assert_close(denoise.xs[0], noise if mode in ("fast", "quality") else warm)
    assert len(calls) == len(grid)
    for x, call in zip(denoise.xs, calls, strict=True):
        assert torch.equal(call, torch.sigmoid(2.0 * x).view(2, 2, 1, 4, 4))


def test_seeds_are_one_batch_and_each_alone_gives_the_same() -> None:
    _, several = run("refine", seeds=3)
    _, one = run("refine", seeds=1)
    torch.testing.assert_close(several[-1][:1], one[-1])
    assert not torch.equal(several[-1][1], several[-1][2])


def test_the_cascade_is_given_its_last_mask_and_zero_never_any() -> None:
    denoise, calls = run("refine", "cascade")
    for x, p in zip(denoise.xs, (P, calls[0][0], calls[1][0]), strict=True):
        torch.testing.assert_close(x, 2.0 * p - 1.0)
    cold, calls = run("quality", "cascade")
    assert float(cold.xs[0].abs().max()) == 0.0
    torch.testing.assert_close(cold.xs[1], 2.0 * calls[0][0] - 1.0)
    silent, _ = run("refine", "zero")
    assert [float(x.abs().max()) for x in silent.xs] == [0.0] * 3


def test_read_outs_join_the_direct_head_where_the_mode_says() -> None:
    samples, direct = torch.stack([P, 1.0 - P]), torch.full_like(P, 1.5)
    for mode in ("refine", "fast", "quality"):
        assert joined(mode, samples, direct, 0.25) is samples
    torch.testing.assert_close(joined("ensemble", samples, direct, 0.25), 0.25 * samples + 0.75 * torch.sigmoid(direct))
    expected = torch.sigmoid((direct + torch.logit(samples)) / 2.0)
    torch.testing.assert_close(joined("posterior", samples, direct, 0.25), expected)


@pytest.mark.parametrize("classes", [1, 3])
def test_posterior_has_both_read_outs_as_its_ends(classes: int) -> None:
    random = torch.Generator().manual_seed(0)
    l_dir, l_gen = (torch.randn(2, classes, 4, 4, generator=random) for _ in range(2))
    torch.testing.assert_close(posterior(l_dir, l_gen, 1.0, 0.0), probability(l_dir))
    torch.testing.assert_close(posterior(l_dir, l_gen, 0.0, 1.0), probability(l_gen))
    p = probability(l_gen)
    torch.testing.assert_close(posterior(l_dir, logits_of_samples(p[None])[0], 0.0, 1.0), p)


def test_a_prior_counted_twice_is_taken_out_once() -> None:
    """A prior of 1/3 for the lesion, that both read-outs hold."""
    found = posterior(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), 1.0, 1.0, 1.0, 1 / 3)
    assert float(found) == pytest.approx(2 / 3)
