"""Decoding, resizing, geometry: each kind of file has a documented outcome."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.images import (
    Box,
    box_of,
    decode,
    decode_image,
    decode_mask,
    inner_box,
    pixel_hash,
    resize_image,
    resize_label,
    to_native,
    valid_region,
)
from pipelines.runtime.errors import DataError


def ramp(height: int = 70, width: int = 90) -> np.ndarray:
    return (np.arange(height * width).reshape(height, width) % 256).astype(np.uint8)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_gray_and_gray_rgb_decode_to_the_same_pixels(tmp_path: Path) -> None:
    gray = ramp()
    plain = decode(save(tmp_path / "l.png", Image.fromarray(gray)))
    rgb = decode(save(tmp_path / "rgb.png", Image.fromarray(np.repeat(gray[..., None], 3, 2))))
    assert np.array_equal(plain.gray, gray)
    assert np.array_equal(rgb.gray, gray)
    assert plain.color == rgb.color == 0.0


def test_luma_of_pure_colors(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :, 0], pixels[32:, :, 1] = 255, 255
    found = decode(save(tmp_path / "color.png", Image.fromarray(pixels)))
    assert found.gray[0, 0] == 76  # .299 * 255
    assert found.gray[40, 0] == 150  # .587 * 255, rounded
    assert found.color == 1.0


def test_sixteen_bits_are_scaled_by_the_full_range(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257, 65535]] * 64, np.uint16).repeat(16, 1)
    found = decode_image(save(tmp_path / "deep.png", Image.fromarray(values)))
    assert found[0, ::16].tolist() == [0, 1, 128, 255]


def test_alpha_is_dropped_not_composited(tmp_path: Path) -> None:
    pixels = np.full((64, 64, 4), 200, np.uint8)
    pixels[..., 3] = 0
    assert decode_image(save(tmp_path / "rgba.png", Image.fromarray(pixels))).min() == 200


def test_bilevel_and_palette(tmp_path: Path) -> None:
    bits = ramp() > 127
    assert np.array_equal(decode_image(save(tmp_path / "bits.png", Image.fromarray(bits))), bits * np.uint8(255))
    palette = Image.fromarray(ramp()).convert("P")
    assert np.array_equal(decode_image(save(tmp_path / "palette.png", palette, transparency=0)), ramp())


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    path = save(tmp_path / "turned.jpg", Image.fromarray(ramp(64, 100)), exif=exif)
    assert decode_image(path).shape == (100, 64)


def test_cmyk_jpeg_converts(tmp_path: Path) -> None:
    path = save(tmp_path / "print.jpg", Image.new("CMYK", (64, 64)))
    assert decode_image(path).min() == 255


@pytest.mark.parametrize(("name", "content"), [("empty.png", b""), ("text.png", b"not an image at all" * 9)])
def test_foreign_content_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"^{name}: does not decode"):
        decode(tmp_path / name)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_truncated_files_are_named(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    path = save(tmp_path / f"whole.{kind}", Image.fromarray(rng.integers(0, 255, (90, 90), np.uint8)))
    (tmp_path / f"half.{kind}").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"^half\.{kind}: does not decode"):
        decode(tmp_path / f"half.{kind}")


@pytest.mark.parametrize("side", [60_000, 9_000])
def test_huge_header_is_refused_before_decoding(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(DataError, match=r"^bomb\.png: .*64 megapixels"):
        decode(tmp_path / "bomb.png")


def test_animation_and_float_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(ramp()), Image.fromarray(ramp()[::-1])]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="2 frames"):
        decode(tmp_path / "moving.png")
    save(tmp_path / "float.tif", Image.fromarray(ramp().astype(np.float32)))
    with pytest.raises(DataError, match="floating point"):
        decode(tmp_path / "float.tif")


def test_mask_threshold_is_above_127(tmp_path: Path) -> None:
    values = np.array([[0, 1, 127, 128, 254, 255]] * 64, np.uint8)
    found = decode_mask(save(tmp_path / "mask.png", Image.fromarray(values)))
    assert found[0].tolist() == [False, False, False, True, True, True]


def test_pixel_hash_knows_shape_and_pixels() -> None:
    image = ramp(64, 100)
    assert pixel_hash(image) == pixel_hash(np.asfortranarray(image))
    assert pixel_hash(image) != pixel_hash(image.reshape(100, 64))


def test_boxes() -> None:
    assert box_of(300, 400, 64, "stretch") == Box(0, 0, 64, 64)
    assert box_of(300, 400, 64, "letterbox") == Box(8, 0, 48, 64)
    assert box_of(400, 100, 64, "letterbox") == Box(0, 24, 64, 16)
    with pytest.raises(DataError, match="stretch or letterbox"):
        box_of(10, 10, 64, "crop")


def test_resizing_keeps_constants_and_labels() -> None:
    assert set(np.unique(resize_image(np.full((300, 400), 77, np.uint8), 64))) == {77}
    label = np.zeros((300, 400), np.uint8)
    label[100:200, 100:300] = 1
    small = resize_label(label, 64)
    assert set(np.unique(small)) == {0, 1}
    assert abs(small.mean() - label.mean()) < 0.02
    boxed = resize_image(np.full((300, 400), 77, np.uint8), 64, "letterbox")
    assert boxed[:8].max() == 0
    assert boxed[8:56].min() == 77
    assert boxed[56:].max() == 0


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, 32)
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 2  # aliasing would give 0 or 255


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_way_back_to_native_size(resize: str) -> None:
    height, width = 120, 200
    box = box_of(height, width, 64, resize)
    case = {"width": str(width), "height": str(height)}
    case |= {f"inner_{key}": str(getattr(box, key)) for key in ("top", "left", "height", "width")}
    assert inner_box(case) == box
    region = valid_region(case, 64)
    assert region.sum() == box.height * box.width
    label = np.zeros((height, width), np.uint8)
    label[30:90, 60:150] = 1
    back = to_native(resize_label(label, 64, resize).astype(np.float32), case) > 0.5
    assert back.shape == (height, width)
    assert 2 * (back & (label > 0)).sum() / (back.sum() + label.sum()) > 0.95
