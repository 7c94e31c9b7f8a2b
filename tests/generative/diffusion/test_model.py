"""The denoiser, its schedule and its loss against the formulas."""

import pytest
import torch
from diffusers.models import UNet2DModel

from generative.diffusion.model import (
    build_scheduler,
    build_unet,
    diffusion_loss,
    drop_labels,
    stratified_timesteps,
)
from pipelines.params.generator import DiffusionParams
from pipelines.runtime.errors import ParamsError

T = 1000
PARAMS = DiffusionParams(
    channels=[16, 32],
    layers=1,
    dropout=0.0,
    T=T,
    condition_dropout=0.15,
    total_steps=1,
    batch=4,
    lr=1e-3,
    ema_decay=0.9,
    checkpoint_every=1,
    seed=0,
)


@pytest.fixture(scope="module")
def unet() -> UNet2DModel:
    torch.manual_seed(0)
    return build_unet(PARAMS, latent_channels=4, latent_size=8, classes=3)


@pytest.mark.parametrize("steps", [50, 1000])
def test_alphas_fall_strictly_from_nearly_one_to_exactly_zero(steps: int) -> None:
    alphas = build_scheduler(steps).alphas_cumprod
    assert 0.9 < alphas[0] <= 1.0
    assert (alphas[1:] < alphas[:-1]).all()
    assert alphas[-1] == 0.0
    assert (alphas[:-1] > 0.0).all()


def test_schedule_is_the_rescaled_cosine() -> None:
    """Lin et al., algorithm 1, in double precision on the cosine schedule, against the library's float32."""
    t = torch.arange(T + 1, dtype=torch.float64) / T
    bar = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    betas = (1 - bar[1:] / bar[:-1]).clamp(max=0.999)
    a = torch.cumprod(1 - betas, 0).sqrt()
    a = (a - a[-1]) * a[0] / (a[0] - a[-1])
    torch.testing.assert_close(build_scheduler(T).alphas_cumprod.double(), a**2, rtol=1e-3, atol=1e-5)


def test_velocity_is_the_formula_and_gives_back_x0_from_exact_noise() -> None:
    scheduler = build_scheduler(T)
    generator = torch.Generator().manual_seed(0)
    x_0, n = torch.randn((7, 4, 8, 8), generator=generator), torch.randn((7, 4, 8, 8), generator=generator)
    t = torch.tensor([0, 1, 10, 250, 500, 998, 999])
    x_t, v = scheduler.add_noise(x_0, n, t), scheduler.get_velocity(x_0, n, t)
    a = scheduler.alphas_cumprod[t].sqrt().view(-1, 1, 1, 1)
    b = (1 - scheduler.alphas_cumprod[t]).sqrt().view(-1, 1, 1, 1)
    torch.testing.assert_close(x_t, a * x_0 + b * n)
    torch.testing.assert_close(v, a * n - b * x_0)
    assert (a * x_t - b * v - x_0).abs().max() < 1e-5
    assert torch.equal(x_t[-1], n[-1])  # zero terminal SNR: the last step is noise alone
    assert torch.equal(v[-1], -x_0[-1])


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_ddim_with_the_true_velocity_arrives_at_x0(steps: int) -> None:
    """A denoiser that knows x_0 must be led to it exactly from pure noise, in any number of steps."""
    scheduler = build_scheduler(T)
    x_0 = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(1))
    x = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(2))
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps[0] == T - 1  # sampling starts where the signal is zero
    for t in scheduler.timesteps:
        a, b = scheduler.alphas_cumprod[t].sqrt(), (1 - scheduler.alphas_cumprod[t]).sqrt()
        v = a * (x - a * x_0) / b - b * x_0
        x = scheduler.step(v, t, x).prev_sample
    assert (x - x_0).abs().max() < 1e-5


def test_untrained_network_predicts_zero_and_loses_the_variance_of_v(unet: UNet2DModel) -> None:
    generator = torch.Generator().manual_seed(0)
    x_0, n = torch.randn((64, 4, 8, 8), generator=generator), torch.randn((64, 4, 8, 8), generator=generator)
    t = stratified_timesteps(torch.rand(64, generator=generator), slice(0, 64), 64, T)
    loss = diffusion_loss(unet, build_scheduler(T), x_0, n, t, torch.zeros(64).long())
    assert loss.shape == (64,)
    assert 0.5 < loss.mean().item() < 2.0
    assert loss.mean().item() == pytest.approx(1.0, abs=0.05)


def test_denoiser_learns_latents_of_low_rank() -> None:
    """Four smooth latents, 60 steps: the loss falls far below its start, which a wrong sign or index would prevent."""
    torch.manual_seed(0)
    unet, scheduler = build_unet(PARAMS, latent_channels=4, latent_size=8, classes=2), build_scheduler(T)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn((4, 4, 1, 1), generator=generator).expand(4, 4, 8, 8)
    patterns = (patterns - patterns.mean()) / patterns.std()
    losses = []
    for _ in range(60):
        rows = torch.randint(0, 4, (16,), generator=generator)
        t = stratified_timesteps(torch.rand(16, generator=generator), slice(0, 16), 16, T)
        noise = torch.randn((16, 4, 8, 8), generator=generator)
        loss = diffusion_loss(unet, scheduler, patterns[rows], noise, t, rows % 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[:5]) / 5 > 0.8
    assert sum(losses[-10:]) / 10 < 0.7


def test_the_null_class_is_the_last_index_and_the_class_matters(unet: UNet2DModel) -> None:
    assert unet.config.num_class_embeds == 4
    torch.manual_seed(0)
    trained = build_unet(PARAMS, latent_channels=4, latent_size=8, classes=3)
    torch.nn.init.normal_(trained.conv_out.weight)
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([10])
    outputs = [trained(x, t, class_labels=torch.tensor([k])).sample for k in range(4)]
    assert all(not torch.allclose(outputs[0], other) for other in outputs[1:])
    with pytest.raises(IndexError):
        trained(x, t, class_labels=torch.tensor([4]))


@pytest.mark.parametrize("classes", [0, 1])
def test_fewer_than_two_classes_mean_no_condition(classes: int) -> None:
    assert build_unet(PARAMS, latent_channels=4, latent_size=8, classes=classes).config.num_class_embeds is None


def test_attention_stands_at_the_lowest_resolutions_only(unet: UNet2DModel) -> None:
    assert list(unet.config.down_block_types) == ["DownBlock2D", "AttnDownBlock2D"]
    deep = build_unet(PARAMS.model_copy(update={"channels": [16, 32, 32]}), latent_channels=4, latent_size=8, classes=2)
    assert list(deep.config.up_block_types) == ["AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]


def test_levels_that_do_not_divide_the_latent_are_named() -> None:
    with pytest.raises(ParamsError, match="latent of 9 x 9"):
        build_unet(PARAMS, latent_channels=4, latent_size=9, classes=2)


def test_timesteps_take_one_of_each_part_and_stay_in_range() -> None:
    u = torch.rand(8, generator=torch.Generator().manual_seed(0))
    t = stratified_timesteps(u, slice(0, 8), 8, T)
    assert (t // 125).tolist() == list(range(8))
    assert stratified_timesteps(torch.ones(8), slice(0, 8), 8, T).max() == T - 1
    halves = [stratified_timesteps(u[part], part, 8, T) for part in (slice(0, 4), slice(4, 8))]
    assert torch.equal(torch.cat(halves), t)  # two processes draw what one draws


def test_dropped_labels_become_the_null_class_in_the_given_share() -> None:
    labels = torch.zeros(10_000).long()
    uniform = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    dropped = drop_labels(labels, uniform, 3, 0.15)
    assert set(dropped.tolist()) == {0, 3}
    assert (dropped == 3).float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert torch.equal(drop_labels(labels, uniform, 3, 0.0), labels)
