from __future__ import annotations

import numpy as np
import pytest

from pipelines.datasets.phantom.geometry import beam_grid, beam_pitch, convert, convex, linear

FAN = convex(depth=0.05, radius=0.02, fan=np.deg2rad(60.0))


def test_size_of_a_fan_by_hand() -> None:
    assert FAN.width == pytest.approx(0.07)  # 2 * 70 mm * sin 30
    assert FAN.height == pytest.approx(0.05 + 0.02 * (1 - np.cos(np.pi / 6)))
    assert linear(0.03, 0.04).area == pytest.approx(0.0012)


def test_linear_beams_look_straight_down() -> None:
    x, z = beam_grid(linear(0.03, 0.04), 3, 4)
    assert x[0] == pytest.approx([-0.015, -0.005, 0.005, 0.015])
    assert np.ptp(x, axis=0).max() == 0.0
    assert z[:, 1] == pytest.approx([0.005, 0.015, 0.025])
    assert beam_pitch(linear(0.03, 0.04), 3, 4) == pytest.approx([0.01] * 3)


def test_convex_beams_fan_out() -> None:
    x, z = beam_grid(FAN, 100, 60)
    assert x[-1, -1] == pytest.approx(0.06975 * np.sin(np.deg2rad(29.5)))
    assert np.allclose(x, -x[:, ::-1])
    assert z[:, 30] == pytest.approx((np.arange(100) + 0.5) * 5e-4, abs=1e-4)  # the middle beam goes straight down
    assert z[0] == pytest.approx(np.full(60, 2.5e-4), abs=1e-4)  # the skin follows the probe's face
    assert z[-1, 0] < 0.92 * z[-1, 30]  # deep layers lie flat: the end of an outer beam is not as deep
    assert (np.diff(z, axis=0) > 0).all()
    assert beam_pitch(FAN, 100, 60)[-1] == pytest.approx(0.06975 * np.pi / 3 / 60)


def test_scan_conversion_puts_every_sample_where_it_was_measured() -> None:
    """A ring of one distance becomes an arc of that radius about the apex, a beam becomes a line from it."""
    rows, columns = 200, 180
    pixels = (240, 280)
    apex = FAN.radius * np.cos(FAN.fan / 2)
    pitch = FAN.width / pixels[1]

    def polar(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = np.argwhere(mask)
        x = (at[:, 1] + 0.5 - pixels[1] / 2) * pitch
        z = (at[:, 0] + 0.5) / pixels[0] * FAN.height + apex
        return np.hypot(x, z), np.arctan2(x, z)

    ring = np.zeros((rows, columns), np.float32)
    ring[100] = 1.0
    radius, angle = polar(convert(ring, FAN, pixels, order=1) > 0.5)
    assert np.abs(radius - (FAN.radius + 100.5 / rows * FAN.depth)).max() < FAN.depth / rows
    assert np.ptp(angle) == pytest.approx(FAN.fan, rel=0.03)
    beam = np.zeros((rows, columns), np.float32)
    beam[:, 30] = 1.0
    _, angle = polar(convert(beam, FAN, pixels, order=1) > 0.5)
    assert np.abs(angle - (30.5 / columns - 0.5) * FAN.fan).max() < FAN.fan / columns


def test_outside_a_fan_is_black_and_masks_stay_binary() -> None:
    full = np.full((100, 90), 255, np.uint8)
    picture = convert(full, FAN, (200, 240), order=0)
    assert set(np.unique(picture)) == {0, 255}
    assert not picture[:60, :10].any()
    sector = FAN.fan / 2 * ((FAN.radius + FAN.depth) ** 2 - FAN.radius**2)
    assert (picture > 0).mean() == pytest.approx(sector / FAN.area, rel=0.01)
    mask = np.zeros((100, 90), np.uint8)
    mask[30:60, 20:50] = 1
    assert set(np.unique(convert(mask, FAN, (200, 240), order=0))) == {0, 1}


def test_linear_conversion_is_a_resize() -> None:
    samples = np.tile(np.linspace(0, 1, 50, dtype=np.float32)[:, None], (1, 40))
    picture = convert(samples, linear(0.03, 0.04), (100, 80), order=1)
    assert picture.shape == (100, 80)
    assert picture[10:90, 3] == pytest.approx((np.arange(10, 90) + 0.5) / 100, abs=0.02)
