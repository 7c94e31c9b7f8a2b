from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.descriptors import canonical
from pipelines.datasets.registration import agreement, register
from tests.support.pictures import layers, reencoded, scene

IMAGE = scene(3, 400, 400)


def test_an_image_lies_in_itself() -> None:
    small = canonical(IMAGE)
    found = register(small, small)
    assert (found.scale_x, found.scale_y) == pytest.approx((1.0, 1.0), abs=1e-3)
    assert (found.shift_x, found.shift_y) == pytest.approx((0.0, 0.0), abs=1e-3)
    assert (found.phash_distance, found.ncc, found.detail) == (0, pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize(("left", "right", "top", "bottom"), [(40, 0, 0, 40), (30, 30, 0, 0), (0, 24, 36, 12)])
def test_the_place_of_a_crop_is_found(left: int, right: int, top: int, bottom: int) -> None:
    crop = IMAGE[top : 400 - bottom, left : 400 - right]
    # x of the whole image lies at (400 x - left) / width of the crop: scale 400 / width, shift of the center.
    scale_x, scale_y = 400 / (400 - left - right), 400 / (400 - top - bottom)
    shift_x, shift_y = (200 - left) * scale_x / 400 - 0.5, (200 - top) * scale_y / 400 - 0.5
    found = register(canonical(IMAGE), canonical(crop))
    assert (found.scale_x, found.scale_y) == pytest.approx((scale_x, scale_y), abs=0.004)
    assert (found.shift_x, found.shift_y) == pytest.approx((shift_x, shift_y), abs=0.003)
    assert found.ncc > 0.98
    assert found.detail > 0.95
    assert found.phash_distance <= 6


def test_gain_and_encoding_do_not_matter_to_detail() -> None:
    dim = reencoded((40 + 0.5 * IMAGE.astype(np.float64)).astype(np.uint8), 40)
    found = register(canonical(IMAGE), canonical(dim))
    assert found.ncc > 0.99
    assert found.detail > 0.95


def test_layers_alone_are_no_detail() -> None:
    """The same coarse picture under other grain: correlated as a whole, not in detail."""
    first, second = (layers(seed) for seed in (8, 9))
    found = register(canonical(first), canonical(second))
    assert found.ncc > 0.9
    assert found.detail < 0.4


def test_the_better_start_is_followed() -> None:
    # A shift of 12% is beyond what a climb from the identity finds in this picture.
    a, b = canonical(IMAGE[:, :340]), canonical(IMAGE[:, 48:388])
    lost = register(a, b)
    found = register(a, b, [(1.0, 0.0, 1.0, 0.0), (1.0, -0.13, 1.0, 0.0)])
    assert found.shift_x == pytest.approx(-48 / 340, abs=0.003)
    assert found.ncc > 0.98
    assert found.ncc >= lost.ncc


def test_no_contrast_and_no_common_field() -> None:
    flat = np.full((128, 128), 70, np.uint8)
    assert register(flat, canonical(IMAGE)).detail == 0.0
    assert register(canonical(IMAGE), flat).ncc == 0.0
    apart = agreement(canonical(IMAGE), canonical(IMAGE), (1.0, 0.6, 1.0, 0.0))
    assert (apart.ncc, apart.phash_distance, apart.detail) == (0.0, 64, 0.0)


def test_a_shared_sector_is_no_detail() -> None:
    """Two scenes behind one convex probe: the outline agrees in every block it crosses, the texture in none."""
    y, x = np.mgrid[:400, :400]
    sector = (np.hypot(y + 120, x - 200) > 160) & (np.abs(x - 200) < (y + 120) * 0.45)
    first, second = (np.where(sector, scene(seed, 400, 400), 0).astype(np.uint8) for seed in (8, 9))
    found = register(canonical(first), canonical(second))
    assert found.ncc > 0.7
    assert abs(found.detail) < 0.25
    assert register(canonical(first), canonical(np.maximum(first, 3) - 3)).detail > 0.95
