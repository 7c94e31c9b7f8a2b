from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.adapters.tn3k import read
from pipelines.datasets.case import Dataset, Finding
from tests.support import layouts

FOLD = SimpleNamespace(fold=0)
NONE = SimpleNamespace(fold=None)


def parts(found: Dataset) -> dict[str, str]:
    return {case.case: case.official_part for case in found.cases}


def faults(found: Dataset) -> list[Finding]:
    return [item for item in found.findings if item.check != "count"]


@pytest.mark.parametrize("wrapper", ["", "tn3k", "Thyroid Dataset/tn3k"])
def test_positions_count_files_in_numeric_order(tmp_path: Path, wrapper: str) -> None:
    layouts.tn3k(tmp_path, wrapper)
    assert parts(read(tmp_path, SimpleNamespace(fold=3))) == {
        "test-0000": "test",
        "test-0001": "test",
        "trainval-0000": "train",
        "trainval-0002": "train",
        "trainval-0003": "train",
        "trainval-0007": "val",  # position 3
        "trainval-0010": "train",
    }


def test_numeric_order_is_not_the_order_of_names(tmp_path: Path) -> None:
    layouts.tn3k(tmp_path, "")
    for kind in ("image", "mask"):
        for old, new in (("0002", "9"), ("0003", "10")):  # 0, 7, 9, 10 by name; 0, 7, 9, 10, 10 clash by number
            (tmp_path / f"trainval-{kind}" / f"{old}.jpg").rename(tmp_path / f"trainval-{kind}" / f"{new}.jpg")
        (tmp_path / f"trainval-{kind}" / "0010.jpg").rename(tmp_path / f"trainval-{kind}" / "100.jpg")
    found = read(tmp_path, SimpleNamespace(fold=2))
    assert [case for case, part in parts(found).items() if part == "val"] == ["trainval-9"]
    assert faults(found) == []


def test_a_missing_file_shifts_nothing_in_silence(tmp_path: Path) -> None:
    layouts.tn3k(tmp_path, "tn3k")
    for kind in ("image", "mask"):
        (tmp_path / "tn3k" / f"trainval-{kind}" / "0002.jpg").unlink()
    found = read(tmp_path, FOLD)
    assert {case: part for case, part in parts(found).items() if part} == {"test-0000": "test", "test-0001": "test"}
    (finding,) = faults(found)
    assert (finding.check, finding.file, finding.expected, finding.found) == (
        "order",
        "tn3k-trainval-fold0.json",
        "5 images, as the lists count",
        "4",
    )
    assert "split.protocol: clean" in finding.remedy
    assert faults(read(tmp_path, NONE)) == []  # the other use stays possible


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"train": [0, 1, 2], "val": [3, 5]}', "0 to 5"),
        ('{"train": [0, 1, 2, 3], "val": [3, 4]}', "3 twice"),
        ('{"train": [0, 1, 2, 3], "val": [-1]}', "-1 to 3"),
        ('{"train": [0, 1, 2, 3], "val": [true]}', "something else"),
        ('{"train": ["../0000", 1, 2, 3], "val": [4]}', "something else"),
        ('{"train": [0, 1, 2, 3, 4]}', "something else"),
        ('{"train": 5, "val": [4]}', "something else"),
        ("[" * 100_000, "something else"),
        ('{"train": [0, 1', "something else"),
    ],
)
def test_lists_that_cannot_be_trusted_give_no_parts(tmp_path: Path, content: str, found: str) -> None:
    layouts.tn3k(tmp_path, "")
    (tmp_path / "tn3k-trainval-fold0.json").write_text(content)
    dataset = read(tmp_path, FOLD)
    assert [(item.check, item.found) for item in faults(dataset)] == [("order", found)]
    assert all(not part for case, part in parts(dataset).items() if case.startswith("trainval"))


def test_names_that_are_no_numbers_have_no_order(tmp_path: Path) -> None:
    layouts.tn3k(tmp_path, "")
    for kind in ("image", "mask"):
        (tmp_path / f"trainval-{kind}" / "0002.jpg").rename(tmp_path / f"trainval-{kind}" / "0003b.jpg")
    assert [(item.check, item.found) for item in faults(read(tmp_path, FOLD))] == [("order", "'0003b'")]
    for kind in ("image", "mask"):
        (tmp_path / f"trainval-{kind}" / "0003b.jpg").rename(tmp_path / f"trainval-{kind}" / "3.jpg")
    assert [(item.check, item.found) for item in faults(read(tmp_path, FOLD))] == [("order", "5 names of 4 numbers")]


def test_an_absent_list_is_an_order_fault_of_the_fold(tmp_path: Path) -> None:
    layouts.tn3k(tmp_path, "")
    (tmp_path / "tn3k-trainval-fold0.json").unlink()
    assert [item.check for item in faults(read(tmp_path, FOLD))] == ["order"]
    assert faults(read(tmp_path, SimpleNamespace(fold=1))) == []


def test_optional_classes(tmp_path: Path) -> None:
    layouts.tn3k(tmp_path, "")
    assert read(tmp_path, FOLD).classes == ("none",)
    rows = ["0000.jpg,0", "0002.jpg,1", "0003.jpg,0", "0007.jpg,1", "0010.jpg,1"]
    (tmp_path / "label4trainval.csv").write_text("\n".join([*rows, ""]))
    (tmp_path / "label4test.csv").write_text("0000.jpg,1\n0001.jpg,0\n")
    found = read(tmp_path, FOLD)
    assert [case.class_name[0] for case in found.cases] == list("mb" + "bmbmm")
    assert (found.classes, faults(found)) == (("benign", "malignant"), [])


def test_faults_of_the_classes(tmp_path: Path) -> None:
    layouts.tn3k(tmp_path, "")
    (tmp_path / "label4test.csv").write_text("name,label\n0000.jpg,1\n0000.jpg,0\n../0001.jpg,0\n0001.jpg,2\n")
    assert [(item.check, item.case) for item in faults(read(tmp_path, FOLD))] == [
        ("table", "test-name"),
        ("layout", "test-0000"),
        ("link", ""),
        ("table", "test-0001"),
        ("table", "test-0001"),
    ]


def test_pairs_and_counts(tmp_path: Path) -> None:
    layouts.tn3k(tmp_path, "tn3k")
    layouts.touch(tmp_path, "tn3k/test-image/0005.jpg", "tn3k/test-mask/0006.jpg", "tg3k/thyroid-image/0000.jpg")
    found = read(tmp_path, FOLD)
    assert [(item.check, item.case) for item in found.findings] == [
        ("count", ""),
        ("missing mask", "test-0005"),
        ("mask without image", "test-0006"),
        ("count", ""),
        ("unread", "0000"),
    ]
    assert found.findings[0].expected == "2879 trainval images as published"


@pytest.mark.slow
def test_the_published_counts_are_silent(tmp_path: Path) -> None:
    for half, count in (("trainval", 2879), ("test", 614)):
        names = [f"tn3k/{half}-{kind}/{number:04d}.jpg" for kind in ("image", "mask") for number in range(count)]
        layouts.touch(tmp_path, *names)
    lists = {"train": list(range(576, 2879)), "val": list(range(576))}
    (tmp_path / "tn3k" / "tn3k-trainval-fold0.json").write_text(json.dumps(lists))
    found = read(tmp_path, FOLD)
    assert found.findings == ()
    assert [list(parts(found).values()).count(part) for part in ("train", "val", "test")] == [2303, 576, 614]
