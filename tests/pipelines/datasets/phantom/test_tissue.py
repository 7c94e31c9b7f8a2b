from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.phantom.tissue import BACKGROUND_ATTENUATION, Lesion, draw_anatomy, move, render


def lesion(**changes: object) -> Lesion:
    facts = {"x": 0.02, "z": 0.015, "a": 0.006, "b": 0.004, "angle": 0.0, "waves": np.zeros((0, 3)), "softness": 0.02}
    facts |= {"level": -10.0, "excess": 0.0, "heterogeneity": 0.0, "capsule": 0.0, "calcifications": np.zeros((0, 3))}
    return Lesion(**(facts | changes))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_rho_of_an_ellipse_by_hand() -> None:
    found = lesion().rho(np.array([0.02, 0.026, 0.02, 0.032]), np.array([0.015, 0.015, 0.019, 0.015]))
    assert found == pytest.approx([0.0, 1.0, 1.0, 2.0])
    turned = lesion(angle=np.pi / 2).rho(np.array([0.02, 0.024]), np.array([0.021, 0.015]))
    assert turned == pytest.approx([1.0, 1.0])


def test_wavy_boundary_follows_its_formula() -> None:
    wavy = lesion(a=0.005, b=0.005, waves=np.array([[3.0, 0.2, 0.0]]))
    phi = np.linspace(0, 2 * np.pi, 13)
    radius = 0.005 * (1 + 0.2 * np.cos(3 * phi))
    assert wavy.rho(0.02 + radius * np.cos(phi), 0.015 + radius * np.sin(phi)) == pytest.approx(np.ones(13))


@pytest.mark.parametrize(("class_name", "count"), [("benign", 1), ("malignant", 1), ("benign", 2), ("normal", 1)])
def test_rendered_maps(class_name: str, count: int) -> None:
    anatomy = draw_anatomy(rng(), class_name, count)
    tissue = render(anatomy, 160, 128)
    lesions = 0 if class_name == "normal" else count
    assert tissue.masks.shape == (lesions, 160, 128)
    assert tissue.echogenicity.shape == tissue.attenuation.shape == (160, 128)
    assert np.isfinite(tissue.echogenicity).all()
    assert tissue.attenuation.min() > 0
    assert all(mask.any() for mask in tissue.masks)
    if lesions == 2:
        assert not (tissue.masks[0] & tissue.masks[1]).any()


def test_mask_area_is_the_ellipse() -> None:
    anatomy = draw_anatomy(rng(), "normal")
    one = lesion()
    mask = render(type(anatomy)(**{**vars(anatomy), "lesions": (one,)}), 400, 400).masks[0]
    expected = np.pi * one.a * one.b / (anatomy.width * anatomy.depth)
    assert mask.mean() == pytest.approx(expected, rel=0.02)


def test_level_inside_is_relative_to_the_surrounding() -> None:
    anatomy = draw_anatomy(rng(1), "normal")
    plain = render(anatomy, 200, 200).echogenicity
    dark = render(type(anatomy)(**{**vars(anatomy), "lesions": (lesion(level=-12.0),)}), 200, 200)
    x, z = np.meshgrid((np.arange(200) + 0.5) / 200 * anatomy.width, (np.arange(200) + 0.5) / 200 * anatomy.depth)
    rho = lesion().rho(x, z)
    ring = plain[(rho > 1.0) & (rho < 1.5)].mean()
    assert dark.echogenicity[rho < 0.7].mean() - ring == pytest.approx(-12.0, abs=0.2)
    assert np.allclose(dark.echogenicity[rho > 1.6], plain[rho > 1.6], atol=0.01)


def test_excess_attenuation_only_inside() -> None:
    anatomy = draw_anatomy(rng(2), "normal")
    plain = render(anatomy, 200, 200).attenuation
    strong = render(type(anatomy)(**{**vars(anatomy), "lesions": (lesion(excess=0.6),)}), 200, 200)
    change = strong.attenuation - plain
    assert change[strong.masks[0]].max() == pytest.approx(0.6, abs=0.01)
    assert np.median(change[strong.masks[0]]) > 0.55
    assert np.abs(change[:40]).max() < 1e-3
    assert plain.min() >= BACKGROUND_ATTENUATION - 1e-6


def test_population_is_like_the_reference() -> None:
    """Areas by class near the log-normal of BUSI; a third of the lesions within 3 dB of their surrounding."""
    benign = [draw_anatomy(rng(seed), "benign") for seed in range(200)]
    malignant = [draw_anatomy(rng(seed), "malignant") for seed in range(200)]

    def areas(anatomies: list) -> np.ndarray:
        return np.array([np.pi * one.a * one.b / (x.width * x.depth) for x in anatomies for one in x.lesions])

    assert np.median(areas(benign)) == pytest.approx(0.038, rel=0.25)
    assert np.median(areas(malignant)) == pytest.approx(0.121, rel=0.25)
    levels = np.array([one.level for x in benign + malignant for one in x.lesions])
    assert 0.26 < (np.abs(levels) <= 3).mean() < 0.40
    assert (levels < 0).mean() > 0.9
    shapes = [x.width / x.depth for x in benign]
    assert min(shapes) >= 0.8
    assert max(shapes) <= 1.6


def test_another_view_shows_the_same_patient() -> None:
    anatomy = draw_anatomy(rng(3), "malignant")
    moved = move(anatomy, rng(4))
    first, second = anatomy.lesions[0], moved.lesions[0]
    assert abs(second.x - first.x) <= 0.003 + 1e-9
    assert 0.8 < second.a / first.a < 1.1
    assert (second.level, second.excess) == (first.level, first.excess)
    assert moved.layers == anatomy.layers
