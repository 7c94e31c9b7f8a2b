from __future__ import annotations

from pathlib import Path

from pipelines.datasets.adapters.udiat import read
from tests.support import layouts


def test_published_layout(tmp_path: Path) -> None:
    layouts.udiat(tmp_path)
    found = read(tmp_path, None)
    assert [(case.case, case.masks[0].parent.name, case.class_name, case.identity) for case in found.cases] == [
        (name, "GT", "none", "") for name in ("000001", "000002", "000010")
    ]
    assert [(item.check, item.found) for item in found.findings] == [("count", "3")]
    assert "no redistribution" in found.terms


def test_the_whole_set_without_the_outer_folder(tmp_path: Path) -> None:
    layouts.touch(
        tmp_path, *(f"{folder}/{number:06d}.png" for folder in ("original", "GT") for number in range(1, 164))
    )
    found = read(tmp_path, None)
    assert (len(found.cases), found.findings) == (163, ())


def test_the_derived_pack_tells_the_class(tmp_path: Path) -> None:
    layouts.udiat(tmp_path, ("000009_Benign", "000010_Malignant"))
    found = read(tmp_path, None)
    assert [(case.case, case.class_name) for case in found.cases] == [
        ("000009_Benign", "benign"),
        ("000010_Malignant", "malignant"),
    ]
    assert (found.classes, found.layout) == (("benign", "malignant"), "pack with classes in the names")


def test_a_mixture_of_both_is_an_error(tmp_path: Path) -> None:
    layouts.udiat(tmp_path, ("000009", "000009_Benign"))
    assert [item.check for item in read(tmp_path, None).findings] == ["layout", "count"]


def test_faults(tmp_path: Path) -> None:
    layouts.touch(tmp_path, "BUS/original/1.png", "BUS/original/2.png", "BUS/GT/2.png", "BUS/GT/3.png", "BUS/4.png")
    assert sorted((item.check, item.case) for item in read(tmp_path, None).findings) == [
        ("count", ""),
        ("mask without image", "3"),
        ("missing mask", "1"),
        ("unread", "4"),
    ]


def test_another_layout_is_one_finding(tmp_path: Path) -> None:
    layouts.touch(tmp_path, "BUS/originals/1.png")
    (finding,) = read(tmp_path, None).findings
    assert finding.message == (
        "the set: expected original, GT in BUS or the top folder, found BUS/ (1 file); copy the published folder there "
        "(see docs/datasets.md)"
    )
