from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.integrity import (
    as_report,
    check_counts,
    check_image,
    check_mask,
    check_names,
    ordered,
    table,
)


def case(name: str = "x", *, class_name: str = "benign", size: tuple[int, int] | None = None) -> Case:
    return Case(name, Path("x.png"), (), class_name, lesion=class_name != "normal", published_size=size)


def kinds(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.check) for finding in findings]


def disc(height: int = 100, width: int = 120, radius: int = 20) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.hypot(y - height / 2, x - width / 2) < radius


TISSUE = np.random.default_rng(0).integers(30, 200, (100, 120), np.uint8)


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "new\nline", "nul\0", "..", "x" * 300])
def test_hostile_names_are_errors(name: str) -> None:
    findings = check_names([case(name)])
    assert set(kinds(findings)) == {("error", "name")}
    assert all("\n" not in finding.message and "\0" not in finding.message for finding in findings)


def test_twins_are_errors() -> None:
    assert check_names([case("benign (1)"), case("benign (2)")]) == []
    assert "same name as Case" in check_names([case("Case"), case("case")])[0].message
    assert kinds(check_names([case("caf\u00e9"), case("cafe\u0301")])) == [("error", "name")]


def test_counts_against_the_published_ones() -> None:
    dataset = Dataset("toy", "toy", (case(),), ("benign",), ("lesion",), "", "", expected={"benign": 2})
    assert "expected 2 images as published, found 1" in check_counts(dataset)[0].message
    assert kinds(check_counts(dataset)) == [("warning", "count")]
    absent = Dataset("toy", "toy", (case(),), ("benign", "malignant"), ("lesion",), "", "", expected={"malignant": 2})
    assert [item.message for item in check_counts(absent)] == [
        "class malignant: expected at least 1 image, found 0; add images or drop the class"
    ]


def test_sound_image_passes() -> None:
    assert check_image(case(size=(120, 100)), TISSUE, 0.0) == []


@pytest.mark.parametrize(
    ("gray", "color", "expected"),
    [
        (TISSUE[:40], 0.0, ("error", "size")),
        (np.full((100, 120), 7, np.uint8), 0.0, ("warning", "constant image")),
        (disc() * np.uint8(255), 0.0, ("error", "swapped")),
        (TISSUE, 0.02, ("flag", "color")),
    ],
)
def test_faults_of_images(gray: np.ndarray, color: float, expected: tuple[str, str]) -> None:
    assert kinds(check_image(case(), gray, color)) == [expected]


def test_size_in_a_table() -> None:
    finding = check_image(case(size=(120, 99)), TISSUE, 0.0)[0]
    assert finding.severity == "warning"
    assert "says 120 x 99, the file is 120 x 100" in finding.message


def masks(mask: np.ndarray) -> list[tuple[str, str]]:
    return kinds(check_mask(case(), [mask.astype(np.uint8) * 255], mask))


def test_sound_mask_passes() -> None:
    assert masks(disc()) == []


def test_faults_of_masks() -> None:
    assert masks(np.zeros((100, 120), bool)) == [("warning", "empty mask")]
    assert masks(~disc()) == [("error", "inverted mask")]
    assert masks(disc(radius=1)) == [("warning", "area"), ("warning", "components")]
    speckled = disc()
    speckled[0, 0] = True
    assert masks(speckled) == [("warning", "components")]
    gray = np.where(disc(), 100, 0).astype(np.uint8)
    assert kinds(check_mask(case(), [gray], disc())) == [("warning", "mask values")]


def test_normal_class_must_be_empty() -> None:
    normal = case(class_name="normal")
    assert check_mask(normal, [], np.zeros((100, 120), bool)) == []
    assert kinds(check_mask(normal, [], disc())) == [("error", "mask")]


def test_one_table_with_errors_first() -> None:
    findings = [Finding("flag", "color", f"c{index:02d}", f"c{index:02d}: colored") for index in range(20)]
    findings += [Finding("error", "unreadable", "z", "z: does not decode"), Finding("warning", "area", "y", "y: tiny")]
    assert [item.severity for item in ordered(findings)][:3] == ["error", "warning", "flag"]
    text = table(findings).splitlines()
    assert text[0].split() == ["error", "unreadable", "1"]
    assert text[1].strip() == "z: does not decode"
    assert text[-1].strip() == "... and 8 more, see integrity.json"
    report = as_report(Dataset("toy", "toy", (), (), (), "", ""), findings, {"images": 3})
    assert (report["errors"], report["warnings"], report["flags"], report["images"]) == (1, 1, 20, 3)
    assert report["findings"][0]["case"] == "z"
