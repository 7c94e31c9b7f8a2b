"""Decoding, resizing, geometry: each kind of file has a documented outcome."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.images import (
    Box,
    ImageFault,
    box_of,
    decode,
    decode_image,
    decode_mask,
    inner_box,
    pixel_hash,
    read_pixels,
    resize_image,
    resize_label,
    to_native,
    to_values,
    valid_region,
)
from pipelines.runtime.errors import DataError
from tests.support.scenes import png_header


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
    with pytest.raises(ImageFault, match=f"^{name}: expected a whole .* found one that does not decode") as caught:
        decode(tmp_path / name)
    assert caught.value.check == "unreadable"
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files_are_named(tmp_path: Path, kind: str, share: float) -> None:
    rng = np.random.default_rng(0)
    path = save(tmp_path / f"whole.{kind}", Image.fromarray(rng.integers(0, 255, (90, 90), np.uint8)))
    (tmp_path / f"part.{kind}").write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ImageFault, match=rf"^part\.{kind}: expected a whole") as caught:
        decode(tmp_path / f"part.{kind}")
    assert caught.value.check == "unreadable"


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tif"])
def test_damage_gives_pixels_or_a_named_fault_and_no_other_error(tmp_path: Path, kind: str) -> None:
    """150 files of each format with a few bytes overwritten: a decoder's own complaint never comes through."""
    rng = np.random.default_rng(1)
    path = save(tmp_path / f"whole.{kind}", Image.fromarray(rng.integers(0, 255, (20, 20), np.uint8)))
    whole = path.read_bytes()
    found: set[str] = set()
    for number in range(150):
        torn = bytearray(whole)
        for place in rng.integers(0, min(len(torn), 300 if number % 2 else len(torn)), 3):
            torn[place] = rng.integers(0, 256)
        path.write_bytes(torn)
        try:
            found.add(str(decode(path).gray.dtype))
        except ImageFault as fault:
            found.add(fault.check)
    assert "unreadable" in found
    assert found <= {"uint8", "unreadable", "dimensions", "value range"}


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (9_000, 9_000), (10_000, 10_000), (20_001, 64)])
def test_absurd_dimensions_are_refused_before_decoding(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(width, height))
    tracemalloc.start()
    with pytest.raises(ImageFault, match=r"^bomb\.png: .*64 megapixels and 20000 pixels per side") as caught:
        decode(tmp_path / "bomb.png")
    assert caught.value.check == "dimensions"
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()


def test_animation_and_float_are_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(ramp()), Image.fromarray(ramp()[::-1])]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageFault, match="2 frames") as caught:
        decode(tmp_path / "moving.png")
    assert caught.value.check == "unreadable"
    save(tmp_path / "float.tif", Image.fromarray(ramp().astype(np.float32)))
    with pytest.raises(ImageFault, match="floating point") as caught:
        decode(tmp_path / "float.tif")
    assert caught.value.check == "value range"


def test_largest_value_of_sixteen_bits_is_kept(tmp_path: Path) -> None:
    values = np.full((64, 64), 9000, np.uint16)
    values[0, 0] = 16383
    assert decode(save(tmp_path / "deep.png", Image.fromarray(values))).deep == 16383
    assert decode(save(tmp_path / "flat.png", Image.fromarray(values.astype(np.uint8)))).deep == 0


@pytest.mark.parametrize(("top", "sound"), [(0, True), (1, False), (255, False), (4095, False), (4096, True)])
def test_eight_or_twelve_bits_in_a_16_bit_file_are_a_fault(tmp_path: Path, top: int, sound: bool) -> None:
    """Scaled by 65535 they would be near black, in silence."""
    path = save(tmp_path / "deep.png", Image.fromarray(np.linspace(0, top, 64 * 64).astype(np.uint16).reshape(64, 64)))
    if sound:
        assert decode_image(path).max() == (top + 128) // 257
    else:
        with pytest.raises(ImageFault, match=f"found values 0 to {top}") as caught:
            decode(path)
        assert caught.value.check == "value range"


def test_label_maps_keep_their_values(tmp_path: Path) -> None:
    values = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) % 3
    palette = Image.new("P", (64, 64))
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    palette.putdata(values.ravel().tolist())
    three = np.repeat(values[..., None], 3, 2)
    for name, image in (
        ("gray.png", Image.fromarray(values)),
        ("palette.png", palette),
        ("deep.png", Image.fromarray(values.astype(np.uint16))),
        ("rgb.png", Image.fromarray(three)),
        ("rgba.png", Image.fromarray(three).convert("RGBA")),
    ):
        assert np.array_equal(read_pixels(save(tmp_path / name, image), to_values), values), name
    bits = save(tmp_path / "bits.png", Image.fromarray(values > 0))
    assert np.array_equal(read_pixels(bits, to_values), values > 0)
    three[0, 0] = (9, 0, 0)
    for name, image in (
        ("colors.png", Image.fromarray(three)),
        ("float.tif", Image.fromarray(values.astype(np.float32))),
    ):
        with pytest.raises(ImageFault) as caught:
            read_pixels(save(tmp_path / name, image), to_values)
        assert caught.value.check == "value range"


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
