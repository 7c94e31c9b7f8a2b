"""The autoencoder's parts against hand-computed values."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models import AutoencoderKL

from generative.autoencoder.model import (
    autoencoder_losses,
    build_autoencoder,
    check_scaled,
    kl_per_image,
    latent_statistics,
    load_autoencoder,
    perceptual_distance,
    posterior_moments,
    reconstruct,
    scaling_of,
    to_gray,
    to_input,
)
from pipelines.params.generator import AutoencoderParams
from pipelines.runtime.errors import ArtifactError, NumericsError, ParamsError

PARAMS = AutoencoderParams(
    channels=[8, 16, 16],
    latent_channels=4,
    layers=1,
    kl_weight=1e-6,
    perceptual_weight=0.0,
    total_steps=1,
    batch=2,
    lr=1e-3,
    ema_decay=0.9,
    checkpoint_every=1,
    seed=0,
)


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return build_autoencoder(PARAMS, 32).eval()


def test_latent_is_a_quarter_of_the_image_and_scaling_is_left_to_the_measured_values(vae: AutoencoderKL) -> None:
    x = torch.zeros(2, 1, 32, 32)
    z = vae.encode(x).latent_dist.mean
    assert z.shape == (2, 4, 8, 8)
    assert vae.decode(z).sample.shape == x.shape
    assert vae.config.scaling_factor == 1.0


def test_posteriors_start_narrow_and_can_learn_to_widen() -> None:
    fresh = build_autoencoder(PARAMS, 32)
    posterior = fresh.encode(torch.randn(2, 1, 32, 32)).latent_dist
    assert torch.equal(posterior.logvar, torch.full((2, 4, 8, 8), -6.0))
    assert posterior.mean.std() > 0.05
    posterior.logvar.sum().backward()
    assert fresh.quant_conv.weight.grad[4:].abs().sum() > 0


def test_without_attention_any_size_that_the_factor_divides_works(vae: AutoencoderKL) -> None:
    assert vae.encode(torch.zeros(1, 1, 48, 64)).latent_dist.mean.shape == (1, 4, 12, 16)


def test_a_size_that_the_factor_does_not_divide_is_named() -> None:
    with pytest.raises(ParamsError, match=r"divide the image by 4, found prepare.size 34"):
        build_autoencoder(PARAMS, 34)


def test_every_gray_level_survives_the_way_to_the_network_and_back() -> None:
    gray = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    x = to_input(gray)
    assert x.shape == (1, 1, 16, 16)
    assert (float(x.min()), float(x.max())) == (-1.0, 1.0)
    assert np.array_equal(to_gray(x), gray)
    assert to_gray(torch.tensor([[[[-3.0, 3.0]]]])).tolist() == [[[0, 255]]]


def test_kl_is_the_published_formula_summed_over_the_latent() -> None:
    mean = torch.tensor([[[[0.0, 2.0]]], [[[0.0, 0.0]]]])
    logvar = torch.tensor([[[[0.0, math.log(0.25)]]], [[[0.0, 0.0]]]])
    by_hand = 0.5 * (4.0 + 0.25 - 1.0 - math.log(0.25))
    assert kl_per_image(mean, logvar).tolist() == pytest.approx([by_hand, 0.0])


class _Fixed:
    """An autoencoder whose posterior and decoder are known: mean 1, logvar 0, decoder z -> z."""

    def encode(self, x: torch.Tensor) -> Any:
        mean, logvar = torch.ones_like(x), torch.zeros_like(x)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, logvar=logvar, std=logvar.exp()))

    def decode(self, z: torch.Tensor) -> Any:
        return SimpleNamespace(sample=z)


def test_loss_terms_by_hand() -> None:
    x, noise = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 0.5)
    losses = autoencoder_losses(_Fixed(), x, noise, kl_weight=0.1, perceptual_weight=0.0, features=None)
    # |0 - (1 + 0.5)| = 1.5; KL = 0.5 * 1 per element, 4 elements: 2 nats per image
    assert losses["l1"].item() == pytest.approx(1.5)
    assert losses["kl_element"].item() == pytest.approx(0.5)
    assert losses["total"].item() == pytest.approx(1.5 + 0.1 * 2.0)


def test_perceptual_term_is_added_and_needs_features() -> None:
    x, noise = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    losses = autoencoder_losses(
        _Fixed(),
        x,
        noise,
        kl_weight=0.0,
        perceptual_weight=0.5,
        features=lambda image: [image.repeat(1, 2, 1, 1) - 0.6],
    )
    # features of 0 and 1 in [-1, 1] are (-.1, -.1) and (.4, .4): opposite unit vectors, squared distance 4
    assert losses["perceptual"].item() == pytest.approx(4.0, abs=1e-5)
    assert losses["total"].item() == pytest.approx(1.0 + 0.5 * 4.0, abs=1e-5)
    with pytest.raises(ValueError, match="features"):
        autoencoder_losses(_Fixed(), x, noise, kl_weight=0.0, perceptual_weight=0.5, features=None)


def test_perceptual_distance_sends_gradients_to_the_reconstruction_alone() -> None:
    x = torch.rand(1, 1, 4, 4, requires_grad=True)
    x_hat = torch.rand(1, 1, 4, 4, requires_grad=True)
    perceptual_distance(lambda image: [torch.cat([image, 1 - image], 1)], x, x_hat).backward()
    assert x.grad is None
    assert x_hat.grad is not None
    assert perceptual_distance(lambda image: [image], x, x).item() == 0.0


def test_latent_statistics_equal_those_of_many_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn((50, 2, 4, 4), generator=generator) * torch.tensor([1.0, 3.0]).view(1, 2, 1, 1) + 5.0
    std = torch.rand((50, 2, 4, 4), generator=generator)
    m, s = latent_statistics(mean, std)
    draws = mean + std * torch.randn((200, *mean.shape), generator=generator)
    assert m == pytest.approx(draws.mean(dim=(0, 1, 3, 4)).tolist(), rel=2e-3)
    assert s == pytest.approx(draws.transpose(0, 2).flatten(1).std(dim=1).tolist(), rel=1e-2)


def test_constant_or_infinite_latents_are_refused() -> None:
    with pytest.raises(NumericsError, match="positive deviation"):
        latent_statistics(torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2))
    with pytest.raises(NumericsError, match="finite"):
        latent_statistics(torch.full((3, 1, 2, 2), math.inf), torch.ones(3, 1, 2, 2))


@pytest.mark.parametrize(("deviations", "good"), [([0.8, 1.25], True), ([1.0, 0.79], False), ([1.26], False)])
def test_scaled_deviation_gate(deviations: list[float], good: bool) -> None:
    if good:
        check_scaled(deviations)
    else:
        with pytest.raises(NumericsError, match=r"between 0.8 and 1.25"):
            check_scaled(deviations)


def test_moments_do_not_depend_on_the_batch_and_mirroring_mirrors_the_image(vae: AutoencoderKL) -> None:
    gray = np.random.default_rng(0).integers(0, 256, (5, 32, 32)).astype(np.uint8)
    mean, std = posterior_moments(vae, gray, batch=2)
    whole, _ = posterior_moments(vae, gray, batch=5)
    assert mean.shape == std.shape == (5, 4, 8, 8)
    torch.testing.assert_close(mean, whole, rtol=1e-4, atol=1e-5)
    mirrored, _ = posterior_moments(vae, gray, batch=5, flip=True)
    expected, _ = posterior_moments(vae, gray[:, :, ::-1], batch=5)
    torch.testing.assert_close(mirrored, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(
        mirrored, whole.flip(-1), atol=1e-3
    )  # why mirrored images are encoded, not latents flipped
    assert reconstruct(vae, gray, batch=2).shape == gray.shape


def test_measured_scaling_travels_with_the_weights(vae: AutoencoderKL, tmp_path: Path) -> None:
    vae.register_to_config(latents_mean=None, latents_std=None)
    with pytest.raises(ArtifactError, match="latents_mean"):
        scaling_of(vae)
    vae.save_pretrained(tmp_path / "unmeasured")
    with pytest.raises(ArtifactError, match="latents_mean"):
        load_autoencoder(tmp_path / "unmeasured")
    measured, deviations = [0.25, -1.5, 3.0, 0.125], [1.5, 0.75, 2.0, 0.5]
    vae.register_to_config(latents_mean=measured, latents_std=deviations)
    vae.save_pretrained(tmp_path / "measured")
    loaded = load_autoencoder(tmp_path / "measured")
    mean, std = scaling_of(loaded)
    assert mean.flatten().tolist() == measured
    assert std.flatten().tolist() == deviations
    for name, tensor in vae.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_saving_a_loaded_autoencoder_again_gives_the_same_bytes(vae: AutoencoderKL, tmp_path: Path) -> None:
    vae.register_to_config(latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    vae.save_pretrained(tmp_path / "first")
    load_autoencoder(tmp_path / "first").save_pretrained(tmp_path / "second")
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
        assert str(tmp_path).encode() not in (tmp_path / "second" / name).read_bytes()
