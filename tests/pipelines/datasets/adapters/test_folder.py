from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.adapters.folder import read
from pipelines.runtime.errors import DataError

SETTINGS = SimpleNamespace(foreground="nodule")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize("folder", ["masks", "labels", "gt", "masks/0"])
@pytest.mark.parametrize("suffix", ["", "_mask", "_gt", "_seg"])
def test_pairs_by_name(tmp_path: Path, folder: str, suffix: str) -> None:
    touch(tmp_path, "images/b.png", "images/a.JPG", f"{folder}/a{suffix}.png", f"{folder}/b{suffix}.png")
    found = read(tmp_path, SETTINGS)
    assert [(case.case, case.image.name, case.masks[0].name) for case in found.cases] == [
        ("a", "a.JPG", f"a{suffix}.png"),
        ("b", "b.png", f"b{suffix}.png"),
    ]
    assert found.foreground == ("nodule",)
    assert found.classes == ("none",)
    assert found.findings == ()


def test_every_fault_of_a_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "images/c.png", "images/c.jpg", "masks/c.png")
    touch(tmp_path, "masks/b.png", "masks/b_mask.png", "masks/x.png")
    found = {(item.severity, item.check, item.case) for item in read(tmp_path, SETTINGS).findings}
    assert found == {
        ("error", "missing mask", "a"),
        ("error", "ambiguous mask", "b"),
        ("error", "mask without image", "x"),
        ("error", "name", "c"),
    }


def test_lists_become_parts(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "labels/a.png", "labels/b.png")
    (tmp_path / "train.txt").write_text("a.png\n\n")
    (tmp_path / "test.txt").write_text("b\n")
    assert [case.official_part for case in read(tmp_path, SETTINGS).cases] == ["train", "test"]
    (tmp_path / "val.txt").write_text("a\n")
    with pytest.raises(DataError, match="a is also in train"):
        read(tmp_path, SETTINGS)
    (tmp_path / "val.txt").unlink()
    (tmp_path / "test.txt").write_text("")
    with pytest.raises(DataError, match="1 images are in no list, first b"):
        read(tmp_path, SETTINGS)


def test_groups_name_patients_and_classes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{kind}/{name}.png" for kind in ("images", "masks") for name in "abc"))
    (tmp_path / "groups.csv").write_text("case,group,class\na,p1,benign\nb,p1,normal\nz,p9,benign\n")
    found = read(tmp_path, SETTINGS)
    assert [(case.identity, case.class_name, case.lesion) for case in found.cases] == [
        ("p1", "benign", True),
        ("p1", "normal", False),
        ("", "none", True),
    ]
    assert [item.case for item in found.findings] == ["c", "z"]
    assert found.classes == ("benign", "none", "normal")


def test_groups_name_files_with_or_without_their_ending(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{kind}/{name}.png" for kind in ("images", "masks") for name in ("a", "b", "c.1", "d")))
    (tmp_path / "groups.csv").write_text("case,group,class\na.png,p1,x\nb,p1,x\nc.1.PNG,p2,x\n d.png ,p2,x\n")
    found = read(tmp_path, SETTINGS)
    assert [(case.case, case.identity) for case in found.cases] == [
        ("a", "p1"),
        ("b", "p1"),
        ("c.1", "p2"),
        ("d", "p2"),
    ]
    assert found.findings == ()


def test_groups_that_match_no_image_are_one_error(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "masks/a.png", "masks/b.png")
    (tmp_path / "groups.csv").write_text("case,group\nscan a,p1\nscan b,p1\n")
    (finding,) = read(tmp_path, SETTINGS).findings
    assert (finding.severity, finding.check) == ("error", "table")
    assert "'scan a'" in finding.message


def test_two_groups_or_classes_of_one_case_are_an_error(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{kind}/{name}.png" for kind in ("images", "masks") for name in "abc"))
    rows = ["a,p1,x", "a.png,p2,x", "b,p1,x", "b.png,p1,x", "c,p3,x", "c.png,p3,y"]
    (tmp_path / "groups.csv").write_text("\n".join(["case,group,class", *rows, ""]))
    findings = read(tmp_path, SETTINGS).findings
    assert [(item.severity, item.case, item.message.partition(",")[0]) for item in findings] == [
        ("error", "a", "a: two groups in groups.csv"),
        ("error", "c", "c: two classes in groups.csv"),
    ]


def test_image_files_that_no_rule_reads_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/p2/c.png", "masks/a.png", "masks/p2/deep/c.png", "gt/a.png", "figure.png")
    found = read(tmp_path, SETTINGS)
    assert [case.case for case in found.cases] == ["a"]
    assert [(item.severity, item.message) for item in found.findings] == [
        ("warning", f"{name}: is read by no rule; move or remove it")
        for name in ("figure.png", "gt/a.png", "images/p2/c.png", "masks/p2/deep/c.png")
    ]


def test_sidecar_names_equal_stems_and_files_that_no_rule_reads(tmp_path: Path) -> None:
    touch(tmp_path, "cyst/a.png", "cyst/a.jpg", "cyst/a_mask.png", "stone/images/b.png", "stone/mask/b.png")
    findings = {
        (item.severity, item.check, item.message.partition(":")[0]) for item in read(tmp_path, SETTINGS).findings
    }
    assert findings == {
        ("error", "name", "cyst/a.png"),
        ("warning", "unread", "stone/images/b.png"),
        ("warning", "unread", "stone/mask/b.png"),
    }


def test_sidecar_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "cyst/1.png", "cyst/1_mask.png", "stone/2.png", "stone/2_mask.png", "stone/2_mask_1.png")
    found = read(tmp_path, SETTINGS)
    assert [(case.case, case.class_name, len(case.masks)) for case in found.cases] == [
        ("1", "cyst", 1),
        ("2", "stone", 2),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["images/a.png"], "expected masks/, labels/ or gt/ beside images/"),
        (["x.png"], "expected images/ and masks/, or one folder per class"),
        (["images/a.png", "masks/0/a.png", "masks/1/a.png"], "one foreground class is read"),
    ],
)
def test_other_layouts_are_explained(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        read(tmp_path, SETTINGS)


def test_real_folder(shared_data: Path) -> None:
    found = read(shared_data / "thyroid_crops", SETTINGS)
    assert len(found.cases) == 240
    assert found.findings == ()
