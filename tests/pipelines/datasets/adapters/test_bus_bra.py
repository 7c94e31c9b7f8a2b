from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.adapters.bus_bra import read, read_box
from pipelines.datasets.images import decode
from tests.support import layouts


def settings(*folds: int, test: int = 3) -> SimpleNamespace:
    return SimpleNamespace(folds=list(folds), test_fold=test)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.bus_bra(tmp_path)
    return tmp_path


def replace(root: Path, table: str, old: str, new: str) -> None:
    path = root / "BUSBRA" / table
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_only_the_folds_asked_for_are_read(root: Path) -> None:
    found = read(root, settings(2, 3))
    assert [(case.case, case.identity, case.official_part, case.class_name) for case in found.cases] == [
        ("bus_0001-l", "patient-0001", "test", "malignant"),
        ("bus_0001-r", "patient-0001", "test", "malignant"),
        ("bus_0002-l", "patient-0002", "val", "benign"),
        ("bus_0004-l", "patient-0004", "train", "malignant"),
        ("bus_0004-r", "patient-0004", "train", "malignant"),
    ]
    assert [case.masks[0].name for case in found.cases][2] == "mask_0002-l.png"
    assert found.cases[2].site == "Toshiba Aplio 300 @12-14 MHz"
    assert found.cases[3].published_size == (97, 80)  # the table is wrong there, which prepare will say
    assert [item.message for item in found.findings] == [
        "5-fold-cv.csv: expected patients in train or in validation, found 1 patients in both, first patient-0004; "
        "taken as train whole under split.protocol: official"
    ]


def test_official_parts_follow_the_test_fold(root: Path) -> None:
    parts = {case.case: case.official_part for case in read(root, settings(2, 3, 4, test=4)).cases}
    assert parts == {
        "bus_0001-l": "train",
        "bus_0001-r": "train",
        "bus_0002-l": "train",
        "bus_0003-s": "test",
        "bus_0004-l": "val",
        "bus_0004-r": "val",
    }
    replace(root, "5-fold-cv.csv", "bus_0002-l,benign,2,0,NaN,0", "bus_0002-l,benign,2,0,NaN,NaN")
    found = read(root, settings(2, 3))
    assert [case.official_part for case in found.cases] == ["test", "test", "", "train", "train"]
    first = found.findings[0]
    assert (first.check, first.case, first.found) == ("table", "bus_0002-l", "'NaN'")


def test_an_absent_fold_is_named(root: Path) -> None:
    found = read(root, settings(1, 2, test=2))
    assert [(item.check, item.message) for item in found.findings] == [
        ("layout", "5-fold-cv.csv: expected fold 1, found only 2, 3, 4; set datasets.bus_bra.folds")
    ]
    assert [case.case for case in found.cases] == ["bus_0002-l", "bus_0004-l", "bus_0004-r"]


def test_faults_are_findings(root: Path) -> None:
    base = root / "BUSBRA"
    (base / "Masks/mask_0001-l.png").unlink()
    (base / "Images/bus_0002-l.png").unlink()
    layouts.touch(base, "Images/bus_9999-l.png", "Masks/mask_9998-l.png")
    replace(root, "bus_data.csv", "bus_0004-l,4,x,malignant", "bus_0004-l,4,x,odd")
    found = read(root, settings(2, 3))
    assert sorted((item.check, item.case, item.file) for item in found.findings) == [
        ("missing mask", "bus_0001-l", "BUSBRA/Images/bus_0001-l.png"),
        ("table", "", "5-fold-cv.csv"),
        ("table", "bus_0002-l", "bus_data.csv"),
        ("table", "bus_9999-l", "BUSBRA/Images/bus_9999-l.png"),
        ("unread", "mask_9998-l", "BUSBRA/Masks/mask_9998-l.png"),
        ("value range", "bus_0004-l", "bus_data.csv"),
    ]
    assert found.cases[0].masks == ()


def test_tables_that_contradict_themselves(root: Path) -> None:
    replace(root, "5-fold-cv.csv", "bus_0003-s,benign,4", "bus_0001-l,malignant,2")
    found = read(root, settings(2, 3))
    assert [(item.check, item.case) for item in found.findings] == [
        ("layout", "bus_0001-l"),
        ("table", "bus_0003-s"),
        ("table", ""),
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("96,80,left", "90,40,left", "a BBOX inside 90 x 40 pixels"),
        ("96,80,left", "wide,80,left", "numbers in Width, Height and BBOX"),
        ('"[30,20,30,30]"', "none", "numbers in Width, Height and BBOX"),
    ],
)
def test_sizes_and_boxes_that_cannot_be_are_warnings(root: Path, old: str, new: str, expected: str) -> None:
    replace(root, "bus_data.csv", f"x,benign,4,Toshiba Aplio 300 @12-14 MHz,{old}" if "left" in old else old, "#")
    replace(root, "bus_data.csv", "#", f"x,benign,4,Toshiba Aplio 300 @12-14 MHz,{new}" if "left" in old else new)
    first = read(root, settings(2, test=2)).findings[0]
    assert (first.check, first.case, first.expected) == ("table", "bus_0002-l", expected)


@pytest.mark.parametrize("text", ["", "[1,2,3]", "[1,2,3,true]", "[1,2,3,-1]", "[1,2,3,4.5]", "{}", "[" * 100_000])
def test_what_is_no_box(text: str) -> None:
    assert read_box(text) is None


def test_a_name_in_a_table_leads_nowhere(root: Path) -> None:
    layouts.picture(root / "secret.png")
    replace(root, "bus_data.csv", "bus_0003-s", "../../secret")
    replace(root, "5-fold-cv.csv", "bus_0003-s", "../../secret")
    found = read(root, settings(4, test=4))
    assert found.cases == ()
    assert [(item.check, item.file, item.found) for item in found.findings if item.check == "link"] == [
        ("link", table, "'../../secret', which leads elsewhere, not followed")
        for table in ("bus_data.csv", "5-fold-cv.csv")
    ]


def test_classes_are_those_of_the_folds_that_are_read(root: Path) -> None:
    assert read(root, settings(4, test=4)).classes == ("benign",)
    assert read(root, settings(2, 3)).classes == ("benign", "malignant")


def test_images_in_other_folders_are_named(root: Path) -> None:
    layouts.touch(root / "BUSBRA", "Images/sub/other.png", "figure.png")
    assert [(item.check, item.file) for item in read(root, settings(3)).findings] == [
        ("unread", "BUSBRA/Images/sub/other.png"),
        ("unread", "BUSBRA/figure.png"),
    ]


def test_a_missing_table_is_one_finding(root: Path) -> None:
    (root / "BUSBRA/5-fold-cv.csv").unlink()
    (finding,) = read(root, settings(2, test=2)).findings
    assert finding.check == "layout"
    assert finding.expected == "Images, Masks, bus_data.csv, 5-fold-cv.csv in BUSBRA or the top folder"


def test_a_damaged_table_is_one_finding(root: Path) -> None:
    (root / "BUSBRA/5-fold-cv.csv").write_text("ID,kFold\nbus_0001-l,3\n")
    (finding,) = read(root, settings(3)).findings
    assert (finding.check, finding.found) == ("layout", "no column valid_3, but ID, kFold")


def test_as_published(shared_data: Path) -> None:
    """Folds 2 and 3. Sizes of the files by their headers; three of the four wrong rows lie in these folds."""
    found = read(shared_data / "bus_bra", settings(2, 3))
    assert [(item.check, item.found) for item in found.findings] == [
        ("table", "53 patients in both, first patient-0021")
    ]
    assert len(found.cases) == 751
    assert len({case.identity for case in found.cases}) == 426
    assert Counter(case.class_name for case in found.cases) == {"benign": 506, "malignant": 245}
    assert Counter(case.official_part for case in found.cases) == {"train": 358, "val": 27, "test": 366}
    parts = {part: {c.identity for c in found.cases if c.official_part == part} for part in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == 426  # no patient in two parts
    assert len({case.site for case in found.cases}) == 4
    assert all(case.image.name == f"{case.case}.png" for case in found.cases)
    wrong = [case for case in found.cases if case.published_size != header_size(case.image)]
    assert [case.case for case in wrong] == ["bus_0856-l", "bus_0857-r", "bus_0990-l"]
    assert decode(wrong[0].masks[0]).gray.shape == decode(wrong[0].image).gray.shape


def header_size(path: Path) -> tuple[int, int]:
    """(width, height) of a PNG file: bytes 16 to 23."""
    with path.open("rb") as handle:
        head = handle.read(24)
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
