"""Feature perturbations: what they remove, how far they go, that an image's numbers are its own."""

import torch

from pipelines.runtime.randomness import Draws
from segmentation.perturbations import (
    channel_dropout,
    element_dropout,
    feature_dropout,
    feature_noise,
    image_generators,
    perturbations,
    uniform_like,
)


def test_feature_dropout_removes_the_strongest_pixel_and_keeps_the_weak() -> None:
    x = torch.linspace(0.1, 1.0, 16).view(1, 1, 4, 4).repeat(1, 3, 1, 1)
    for u in (0.0, 0.5, 0.999):
        kept = feature_dropout(x, torch.full((1, 1, 1, 1), u)) > 0
        assert not kept[0, :, 3, 3].any()
        assert kept[x < 0.7].all()


def test_dropout_keeps_the_mean_and_noise_stays_in_its_band() -> None:
    x = torch.ones(1, 8, 64, 64)
    uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    dropped = element_dropout(x, uniform)
    assert abs(float(dropped.mean()) - 1.0) < 0.02
    assert abs(float((dropped == 0).float().mean()) - 0.3) < 0.02
    noisy = feature_noise(x, uniform)
    assert 0.7 <= float(noisy.min()) < 0.705
    assert 1.295 < float(noisy.max()) <= 1.3


def test_channel_dropout_takes_whole_channels_and_keeps_the_mean() -> None:
    x = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    found = channel_dropout(x, torch.tensor([0.24, 0.25, 0.9]).view(1, 3, 1, 1), 0.25)
    torch.testing.assert_close(found, x * torch.tensor([0.0, 4 / 3, 4 / 3]).view(1, 3, 1, 1))
    many = torch.ones(1, 4000, 2, 2)
    dropped = channel_dropout(many, torch.rand(1, 4000, 1, 1, generator=torch.Generator().manual_seed(0)))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}  # half of them by default
    assert abs(float(dropped.mean()) - 1.0) < 0.05
    assert torch.equal(dropped.amin(dim=(2, 3)), dropped.amax(dim=(2, 3)))


def test_an_images_uniform_numbers_are_its_own() -> None:
    x = torch.zeros(4, 3, 2, 2)
    whole = uniform_like(x, image_generators(Draws(0, 3, 4, slice(0, 4)), "s"))
    half = uniform_like(x[2:], image_generators(Draws(0, 3, 4, slice(2, 4)), "s"))
    assert whole.shape == x.shape
    assert torch.equal(whole[2:], half)
    assert len(set(whole[:, 0, 0, 0].tolist())) == 4
    generators = image_generators(Draws(0, 3, 4, slice(0, 4)), "s")
    assert not torch.equal(uniform_like(x, generators), uniform_like(x, generators))


def test_numbers_are_fresh_per_map_but_fixed_per_image() -> None:
    x = torch.ones(4, 8, 8, 8)
    whole = [p(x) for p in perturbations(Draws(0, 3, 4, slice(0, 4)), "s", 3)]
    half = [p(x[2:]) for p in perturbations(Draws(0, 3, 4, slice(2, 4)), "s", 3)]
    for a, b in zip(whole, half, strict=True):
        assert torch.equal(a[2:], b)
    assert not torch.equal(whole[1][0], whole[1][1])
    noise = perturbations(Draws(0, 3, 4, slice(0, 4)), "s", 3)[2]
    assert not torch.equal(noise(x), noise(x))
    assert not torch.equal(whole[2], perturbations(Draws(0, 4, 4, slice(0, 4)), "s", 3)[2](x))
