"""Augmentations: geometry shared by image and mask, depth kept, CutMix exact."""

import torch

from pipelines.runtime.randomness import Draws
from segmentation.augmentations import (
    contrast,
    cutmix,
    cutmix_boxes,
    dynamic_range,
    gain,
    gamma,
    gaussian_blur,
    partners,
    photometric,
    speckle,
    time_gain,
    warp,
    weak_geometry,
)


def draws(total: int = 64, step: int = 0, rows: slice | None = None) -> Draws:
    return Draws(0, step, total, rows or slice(0, total))


def test_identity_and_flip_of_the_warp() -> None:
    x = torch.rand(1, 1, 8, 8)
    identity = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    torch.testing.assert_close(warp(x, identity), x)
    flip = torch.tensor([[[-1.0, 0, 0], [0, 1.0, 0]]])
    torch.testing.assert_close(warp(x, flip), x.flip(-1))


def test_weak_geometry_never_turns_the_depth_axis() -> None:
    theta = weak_geometry(draws(), "s")
    assert (theta[:, 0, 1] == 0).all()
    assert (theta[:, 1, 0] == 0).all()
    assert ((theta[:, 1, 1] >= 0.8) & (theta[:, 1, 1] <= 1.0)).all()
    assert (theta[:, 0, 0].abs() == theta[:, 1, 1]).all()
    assert 0 < int((theta[:, 0, 0] < 0).sum()) < 64


def test_masks_stay_masks_and_validity_marks_what_left_the_image() -> None:
    theta = torch.tensor([[[1.0, 0, 0.5], [0, 1.0, 0]]])  # a shift by a quarter of the width
    mask = torch.ones(1, 1, 8, 8)
    valid = warp(mask, theta, "nearest")
    assert valid.unique().tolist() == [0.0, 1.0]
    assert float(valid.mean()) == 0.75
    assert torch.equal(valid[..., :6], torch.ones(1, 1, 8, 6))


def test_strong_view_keeps_range_and_place() -> None:
    x = torch.full((64, 1, 32, 32), 0.1)
    x[:, :, 8:16, 8:16] = 0.9
    strong = photometric(x, draws(), "s")
    assert 0.0 <= float(strong.min()) <= float(strong.max()) <= 1.0
    assert not torch.equal(strong, x)
    inside, outside = strong[:, :, 8:16, 8:16].mean(dim=(1, 2, 3)), strong[:, :, 20:, 20:].mean(dim=(1, 2, 3))
    assert int((inside > outside).sum()) >= 60  # cutout may hide a few


def test_numbers_belong_to_the_image() -> None:
    x = torch.rand(8, 1, 16, 16)
    whole = photometric(x, draws(8), "s")
    part = photometric(x[4:], draws(8, rows=slice(4, 8)), "s")
    torch.testing.assert_close(whole[4:], part)


def scalar(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1, 1), value)


def test_dynamic_range_is_a_window_of_decibels() -> None:
    v = torch.linspace(0, 1, 11).view(1, 1, 1, 11)
    torch.testing.assert_close(dynamic_range(v, scalar(0.0)), v)
    narrow, wide = dynamic_range(v, scalar(0.2)).flatten(), dynamic_range(v, scalar(-0.25)).flatten()
    torch.testing.assert_close(narrow[:4], torch.tensor([0.0, 0.0, 0.0, 0.125]))  # the floor is cut
    torch.testing.assert_close(wide[[0, 5]], torch.tensor([0.2, 0.6]))  # (v + 1/4) / (5/4)
    assert float(narrow[-1]) == float(wide[-1]) == 1.0  # the strongest echo stays white
    for x in (narrow, wide):
        assert (x.diff() >= 0).all()
    # echoes of 0 to -48 dB on a 60 dB display, shown again on one of 48 dB
    echo = -torch.arange(0.0, 49.0, 6.0)
    torch.testing.assert_close(dynamic_range(1 + echo.view(1, 1, 1, -1) / 60, scalar(0.2)).flatten(), 1 + echo / 48)


def test_brightness_by_hand() -> None:
    x = torch.tensor([[0.2, 0.6], [0.4, 0.8]])[None, None]  # mean 0.5
    torch.testing.assert_close(gamma(x, scalar(2.0)), x * x)
    torch.testing.assert_close(gain(x, scalar(1.2)), 1.2 * x)
    torch.testing.assert_close(contrast(x, scalar(0.5)), 0.25 + 0.5 * x)
    expected = torch.tensor([[0.2 * 0.8, 0.6 * 0.8], [0.4 * 1.2, 0.8 * 1.2]])[None, None]
    torch.testing.assert_close(time_gain(x, scalar(0.4)), expected)
    torch.testing.assert_close(speckle(x, scalar(0.1), torch.full_like(x, -2.0)), 0.8 * x)


def test_without_cutout_no_box_is_black() -> None:
    x = torch.full((64, 1, 32, 32), 0.5)
    whole, cut = photometric(x, draws(), "s", cutout=False), photometric(x, draws(), "s")
    black = (cut == 0).sum(dim=(1, 2, 3)) > (whole == 0).sum(dim=(1, 2, 3))
    assert 16 < int(black.sum()) < 48
    assert float((whole == 0).float().mean()) < 0.01
    assert torch.equal(whole[~black], cut[~black])


def test_cutmix_takes_the_partner_inside_the_box_alone() -> None:
    x = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 8, 8)
    assert partners(x)[:, 0, 0, 0].tolist() == [1.0, 0.0, 3.0, 2.0, 4.0]
    boxes = torch.zeros(5, 1, 8, 8, dtype=torch.bool)
    boxes[0, 0, 2:5, 3:6] = True
    mixed = cutmix(x, boxes)
    assert (mixed[0, 0, 2:5, 3:6] == 1.0).all()
    assert float(mixed[0].sum()) == 9.0
    assert torch.equal(mixed[1:], x[1:])
    assert torch.equal(cutmix(x * 2, boxes), mixed * 2)  # images, targets and masks by the same box


def test_boxes_are_rectangles_of_the_asked_area() -> None:
    boxes = cutmix_boxes(draws(200), "s", 64, 64)
    area = boxes.float().mean(dim=(1, 2, 3))
    on = area > 0
    assert 70 < int(on.sum()) < 130
    assert 0.08 < float(area[on].min()) < float(area[on].max()) < 0.43
    one = boxes[int(torch.nonzero(on)[0])][0]
    rows, columns = one.any(dim=1), one.any(dim=0)
    assert torch.equal(one, rows[:, None] & columns[None, :])


def test_blur_keeps_constants_and_mass() -> None:
    torch.testing.assert_close(gaussian_blur(torch.ones(1, 2, 9, 9), 1.5), torch.ones(1, 2, 9, 9))
    impulse = torch.zeros(1, 1, 21, 21)
    impulse[..., 10, 10] = 1.0
    blurred = gaussian_blur(impulse, 1.5)
    assert abs(float(blurred.sum()) - 1.0) < 1e-5
    torch.testing.assert_close(blurred, blurred.mT)
