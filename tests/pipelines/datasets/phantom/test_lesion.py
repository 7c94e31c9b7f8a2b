from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from pipelines.datasets.phantom.lesion import Lesion, Maps, insert, largest_part

LESION = Lesion(x=0.002, z=0.015, a=0.006, b=0.004, angle=0.0, level=-10.0)


def maps(rows: int = 300, columns: int = 400) -> Maps:
    """Uniform tissue, 40 mm wide and 30 mm deep."""
    x = np.broadcast_to(((np.arange(columns) + 0.5) / columns - 0.5) * 0.04, (rows, columns))
    z = np.broadcast_to(((np.arange(rows) + 0.5) / rows * 0.03)[:, None], (rows, columns))
    noise = np.zeros((2, rows, columns), np.float32)
    flat = [np.full((rows, columns), value, np.float32) for value in (2.0, 0.55, 1.0)]
    return Maps(x, z, np.full((rows, 1), 1e-4), 1e-4, noise, noise, *flat)


def test_rho_of_an_ellipse_by_hand() -> None:
    x, z = np.array([0.002, 0.008, 0.002, 0.014]), np.array([0.015, 0.015, 0.019, 0.015])
    assert LESION.polar(x, z)[0] == pytest.approx([0.0, 1.0, 1.0, 2.0])
    turned = replace(LESION, angle=np.pi / 2)
    assert turned.polar(np.array([0.002, 0.006]), np.array([0.021, 0.015]))[0] == pytest.approx([1.0, 1.0])


def test_wavy_boundary_follows_its_formula() -> None:
    wavy = replace(LESION, a=0.005, b=0.005, waves=((3.0, 0.2, 0.0),))
    phi = np.linspace(0, 2 * np.pi, 13)
    radius = 0.005 * (1 + 0.2 * np.cos(3 * phi))
    assert wavy.polar(0.002 + radius * np.cos(phi), 0.015 + radius * np.sin(phi))[0] == pytest.approx(np.ones(13))


def test_mask_and_level() -> None:
    tissue = maps()
    mask = insert(LESION, tissue)
    assert mask.mean() == pytest.approx(np.pi * 0.006 * 0.004 / (0.04 * 0.03), rel=0.01)
    rho = LESION.polar(tissue.x, tissue.z)[0]
    assert tissue.echogenicity[rho < 0.8] == pytest.approx(-8.0, abs=0.05)  # 10 dB below the 2 dB around
    assert tissue.echogenicity[rho > 1.3] == pytest.approx(2.0, abs=0.05)
    assert tissue.echogenicity[150, 279:281].mean() == pytest.approx(-3.0, abs=0.3)  # halfway on the edge


def test_attenuation_and_density_change_inside_alone() -> None:
    tissue = maps()
    mask = insert(replace(LESION, excess=0.6, density=0.3), tissue)
    assert tissue.attenuation[mask].max() == pytest.approx(1.15, abs=1e-3)
    rho = LESION.polar(tissue.x, tissue.z)[0]
    assert tissue.attenuation[rho > 1.3] == pytest.approx(0.55, abs=1e-3)
    assert np.array_equal(tissue.density < 1.0, mask)
    assert tissue.density[mask] == pytest.approx(0.3)


def test_signs_around_and_within() -> None:
    plain, capsule, halo, edge, dots, rays, stone = (maps() for _ in range(7))
    insert(LESION, plain)
    rho = LESION.polar(plain.x, plain.z)[0]
    insert(replace(LESION, capsule=6.0), capsule)
    change = capsule.echogenicity - plain.echogenicity
    assert change.max() > 3.5  # .8 of the capsule, at its top and bottom
    assert np.abs(change[150, 260:300]).max() < 0.1  # the sides do not face the beam
    insert(replace(LESION, halo=-4.0), halo)
    ring = (rho > 1.08) & (rho < 1.16)
    assert (halo.echogenicity - plain.echogenicity)[ring].mean() == pytest.approx(-2.8 * 0.96, abs=0.25)
    insert(replace(LESION, edge=1.0), edge)
    assert edge.attenuation[150, 280] == pytest.approx(1.55, abs=0.01)  # at the side
    assert edge.attenuation[150, 220] == pytest.approx(0.55, abs=0.01)  # in the middle
    insert(replace(LESION, calcifications=((0.002, 0.015, 2e-4),)), dots)
    assert (dots.echogenicity - plain.echogenicity)[150, 220] == pytest.approx(16.0, abs=2.0)
    assert dots.attenuation[150, 220] > 2.0
    insert(replace(LESION, spicules=((0.0, 0.3, -6.0),)), rays)
    assert (rays.echogenicity - plain.echogenicity)[150, 286] < -3.0  # at angle 0, just outside
    assert np.abs((rays.echogenicity - plain.echogenicity)[150, :150]).max() < 0.01
    insert(replace(LESION, stone=0.002), stone)
    assert stone.echogenicity[138, 220] > 8.0  # 1.2 mm above the middle
    assert stone.attenuation[150, 220] > 5.0


def test_tissue_is_pushed_aside() -> None:
    pushing = replace(LESION, push=0.4)
    x, z = pushing.displace(np.array([0.002, 0.002, 0.02]), np.array([0.011, 0.019, 0.015]))
    assert z[:2] == pytest.approx([0.015 - 0.004 * 0.6, 0.015 + 0.004 * 0.6])  # at the boundary
    assert x[2] == pytest.approx(0.02, abs=1e-3)  # hardly moved three half axes away
    assert LESION.displace(x, z)[1] is z


def test_largest_part_by_hand() -> None:
    mask = np.array([[1, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 1]], bool)
    assert largest_part(mask).tolist() == [[True, True, False, False], [False, True, False, False], [False] * 4]
    assert largest_part(mask[:, :2] & False).sum() == 0


def test_a_rough_outline_stays_in_one_piece() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 300, 400)).astype(np.float32)
    rough = replace(maps(), quick=np.array([gaussian_filter(field, 4.0) * 14.0 for field in noise], np.float32))
    lesion = replace(LESION, roughness=1.5e-3)
    unbound = lesion.polar(rough.x + 1.5e-3 * rough.quick[0], rough.z + 1.5e-3 * rough.quick[1])[0] < 1.0
    assert label(unbound)[1] > 1
    mask = insert(lesion, rough)
    assert label(mask)[1] == 1
    assert not (mask & ~unbound).any()
    assert mask.sum() > 0.5 * unbound.sum()
