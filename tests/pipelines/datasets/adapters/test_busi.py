from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.adapters.busi import read
from pipelines.datasets.images import decode
from tests.support import layouts
from tests.support.layouts import touch

ALL = SimpleNamespace(classes=["benign", "malignant", "normal"])
BENIGN = SimpleNamespace(classes=["benign"])
# Where two masks are published; benign (195) has three (measured on the published files).
TWO_MASKS = [4, 25, 54, 58, 83, 92, 93, 98, 100, 163, 173, 181, 315, 346, 424]


def test_published_layout(tmp_path: Path) -> None:
    layouts.busi(tmp_path)
    found = read(tmp_path, ALL)
    assert [(case.case, case.class_name, case.lesion, len(case.masks)) for case in found.cases] == [
        ("benign (1)", "benign", True, 1),
        ("benign (10)", "benign", True, 3),
        ("benign (2)", "benign", True, 1),
        ("malignant (1)", "malignant", True, 1),
        ("malignant (2)", "malignant", True, 1),
        ("normal (1)", "normal", False, 1),
        ("normal (2)", "normal", False, 1),
    ]
    assert [path.name[11:] for path in found.cases[1].masks] == ["_mask.png", "_mask_1.png", "_mask_2.png"]
    assert (found.findings, found.expected["benign"], found.foreground) == ((), 437, ("lesion",))
    # every mode of the published masks decodes to black and white
    assert {int(value) for case in found.cases for path in case.masks for value in decode(path).gray.ravel()} == {
        0,
        255,
    }


@pytest.mark.parametrize("outer", ["", "Dataset_BUSI_with_GT/"])
def test_masks_are_in_the_order_of_their_numbers(tmp_path: Path, outer: str) -> None:
    touch(
        tmp_path,
        *(
            f"{outer}benign/benign (2){end}.png"
            for end in ("", "_mask", *(f"_mask_{number}" for number in range(1, 11)))
        ),
    )
    (case,) = read(tmp_path, BENIGN).cases
    assert [path.stem[10:] for path in case.masks] == ["_mask", *(f"_mask_{number}" for number in range(1, 11))]


@pytest.mark.parametrize(("images", "masks"), [("images", "mask"), ("images", "masks"), ("Images", "Mask")])
@pytest.mark.parametrize("suffix", ["", "_mask"])
def test_mirror_with_separate_folders(tmp_path: Path, images: str, masks: str, suffix: str) -> None:
    touch(tmp_path, *(f"benign/{images}/benign ({number}).png" for number in (1, 2)))
    touch(tmp_path, *(f"benign/{masks}/benign ({number}){suffix}.png" for number in (1, 2)))
    touch(tmp_path, f"benign/{masks}/benign (2)_mask_1.png")
    found = read(tmp_path, BENIGN)
    assert [(case.case, len(case.masks)) for case in found.cases] == [("benign (1)", 1), ("benign (2)", 2)]
    assert found.findings == ()


def test_unpaired_files_are_errors(tmp_path: Path) -> None:
    touch(tmp_path, "benign/benign (1).png", "benign/benign (2)_mask.png")
    assert {(item.check, item.case, item.file) for item in read(tmp_path, BENIGN).findings} == {
        ("missing mask", "benign (1)", "benign/benign (1).png"),
        ("mask without image", "benign (2)", "benign/benign (2)_mask.png"),
    }


@pytest.mark.parametrize(
    ("names", "second"),
    [
        (["a.jpg", "a.png", "a_mask.png"], "a.png"),
        (["a.PNG", "a.png", "a_mask.png"], "a.png"),
        (["p1/a.png", "p2/a.png", "a_mask.png"], "p2/a.png"),
    ],
)
def test_equal_names_but_for_the_ending_or_folder_are_errors(tmp_path: Path, names: list[str], second: str) -> None:
    touch(tmp_path, *(f"benign/{name}" for name in names))
    (finding,) = read(tmp_path, BENIGN).findings
    assert (finding.check, finding.file) == ("name", f"benign/{second}")
    assert finding.found.endswith("of the same name")


@pytest.mark.parametrize(
    ("names", "second"),
    [
        (["a.png", "a_mask.bmp", "a_mask.png"], "a_mask.png"),
        (["images/a.png", "mask/a.bmp", "mask/a.png"], "mask/a.png"),
    ],
)
def test_two_masks_of_one_name_are_ambiguous(tmp_path: Path, names: list[str], second: str) -> None:
    touch(tmp_path, *(f"benign/{name}" for name in names))
    (finding,) = read(tmp_path, BENIGN).findings
    assert (finding.check, finding.case, finding.file) == ("ambiguous mask", "a", f"benign/{second}")


@pytest.mark.parametrize(
    ("ends", "lacking"),
    [(["_mask_1", "_mask_2"], "a_mask"), (["_mask", "_mask_2"], "a_mask_1"), (["_mask_1"], "a_mask")],
)
def test_a_gap_in_the_numbers_of_masks_is_a_lost_mask(tmp_path: Path, ends: list[str], lacking: str) -> None:
    touch(tmp_path, "benign/a.png", *(f"benign/a{end}.png" for end in ends))
    (finding,) = read(tmp_path, BENIGN).findings
    assert (finding.check, finding.case, finding.file, finding.expected) == (
        "missing mask",
        "a",
        "benign/a.png",
        lacking,
    )


def test_masks_are_counted_where_all_images_of_a_class_are_there(tmp_path: Path) -> None:
    touch(tmp_path, *(f"normal/normal ({number}){end}.png" for number in range(1, 134) for end in ("", "_mask")))
    normal = SimpleNamespace(classes=["normal"])
    assert read(tmp_path, normal).findings == ()
    touch(tmp_path, "normal/normal (7)_mask_1.png")
    assert [(item.check, item.expected, item.found) for item in read(tmp_path, normal).findings] == [
        ("count", "133 masks of class normal as published", "134")
    ]
    (tmp_path / "normal/normal (1).png").unlink()
    (tmp_path / "normal/normal (1)_mask.png").unlink()
    assert read(tmp_path, normal).findings == ()  # a subset: the number of images is named elsewhere


def test_files_outside_the_class_folders_are_named(tmp_path: Path) -> None:
    base = "Dataset_BUSI_with_GT"
    touch(tmp_path, *(f"{base}/{name}/1{end}.png" for name in ("benign", "normal") for end in ("", "_mask")))
    touch(tmp_path, f"{base}/benigne/2.png", "figure.png")
    found = read(tmp_path, BENIGN)  # normal is left out on purpose: no warning
    assert [(item.check, item.file) for item in found.findings] == [
        ("unread", f"{base}/benigne/2.png"),
        ("unread", "figure.png"),
    ]


def test_links_out_are_named_and_not_read(tmp_path: Path) -> None:
    layouts.busi(tmp_path / "elsewhere")
    layouts.busi(tmp_path / "raw")
    base = tmp_path / "raw" / "Dataset_BUSI_with_GT" / "benign"
    for name in ("benign (1).png", "benign (2)_mask.png"):
        (base / name).unlink()
        (base / name).symlink_to(tmp_path / "elsewhere" / "Dataset_BUSI_with_GT" / "benign" / name)
    found = read(tmp_path / "raw", BENIGN)
    assert [case.case for case in found.cases] == ["benign (10)", "benign (2)"]
    assert sorted((item.check, item.case) for item in found.findings) == [
        ("link", "benign (1)"),
        ("link", "benign (2)_mask"),
        ("mask without image", "benign (1)"),
        ("missing mask", "benign (2)"),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["benign/benign (1).png", "benign/benign (1)_mask.png"], "found no malignant; copy"),
        (["pack/benign/a.png", "pack/malignant/b.png"], "found them in pack/: move that folder up; copy"),
        (["archive.zip"], "found archive.zip; copy"),
    ],
)
def test_a_missing_class_folder_is_one_finding_with_what_is_there(
    tmp_path: Path, names: list[str], message: str
) -> None:
    touch(tmp_path, *names)
    (finding,) = read(tmp_path, SimpleNamespace(classes=["benign", "malignant"])).findings
    assert finding.check == "layout"
    assert message in finding.message


def test_as_published(shared_data: Path) -> None:
    found = read(shared_data / "busi", ALL)
    assert len(found.cases) == 780
    assert Counter(case.class_name for case in found.cases) == found.expected
    assert sum(len(case.masks) for case in found.cases) == 798
    several = {case.case: len(case.masks) for case in found.cases if len(case.masks) > 1}
    expected = {f"benign ({number})": 2 for number in TWO_MASKS} | {"malignant (53)": 2, "benign (195)": 3}
    assert len(expected) == 17
    assert several == expected
    assert found.findings == ()


def test_lost_second_masks_are_named(shared_data: Path, tmp_path: Path) -> None:
    lost = ("benign (195)_mask.png", "benign (4)_mask_1.png", "malignant (53)_mask_1.png")
    source = next(path for path in (shared_data / "busi").rglob("benign") if path.is_dir()).parent
    touch(tmp_path, *(f"{path.parent.name}/{path.name}" for path in source.rglob("*.png") if path.name not in lost))
    assert [(item.check, item.case, item.expected, item.found) for item in read(tmp_path, ALL).findings] == [
        ("missing mask", "benign (195)", "benign (195)_mask", "only benign (195)_mask_1, benign (195)_mask_2"),
        ("count", "", "454 masks of class benign as published", "452"),
        ("count", "", "211 masks of class malignant as published", "210"),
    ]
