from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.checks import (
    MAX_NAME,
    check_counts,
    check_image,
    check_label,
    check_names,
    check_reduced,
    check_working_size,
)
from pipelines.datasets.images import Decoded, decode


def case(name: str = "x", *, class_name: str = "benign", size: tuple[int, int] | None = None) -> Case:
    return Case(name, Path("x.png"), (), class_name, lesion=class_name != "normal", published_size=size)


def kinds(findings: Sequence[Finding]) -> list[str]:
    return [finding.check for finding in findings]


def disc(height: int = 100, width: int = 120, radius: int = 20) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (np.hypot(y - height / 2, x - width / 2) < radius).astype(np.uint8)


TISSUE = np.random.default_rng(0).integers(30, 200, (100, 120), np.uint8)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "new\nline", "nul\0", "..", "x" * 300, "\udcff.png", "a\u202eb"]
)
def test_hostile_names_are_errors(name: str) -> None:
    findings = check_names([case(name)])
    assert set(kinds(findings)) == {"name"}
    assert all(finding.message.isprintable() for finding in findings)


def test_longest_name() -> None:
    assert MAX_NAME == 120
    assert check_names([case("x" * 120)]) == []
    assert [(item.check, item.found) for item in check_names([case("x" * 121)])] == [("name", "121")]


def test_twins_are_errors() -> None:
    assert check_names([case("benign (1)"), case("benign (2)")]) == []
    assert "found that of Case; rename one" in check_names([case("Case"), case("case")])[0].message
    assert kinds(check_names([case("caf\u00e9"), case("cafe\u0301")])) == ["name"]


def test_counts_against_the_published_ones() -> None:
    dataset = Dataset("toy", "toy", (case(),), ("benign",), ("lesion",), "", "", expected={"benign": 2})
    assert "expected 2 images of class benign as published, found 1" in check_counts(dataset)[0].message
    assert kinds(check_counts(dataset)) == ["count"]
    absent = Dataset("toy", "toy", (case(),), ("benign", "malignant"), ("lesion",), "", "", expected={"malignant": 2})
    assert [(item.check, item.message) for item in check_counts(absent)] == [
        (
            "layout",
            "the set: expected at least 1 image of class malignant, found 0; add images or drop the class",
        )
    ]


def test_sound_image_passes() -> None:
    assert check_image(case(size=(120, 100)), "x.png", Decoded(TISSUE, 0.0)) == []


@pytest.mark.parametrize(
    ("gray", "color", "expected"),
    [
        (TISSUE[:40], 0.0, "small image"),
        (TISSUE[:64, :64], 0.0, None),
        (np.full((100, 120), 7, np.uint8), 0.0, "constant image"),
        (disc() * np.uint8(255), 0.0, "swapped"),
        (TISSUE, 0.02, "color"),
        (TISSUE, 0.001, None),
    ],
)
def test_faults_of_images(gray: np.ndarray, color: float, expected: str | None) -> None:
    assert kinds(check_image(case(), "x.png", Decoded(gray, color))) == ([expected] if expected else [])


def test_a_mask_in_place_of_the_image_is_told_by_its_lack_of_gray() -> None:
    gray = np.zeros((100, 100), np.uint8)
    gray[50:] = 255
    gray[0], gray[1], gray[2] = 20, 235, 128  # two rows at the edge of the range, which are no gray levels
    gray[3:6] = 21
    gray[6, :99] = 234
    found = check_image(case(), "x.png", Decoded(gray, 0.0))
    assert [(item.check, item.expected, item.found) for item in found] == [
        ("swapped", "5 % of pixels between 20 and 235", "5.0 %")
    ]
    gray[6, 99] = 234
    assert check_image(case(), "x.png", Decoded(gray, 0.0)) == []


@pytest.mark.parametrize("quality", [95, 75, 50, 30])
@pytest.mark.parametrize(("height", "width", "radius"), [(64, 64, 12), (100, 120, 20), (300, 400, 60)])
def test_a_jpeg_mask_in_place_of_the_image(tmp_path: Path, quality: int, height: int, width: int, radius: int) -> None:
    Image.fromarray(disc(height, width, radius) * np.uint8(255)).save(tmp_path / "x.jpg", quality=quality)
    assert kinds(check_image(case(), "x.jpg", decode(tmp_path / "x.jpg"))) == ["swapped"]


def test_no_real_image_passes_for_a_mask(shared_data: Path) -> None:
    images = [path for path in sorted((shared_data / "busi").rglob("*.png")) if "_mask" not in path.name][::10]
    images += sorted((shared_data / "busi").rglob("benign (385).png"))  # the one with the least gray
    assert len(images) >= 60
    for path in images:
        assert "swapped" not in kinds(check_image(case(), path.name, decode(path)))


@pytest.mark.parametrize(("deep", "expected"), [(0, []), (1, ["dark image"]), (32767, ["dark image"]), (32768, [])])
def test_sixteen_bits_of_which_the_upper_ones_are_not_used(deep: int, expected: list[str]) -> None:
    assert kinds(check_image(case(), "x.png", Decoded(TISSUE, 0.0, deep))) == expected


def test_size_in_a_table() -> None:
    finding = check_image(case(size=(120, 99)), "Images/x.png", Decoded(TISSUE, 0.0))[0]
    assert (finding.check, finding.file) == ("table", "Images/x.png")
    assert "expected 120 x 99 as the owner's table says, found 120 x 100" in finding.message


def labels(label: np.ndarray, gray: float = 0.0) -> list[str]:
    return kinds(check_label(case(), "x.png", label, gray))


def test_faults_of_labels() -> None:
    assert labels(disc()) == []
    assert labels(disc() * np.uint8(3)) == []
    assert labels(disc() * np.uint8(0)) == ["empty mask"]
    assert labels(np.full((100, 120), 2, np.uint8)) == ["full mask"]
    assert labels(1 - disc()) == ["inverted mask"]
    frame = np.ones((100, 120), np.uint8)
    frame[10:90, 10:110] = 0
    assert labels(frame) == []  # all of the border, but a third of the image
    frame[40:60, 10:110] = 1
    frame[30:70, 10:110] = 1
    assert frame.mean() > 0.5
    assert labels(frame) == ["inverted mask"]
    assert labels(disc(radius=1)) == ["area", "components"]
    assert labels(disc(), 0.0011) == ["mask values"]
    assert labels(disc(), 0.0009) == []


def test_regions_are_counted() -> None:
    label = np.zeros((100, 120), np.uint8)
    for number in range(5):
        label[10:20, 20 * number : 20 * number + 10] = 1
    assert labels(label) == []
    label[30:32, 0:9] = 1  # a sixth one, of 18 pixels
    found = check_label(case(), "x.png", label, 0.0)
    assert [(item.check, item.found) for item in found] == [("components", "6")]
    label[10:20, 80:90] = 0
    found = check_label(case(), "x.png", label, 0.0)
    assert [(item.check, item.found) for item in found] == [("components", "1 of 5 below")]


def test_area_limits() -> None:
    label = np.zeros((200, 200), np.uint8)
    label[:5, :4] = 1
    assert labels(label) == []  # .0005 of the image, 20 pixels
    label[0, 0] = 0
    assert labels(label) == ["area", "components"]


def test_normal_class_must_be_empty() -> None:
    normal = case(class_name="normal")
    assert check_label(normal, "x.png", np.zeros((100, 120), np.uint8), 0.0) == []
    assert kinds(check_label(normal, "x.png", disc(), 0.0)) == ["lesion in a normal case"]


def test_lesion_that_the_working_size_loses() -> None:
    native = disc().copy()
    native[50, 60] = 2
    small = np.where(native == 2, 0, native)
    found = check_working_size(case(), "x.png", native, small)
    assert [(item.check, item.found) for item in found] == [("vanished lesion", "1 native pixels")]
    assert check_working_size(case(), "x.png", native, native) == []


def test_reduced_copy() -> None:
    dataset = Dataset("toy", "toy", (case(),), ("benign",), ("lesion",), "", "", reduced_below=352)
    assert kinds(check_reduced(dataset, 352)) == ["reduced copy"]
    assert check_reduced(dataset, 353) == []
    assert check_reduced(dataset, 0) == []
