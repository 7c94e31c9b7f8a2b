from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.adapters.busi import read
from pipelines.runtime.errors import DataError

ALL = SimpleNamespace(classes=["benign", "malignant", "normal"])
# Where two masks are published; benign (195) has three (measured on the published files).
TWO_MASKS = [4, 25, 54, 58, 83, 92, 93, 98, 100, 163, 173, 181, 315, 346, 424]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize("outer", ["", "Dataset_BUSI_with_GT/"])
def test_published_layout_with_and_without_the_outer_folder(tmp_path: Path, outer: str) -> None:
    touch(tmp_path, f"{outer}benign/benign (10).png", f"{outer}benign/benign (10)_mask.png")
    touch(tmp_path, f"{outer}benign/benign (2).png", f"{outer}benign/benign (2)_mask_1.png")
    touch(tmp_path, f"{outer}benign/benign (2)_mask.png", f"{outer}benign/benign (2)_mask_10.png")
    touch(tmp_path, f"{outer}normal/normal (1).png", f"{outer}normal/normal (1)_mask.png")
    found = read(tmp_path, SimpleNamespace(classes=["benign", "normal"]))
    assert [case.case for case in found.cases] == ["benign (10)", "benign (2)", "normal (1)"]
    assert [path.name[10:] for path in found.cases[1].masks] == ["_mask.png", "_mask_1.png", "_mask_10.png"]
    assert [case.lesion for case in found.cases] == [True, True, False]
    assert found.findings == ()


def test_mirror_with_separate_folders(tmp_path: Path) -> None:
    touch(tmp_path, "benign/images/benign (1).png", "benign/mask/benign (1).png")
    found = read(tmp_path, SimpleNamespace(classes=["benign"]))
    assert [(case.case, len(case.masks)) for case in found.cases] == [("benign (1)", 1)]


def test_unpaired_files_are_errors(tmp_path: Path) -> None:
    touch(tmp_path, "benign/benign (1).png", "benign/benign (2)_mask.png")
    found = read(tmp_path, SimpleNamespace(classes=["benign"]))
    assert {(item.severity, item.check, item.case) for item in found.findings} == {
        ("error", "missing mask", "benign (1)"),
        ("error", "mask without image", "benign (2)"),
    }


@pytest.mark.parametrize(
    ("names", "second"),
    [
        (["a.jpg", "a.png", "a_mask.png"], "a.png"),
        (["p1/a.png", "p2/a.png", "a_mask.png"], "p2/a.png"),
        (["a.png", "a_mask.bmp", "a_mask.png"], "a_mask.png"),
        (["images/a.png", "mask/a.bmp", "mask/a.png"], "mask/a.png"),
    ],
)
def test_equal_names_but_for_the_ending_or_folder_are_errors(tmp_path: Path, names: list[str], second: str) -> None:
    touch(tmp_path, *(f"benign/{name}" for name in names))
    (finding,) = read(tmp_path, SimpleNamespace(classes=["benign"])).findings
    assert (finding.severity, finding.check) == ("error", "name")
    assert finding.message.startswith(f"benign/{second}: the same name as benign/")


def test_files_outside_the_class_folders_are_named(tmp_path: Path) -> None:
    touch(
        tmp_path, *(f"Dataset_BUSI_with_GT/{name}/1{end}.png" for name in ("benign", "normal") for end in ("", "_mask"))
    )
    touch(tmp_path, "Dataset_BUSI_with_GT/benigne/2.png", "figure.png")
    found = read(tmp_path, SimpleNamespace(classes=["benign"]))  # normal is left out on purpose: no warning
    assert [(item.severity, item.check, item.message.partition(":")[0]) for item in found.findings] == [
        ("warning", "unread", "Dataset_BUSI_with_GT/benigne/2.png"),
        ("warning", "unread", "figure.png"),
    ]


def test_missing_class_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "benign/benign (1).png")
    with pytest.raises(DataError, match="missing malignant, found benign"):
        read(tmp_path, SimpleNamespace(classes=["benign", "malignant"]))


def test_published_counts(shared_data: Path) -> None:
    found = read(shared_data / "busi", ALL)
    assert len(found.cases) == 780
    assert Counter(case.class_name for case in found.cases) == found.expected
    assert sum(len(case.masks) for case in found.cases) == 798
    several = {case.case: len(case.masks) for case in found.cases if len(case.masks) > 1}
    expected = {f"benign ({number})": 2 for number in TWO_MASKS} | {"malignant (53)": 2, "benign (195)": 3}
    assert several == expected
    assert found.findings == ()
