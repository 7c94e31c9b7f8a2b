from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipelines.datasets.alignment import aligned_ncc, ncc


def scene(seed: int, side: int = 160) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 4)
    return np.clip(128 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)


def crop(image: np.ndarray, top: int = 16, left: int = 16, side: int = 128) -> np.ndarray:
    return np.ascontiguousarray(image[top : top + side, left : left + side])


REFERENCE = np.stack([crop(scene(seed)) for seed in range(12)])


def test_an_image_is_aligned_with_itself() -> None:
    found = aligned_ncc(REFERENCE, REFERENCE)
    assert np.diag(found) == pytest.approx(np.ones(12), abs=1e-4)
    assert (found - np.eye(12)).max() < 0.75
    assert found.dtype == np.float32


@pytest.mark.parametrize(("dy", "dx"), [(0, 8), (-8, 0), (5, -7)])
def test_shifts_up_to_the_limit_are_undone(dy: int, dx: int) -> None:
    query = crop(scene(3), 16 + dy, 16 + dx)[None]
    assert ncc(query[0], REFERENCE[3]) < 0.6
    assert aligned_ncc(query, REFERENCE)[0, 3] == pytest.approx(1.0, abs=1e-4)


def test_mirrored_shifted_copy() -> None:
    query = crop(scene(4), 13, 20)[None, :, ::-1]
    assert aligned_ncc(query, REFERENCE)[0, 4] == pytest.approx(1.0, abs=1e-4)
    assert aligned_ncc(query, REFERENCE, mirror=False)[0, 4] < 0.8


@pytest.mark.parametrize("scale", [0.95, 1.05])
def test_scaled_copy(scale: float) -> None:
    side = round(128 / scale)
    start = 80 - side // 2
    zoomed = Image.fromarray(crop(scene(5), start, start, side)).resize((128, 128), Image.Resampling.BICUBIC)
    found = aligned_ncc(np.array(zoomed)[None], REFERENCE)[0]
    assert found.argmax() == 5
    assert found[5] > 0.97


def test_values_equal_a_plain_search() -> None:
    query, radius = crop(scene(6), 20, 12), 8
    center = query[radius:-radius, radius:-radius]
    expected = max(
        ncc(center, REFERENCE[2][y : y + 112, x : x + 112])
        for y in range(2 * radius + 1)
        for x in range(2 * radius + 1)
    )
    found = aligned_ncc(query[None], REFERENCE[2:3], scales=(1.0,), mirror=False)
    assert found[0, 0] == pytest.approx(expected, abs=1e-4)


def test_row_maximum_is_exact_whatever_is_refined() -> None:
    query = np.stack([crop(scene(7), 20, 10), crop(scene(30))])
    whole = aligned_ncc(query, REFERENCE, refine=12)
    few = aligned_ncc(query, REFERENCE, refine=3)
    assert few[0].argmax() == whole[0].argmax() == 7
    assert few[0].max() == whole[0].max()
    for row, exact in zip(few, whole, strict=True):
        assert (np.sort(row)[::-1][:3] <= np.sort(exact)[::-1][:3] + 1e-6).all()


def test_small_working_size_uses_a_smaller_shift() -> None:
    small = REFERENCE[:, ::2, ::2]
    query = np.roll(small[1], (3, -4), (0, 1))[None]
    assert aligned_ncc(query, small, size=64)[0].argmax() == 1
    assert aligned_ncc(query, small, size=64)[0, 1] == pytest.approx(1.0, abs=1e-4)


def test_constant_and_empty_inputs() -> None:
    flat = np.full((1, 128, 128), 80, np.uint8)
    assert not aligned_ncc(flat, REFERENCE).any()
    assert not aligned_ncc(REFERENCE, flat).any()
    assert aligned_ncc(REFERENCE[:0], REFERENCE).shape == (0, 12)
    assert aligned_ncc(REFERENCE, REFERENCE[:0]).shape == (12, 0)
