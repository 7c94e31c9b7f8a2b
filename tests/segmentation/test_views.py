"""Views against maps computed by hand, by systems that do and do not follow the mirror."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.params.evaluate import EvaluateParams
from segmentation.inference import predict_any_size, predict_rows
from segmentation.losses import entropy
from segmentation.system import Prediction
from segmentation.views import VIEWS, averaged_views, enlarged_side
from tests.support.segmenter import make_system, pictures, tensors


def echo(images: Tensor) -> Prediction:
    """Follows every view: the image itself."""
    return Prediction(images, entropy(images), {"calls": torch.stack([images, 1 - images], dim=1)})


def ramp(images: Tensor) -> Prediction:
    """Follows no view: rises from left to right, whatever is seen."""
    p = torch.linspace(0.0, 1.0, images.shape[-1]).expand_as(images)
    return Prediction(p, entropy(p), {"direct": p, "epistemic": 0.5 * p})


class Softmax:
    """Three classes by brightness; the sizes it was asked for are kept."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def predict(self, images: Tensor, *, steps: int, seeds: int, mode: str, case_ids: list[str]) -> Prediction:
        self.seen.append(tuple(images.shape[-2:]))
        p = torch.cat([8 * images, 4 * images.square(), 1 - images], dim=1).softmax(dim=1)
        return Prediction(p, entropy(p), {"direct": p})


def test_mean_of_two_maps_by_hand() -> None:
    images = torch.tensor([[[[0.0, 0.25, 1.0], [0.5, 0.5, 0.0]]]])
    found = averaged_views(ramp, images, 2)
    assert torch.equal(found.probability, torch.full((1, 1, 2, 3), 0.5))  # (0, .5, 1) and (1, .5, 0)
    assert torch.equal(found.uncertainty, torch.ones(1, 1, 2, 3))  # though each view is certain at the sides
    assert torch.equal(found.extras["direct"], found.probability)
    assert torch.equal(found.extras["epistemic"], torch.full((1, 1, 2, 3), 0.25))


def test_depth_is_not_flipped() -> None:
    def below(images: Tensor) -> Prediction:
        p = torch.linspace(0.0, 1.0, images.shape[-2])[:, None].expand_as(images)
        return Prediction(p, entropy(p), {})

    images = torch.rand(1, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(averaged_views(below, images, 2).probability, below(images).probability)


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (7, 3)])
def test_a_system_that_follows_the_mirror_gains_nothing(size: tuple[int, int]) -> None:
    images = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    found = averaged_views(echo, images, 2)
    assert torch.equal(found.probability, images)
    assert torch.equal(found.extras["calls"], echo(images).extras["calls"])


def test_third_view_by_hand() -> None:
    def twice(images: Tensor) -> Prediction:
        wide = images.shape[-1] == 128
        p = torch.full_like(images, 0.9 if wide else 0.3)
        return Prediction(p, entropy(p), {"direct": p})

    found = averaged_views(twice, torch.zeros(1, 1, 96, 96), 3)
    torch.testing.assert_close(found.probability, torch.full((1, 1, 96, 96), 0.5))  # (.3 + .3 + .9) / 3
    torch.testing.assert_close(found.uncertainty, torch.ones(1, 1, 96, 96))
    torch.testing.assert_close(found.extras["direct"], found.probability)


@pytest.mark.parametrize("size", [(96, 96), (33, 47), (7, 100)])
def test_enlarged_and_back_keeps_a_linear_map_in_place(size: tuple[int, int]) -> None:
    """A map that rises linearly in both axes comes back as it was, except at the border that interpolation repeats."""
    y, x = torch.meshgrid(torch.linspace(0.1, 0.4, size[0]), torch.linspace(0.1, 0.5, size[1]), indexing="ij")
    maps = (y + x)[None, None, None].repeat(2, 3, 1, 1, 1)
    view = VIEWS[2]
    large = view.forward(maps[:, 0])
    assert large.shape == (2, 1, enlarged_side(size[0]), enlarged_side(size[1]))
    back = view.back(large[:, None].repeat(1, 3, 1, 1, 1), size)
    assert back.shape == maps.shape
    torch.testing.assert_close(back[..., 1:-1, 1:-1], maps[..., 1:-1, 1:-1], atol=1e-5, rtol=0)


def test_sides_of_the_enlarged_view() -> None:
    assert [enlarged_side(side) for side in (3, 32, 33, 64, 96, 128, 192, 256)] == [32, 64, 64, 96, 128, 160, 256, 352]
    assert all(enlarged_side(side) > side and enlarged_side(side) % 32 == 0 for side in range(1, 700))
    assert all(abs(enlarged_side(side) / side - 4 / 3) <= 16 / side + 1e-9 for side in range(64, 700))


def test_three_classes_of_an_odd_size_sum_to_one() -> None:
    images = torch.rand(2, 1, 45, 71, generator=torch.Generator().manual_seed(0))
    system = Softmax()
    found = predict_any_size(system, images, steps=1, seeds=1, mode="direct", case_ids=["a", "b"], views=3)  # type: ignore[arg-type]
    assert system.seen == [(64, 96), (64, 96), (64, 96)]
    assert found.probability.shape == found.extras["direct"].shape == (2, 3, 45, 71)
    assert found.uncertainty.shape == (2, 1, 45, 71)
    torch.testing.assert_close(found.probability.sum(dim=1), torch.ones(2, 45, 71))
    assert 0.0 <= float(found.probability.min()) <= float(found.probability.max()) <= 1.0
    assert torch.equal(found.uncertainty, entropy(found.probability))


def test_a_fully_certain_map_stays_within_one() -> None:
    found = averaged_views(lambda seen: Prediction(torch.ones_like(seen), 0 * seen, {}), torch.zeros(1, 1, 45, 71), 3)
    assert torch.equal(found.probability, torch.ones(1, 1, 45, 71))
    assert float(found.uncertainty.max()) == 0.0


@pytest.mark.parametrize("name", ["unet", "crossdiff"])
def test_one_view_is_the_systems_own_prediction_to_the_bit(name: str) -> None:
    system = make_system(name).eval()  # type: ignore[attr-defined]
    images, _ = tensors(2)
    own = system.predict(images, steps=2, seeds=2, mode="refine", case_ids=["a", "b"])
    found = predict_any_size(system, images, steps=2, seeds=2, mode="refine", case_ids=["a", "b"])
    assert torch.equal(found.probability, own.probability)
    assert torch.equal(found.uncertainty, own.uncertainty)
    assert found.extras.keys() == own.extras.keys()
    assert all(torch.equal(found.extras[key], own.extras[key]) for key in own.extras)


def test_views_of_a_real_system_do_not_depend_on_the_batch() -> None:
    system = make_system("crossdiff").eval()  # type: ignore[attr-defined]
    images, _ = pictures(3)
    one, three = (
        predict_rows(system, images, list("abc"), steps=2, seeds=2, mode="refine", views=3, batch=batch)
        for batch in (1, 3)
    )
    np.testing.assert_allclose(one.probability, three.probability, atol=1e-5)
    for name in ("direct", "calls", "epistemic"):
        np.testing.assert_allclose(one.extras[name], three.extras[name], atol=1e-5)
    assert (one.extras["epistemic"][:, 0] <= one.uncertainty + 1e-5).all()
    plain = predict_rows(system, images, list("abc"), steps=2, seeds=2, mode="refine")
    assert np.abs(plain.probability - three.probability).max() > 1e-3


@pytest.mark.parametrize("views", [0, 4])
def test_no_such_number_of_views(views: int) -> None:
    with pytest.raises(ValueError, match=f"views: expected 1 to 3, found {views}"):
        averaged_views(echo, torch.zeros(1, 1, 4, 4), views)


def test_params_allow_every_view_and_no_more() -> None:
    block = {"overlays": 0, "ece_bins": 15, "bootstrap": 100, "margin": 0.2}
    assert EvaluateParams(**block, views=len(VIEWS)).views == len(VIEWS)
    for views in (0, len(VIEWS) + 1):
        with pytest.raises(ValueError, match="views"):
            EvaluateParams(**block, views=views)
