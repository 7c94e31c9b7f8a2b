"""Masks, label maps and outlines to one label map; every fault of a mask file, on files."""

from __future__ import annotations

import struct
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipelines.datasets.case import Case
from pipelines.datasets.labels import areas_by_rule, read_labels

SIZE = (70, 90)


def square(top: int, left: int, side: int = 20) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def case(folder: Path, *masks: np.ndarray | Image.Image, suffix: str = "png", **fields: object) -> Case:
    """A case with these mask files, in a folder of its own."""
    paths = []
    folder = Path(tempfile.mkdtemp(dir=folder))
    for number, mask in enumerate(masks):
        image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        image.save(folder / f"mask{number}.{suffix}")
        paths.append(folder / f"mask{number}.{suffix}")
    return replace(Case("x", folder / "x.png", tuple(paths), "benign"), **fields)  # type: ignore[arg-type]


def read(made: Case, foreground: int = 1, size: tuple[int, int] | None = SIZE):
    return read_labels(made, size, foreground, lambda path: path.name)


def test_several_masks_of_one_class_are_merged(tmp_path: Path) -> None:
    left, right = square(10, 10), square(20, 20)
    found, findings = read(case(tmp_path, left * np.uint8(255), right))
    assert found is not None
    assert findings == []
    assert np.array_equal(found.label, (left | right).astype(np.uint8))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_black_and_white_in_every_mode(tmp_path: Path, mode: str) -> None:
    white = square(10, 10) * np.uint8(255)
    if mode == "I;16":
        image = Image.fromarray(white.astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):  # alpha says nothing: transparent everywhere
        image = Image.fromarray(white).convert(mode)
        image.putalpha(0)
    else:
        image = Image.fromarray(white).convert(mode)
    found, findings = read(case(tmp_path, image))
    assert findings == []
    assert found is not None
    assert np.array_equal(found.label, square(10, 10).astype(np.uint8))


def test_jpeg_ringing_is_no_lesion(tmp_path: Path) -> None:
    found, _ = read(case(tmp_path, square(16, 16, 32) * np.uint8(255), suffix="jpg"))
    assert found is not None
    assert np.array_equal(found.label, square(16, 16, 32).astype(np.uint8))


def test_classes_per_file_and_their_overlap(tmp_path: Path) -> None:
    low, high = square(10, 10), square(20, 20)
    made = case(tmp_path, high * np.uint8(255), low * np.uint8(255), mask_classes=(2, 1))
    found, findings = read(made, foreground=2)
    assert found is not None
    expected = low.astype(np.uint8)
    expected[high] = 2
    assert np.array_equal(found.label, expected)
    assert [(item.check, item.found) for item in findings] == [("overlap", "100 pixels of several")]
    assert read(replace(made, mask_classes=(1, 1)))[1] == []  # of one class they may overlap
    with pytest.raises(ValueError, match="adapter"):
        read(made, foreground=1)


def test_label_map(tmp_path: Path) -> None:
    values = square(10, 10).astype(np.uint8) + square(20, 20).astype(np.uint8)
    found, findings = read(case(tmp_path, values, label_map=True), foreground=2)
    assert found is not None
    assert findings == []
    assert np.array_equal(found.label, values)
    _, findings = read(case(tmp_path, values, label_map=True), foreground=1)
    assert [(item.check, item.expected, item.found) for item in findings] == [
        ("value range", "labels 0 to 1", "also 2")
    ]
    _, findings = read(case(tmp_path, values * np.uint8(255), label_map=True), foreground=2)
    assert findings[0].found == "also 254, 255"


def test_faults_of_values(tmp_path: Path) -> None:
    drawn = square(10, 10)
    for made, words in (
        (case(tmp_path, drawn * np.uint8(1)), "nothing above 1"),
        (case(tmp_path, drawn * np.uint16(255)), "values 0 to 255"),
        (case(tmp_path, drawn.astype(np.float32), suffix="tif"), "floating point pixels"),
        (case(tmp_path, drawn * np.uint8(1), suffix="jpg", label_map=True), "a JPEG"),
        (case(tmp_path, drawn * np.uint8(1), suffix="jpeg", label_map=True), "a JPEG"),
    ):
        found, findings = read(made)
        assert found is None
        assert [(item.check, item.found) for item in findings] == [("value range", words)]
    normal = replace(case(tmp_path, drawn * np.uint8(1)), lesion=False)
    assert read(normal)[1] == []  # there the truth is an empty mask, and noise stays below the threshold


def few_bits(path: Path, values: np.ndarray, bits: int) -> None:
    """A gray PNG of fewer bits per pixel than Pillow writes, (h, w) with w * bits a multiple of 8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape
    planes = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(planes.reshape(height, -1).astype(np.uint8), axis=1)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize(("bits", "found"), [(2, "also 85, 170"), (4, "also 17, 34")])
def test_label_maps_of_few_bits_are_to_be_saved_with_eight(tmp_path: Path, bits: int, found: str) -> None:
    values = np.zeros((70, 88), np.uint8)
    values[10:30, 10:30] = 1
    values[40:50, 10:30] = 2
    made = case(tmp_path, values, label_map=True)
    assert read(made, foreground=2, size=(70, 88))[1] == []
    few_bits(made.masks[0], values, bits)
    _, findings = read(made, foreground=2, size=(70, 88))
    assert [(item.check, item.found) for item in findings] == [("value range", found)]
    assert findings[0].remedy.endswith("save with 8 bits")


def test_black_and_white_where_labels_are_expected(tmp_path: Path) -> None:
    _, findings = read(case(tmp_path, square(10, 10) * np.uint8(255), label_map=True))
    assert findings[0].remedy.startswith("set `masks: binary`")
    values = square(10, 10) * np.uint8(255)
    values[0, 0] = 1
    _, findings = read(case(tmp_path, values, label_map=True))
    assert findings[0].remedy == "correct the file, or name each class in `foreground`"


def test_areas_of_lossy_masks_by_three_rules(tmp_path: Path) -> None:
    values = np.array([[0, 127, 128, 149], [150, 240, 250, 250]], np.uint8)
    assert areas_by_rule(values) == (6, 4, 2)
    assert areas_by_rule(values * np.uint8(0)) == (0, 0, 0)
    drawn = gaussian_filter(square(13, 13, 30) * np.uint8(255), 1)
    for suffix in ("jpg", "jpeg"):
        made = case(tmp_path, drawn, square(40, 50) * np.uint8(255), suffix=suffix)
        found, _ = read(made)
        each = [areas_by_rule(np.array(Image.open(path))) for path in made.masks]
        assert found is not None
        assert found.rules == tuple(map(sum, zip(*each, strict=True)))
        assert found.rules[1] > found.rules[2] > 0
    found, _ = read(case(tmp_path, drawn))
    assert found is not None
    assert found.rules == ()


def test_size_must_be_that_of_the_image(tmp_path: Path) -> None:
    large = np.kron(square(10, 10).astype(np.uint8) * 255, np.ones((2, 2), np.uint8))
    found, findings = read(case(tmp_path, large))
    assert found is None
    assert [(item.check, item.file, item.expected, item.found) for item in findings] == [
        ("mask size", "mask0.png", "90 x 70 like its image", "180 x 140")
    ]
    found, findings = read(case(tmp_path, large, resize_mask=True))
    assert [item.check for item in findings] == ["resized mask"]
    assert found is not None
    assert np.array_equal(found.label, square(10, 10).astype(np.uint8))


def test_every_broken_file_of_a_case_is_named(tmp_path: Path) -> None:
    made = case(tmp_path, square(0, 0), square(1, 1), square(2, 2))
    made.masks[0].write_bytes(made.masks[0].read_bytes()[:60])
    made.masks[2].unlink()
    for size in (SIZE, None):
        found, findings = read(made, size=size)
        assert found is None
        assert [(item.check, item.file) for item in findings] == [
            ("unreadable", "mask0.png"),
            ("unreadable", "mask2.png"),
        ]


def test_gray_pixels_are_measured(tmp_path: Path) -> None:
    mask = square(10, 10) * np.uint8(255)
    mask[0, :63] = 60
    found, _ = read(case(tmp_path, mask))
    assert found is not None
    assert found.gray == pytest.approx(63 / (70 * 90))


def test_outlines_are_filled_and_merged(tmp_path: Path) -> None:
    def box(left: float, top: float, right: float, bottom: float) -> tuple[tuple[float, float], ...]:
        return (left, top), (right, top), (right, bottom), (left, bottom)

    outlines = (box(10, 20, 29, 39), box(20, 30, 49, 49))
    found, findings = read(case(tmp_path, polygons=outlines))
    expected = np.zeros(SIZE, np.uint8)
    expected[20:40, 10:30] = 1
    expected[30:50, 20:50] = 1
    assert found is not None
    assert findings == []
    assert np.array_equal(found.label, expected)
    found, findings = read(case(tmp_path, polygons=(box(-50, 60, 9, 200),)))
    assert found is not None
    assert found.label.sum() == 10 * 10
    assert [(item.check, item.found) for item in findings] == [("clipped outline", "3 points outside")]
    for wrong in (box(0, 0, 9, float("nan")), box(0, 0, 9, 1e9), box(0, 0, 9, 9)[:2]):
        found, findings = read(case(tmp_path, polygons=(wrong,)))
        assert found is None
        assert [item.check for item in findings] == ["value range"]
