from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.adapters.folder import read
from pipelines.datasets.case import Dataset
from tests.support.layouts import touch

SETTINGS = SimpleNamespace(foreground=["nodule"], masks="binary")
TWO = SimpleNamespace(foreground=["nodule", "cyst"], masks="binary")
LABELS = SimpleNamespace(foreground=["nodule", "cyst"], masks="labels")


def checks(found: Dataset) -> list[tuple[str, str]]:
    return sorted((item.check, item.case) for item in found.findings)


@pytest.mark.parametrize("folder", ["masks", "labels", "gt", "mask", "GT", "masks/0", "masks/1"])
@pytest.mark.parametrize("suffix", ["", "_mask", "_gt", "_seg"])
def test_pairs_by_name(tmp_path: Path, folder: str, suffix: str) -> None:
    touch(tmp_path, "images/b.png", "images/a.JPG", f"{folder}/a{suffix}.png", f"{folder}/b{suffix}.png")
    found = read(tmp_path, SETTINGS)
    assert [(case.case, case.image.name, [path.name for path in case.masks]) for case in found.cases] == [
        ("a", "a.JPG", [f"a{suffix}.png"]),
        ("b", "b.png", [f"b{suffix}.png"]),
    ]
    assert (found.foreground, found.classes, found.findings) == (("nodule",), ("none",), ())
    assert found.layout == ("classes" if "/" in folder else "pairs")


def test_a_mask_with_another_image_s_name_is_that_one_s(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{name}.png" for folder in ("images", "masks") for name in ("a", "a_seg")))
    found = read(tmp_path, SETTINGS)
    assert [(case.case, case.masks[0].name) for case in found.cases] == [("a", "a.png"), ("a_seg", "a_seg.png")]
    assert found.findings == ()


def test_every_fault_of_a_folder_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "images/c.png", "images/c.jpg", "masks/c.png", "masks/c.PNG")
    touch(tmp_path, "masks/b.png", "masks/b_mask.png", "masks/x.png")
    assert checks(read(tmp_path, SETTINGS)) == [
        ("ambiguous mask", "b"),
        ("ambiguous mask", "c"),
        ("mask without image", "x"),
        ("missing mask", "a"),
        ("name", "c"),
    ]


def test_image_files_that_no_rule_reads_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/p2/c.png", "masks/a.png", "masks/p2/deep/c.png", "figure.png", "more/x.png")
    found = read(tmp_path, SETTINGS)
    assert [case.case for case in found.cases] == ["a"]
    assert [(item.check, item.file) for item in found.findings] == [
        ("unread", name) for name in ("figure.png", "images/p2/c.png", "masks/p2/deep/c.png", "more/x.png")
    ]


# --- several foreground classes


@pytest.mark.parametrize("first", [0, 1])
def test_one_folder_per_class(tmp_path: Path, first: int) -> None:
    for name in "ab":
        touch(tmp_path, f"images/{name}.png", f"masks/{first}/{name}.png", f"masks/{first + 1}/{name}_mask.png")
    found = read(tmp_path, TWO)
    assert [(case.case, case.mask_classes, case.label_map) for case in found.cases] == [
        ("a", (1, 2), False),
        ("b", (1, 2), False),
    ]
    assert [path.relative_to(tmp_path).as_posix() for path in found.cases[0].masks] == [
        f"masks/{first}/a.png",
        f"masks/{first + 1}/a_mask.png",
    ]
    assert (found.foreground, found.findings) == (("nodule", "cyst"), ())


def test_ten_class_folders_are_in_numeric_order(tmp_path: Path) -> None:
    names = [str(number) for number in range(11)]
    touch(tmp_path, "images/a.png", *(f"masks/{name}/a.png" for name in names))
    (case,) = read(tmp_path, SimpleNamespace(foreground=names, masks="binary")).cases
    assert [path.parent.name for path in case.masks] == names
    assert case.mask_classes == tuple(range(1, 12))


def test_an_image_needs_a_mask_of_every_class(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "masks/0/a.png", "masks/1/a.png", "masks/1/b.png")
    found = read(tmp_path, TWO)
    assert [(item.check, item.case, item.expected) for item in found.findings] == [
        ("missing mask", "b", "one mask in masks/0/")
    ]
    assert found.cases[1].mask_classes == (2,)


def test_label_maps(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "labels/a.png")
    found = read(tmp_path, LABELS)
    assert [(case.case, len(case.masks), case.label_map) for case in found.cases] == [("a", 1, True), ("b", 0, False)]
    assert checks(found) == [("missing mask", "b")]


@pytest.mark.parametrize(
    ("settings", "names", "message"),
    [
        (
            SETTINGS,
            ["masks/0/a.png", "masks/1/a.png"],
            "masks/: expected 1 folders, one per name in `foreground` (nodule)",
        ),
        (TWO, ["masks/0/a.png"], "masks/: expected 2 folders, one per name in `foreground` (nodule, cyst), found 0/"),
        (TWO, ["masks/0/a.png", "masks/2/a.png"], "masks/: expected folders 0, 1, ... without a gap, found 0/, 2/"),
        (TWO, ["masks/2/a.png", "masks/3/a.png"], "masks/: expected folders 0, 1, ... without a gap, found 2/, 3/"),
        (TWO, ["masks/1/a.png", "masks/01/a.png"], "masks/: expected folders 0, 1, ... without a gap, found"),
        (TWO, ["masks/a.png"], "masks/: expected masks of 2 classes, as `foreground` says, found one binary mask"),
        (LABELS, ["masks/0/a.png", "masks/1/a.png"], "masks/: expected one label map per image, as `masks: labels`"),
        (TWO, ["masks/a.png", "masks/0/a.png", "masks/1/a.png"], "masks/: expected masks in it or in folders"),
        (SETTINGS, ["masks/a.png", "gt/a.png"], "the set: expected one folder of images and one of masks, found"),
        (TWO, ["masks/nodule/a.png", "masks/stone/a.png"], "masks/: expected one folder per name in `foreground`"),
        (LABELS, ["masks/nodule/a.png", "masks/cyst/a.png"], "masks/: expected one label map per image"),
    ],
)
def test_masks_that_are_not_understood_are_one_finding_about_masks(
    tmp_path: Path, settings: SimpleNamespace, names: list[str], message: str
) -> None:
    touch(tmp_path, "images/a.png", *names)
    found = read(tmp_path, settings)
    (finding,) = found.findings
    assert (finding.check, finding.case) == ("ambiguous mask", "")
    assert finding.message.startswith(message)
    assert [(case.case, case.masks) for case in found.cases] == [("a", ())]  # as an unlabeled image it will do


def test_two_folders_of_images_are_one_finding(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "Images/a.png", "masks/a.png")
    (finding,) = read(tmp_path, SETTINGS).findings
    assert finding.message.startswith("the set: expected one folder of images and one of masks, found")


def test_folders_of_masks_may_have_the_names_of_the_classes(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/Cyst/a.png", "masks/nodule/a_mask.png")
    found = read(tmp_path, TWO)
    assert [path.parent.name for path in found.cases[0].masks] == ["nodule", "Cyst"]
    assert (found.cases[0].mask_classes, found.layout, found.findings) == ((1, 2), "classes", ())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["images/p0/a.png", "images/p1/a.png", "masks/p0/a.png"],
            "images/: expected images directly in images/, found images/p0/ (1), images/p1/ (1); move the files up "
            "under names of their own, masks likewise; if these are patients, put them into column group of groups.csv",
        ),
        (["images/train/a.png", "images/val/b.png"], "write their names into train.txt, val.txt and test.txt"),
        (
            ["train/images/a.png", "train/masks/a.png", "valid/images/a.png", "valid/masks/a.png"],
            "put them in one images/ and one masks/ under names of their own and write these into train.txt, val.txt "
            "and test.txt",
        ),
        (["p0/images/a.png", "p1/images/a.png"], "what the folders tell (patient, site) goes into groups.csv"),
    ],
)
def test_folders_one_level_too_deep_are_explained(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    found = read(tmp_path, SETTINGS)
    (finding,) = found.findings
    assert (finding.check, found.cases) == ("layout", ())
    assert finding.message.endswith(message)


# --- lists


def test_lists_decide_what_is_read_and_become_parts(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{name}.png" for folder in ("images", "labels") for name in ("a", "b", "c", "d.1")))
    (tmp_path / "train.txt").write_text("a.png\n\nimages/d.1.png\n", encoding="utf-8-sig")
    (tmp_path / "test.txt").write_text("b\r\n")
    found = read(tmp_path, SETTINGS)
    assert [(case.case, case.official_part) for case in found.cases] == [
        ("a", "train"),
        ("b", "test"),
        ("d.1", "train"),
    ]
    assert [(item.check, item.case, item.expected) for item in found.findings] == [
        ("unread", "c", "a name in train.txt, test.txt")
    ]
    assert found.layout == "pairs with lists"


def test_an_image_in_no_list_needs_no_mask(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "images/c.png", "masks/a.png", "masks/c.png", "masks/c_gt.png")
    (tmp_path / "Train.TXT").write_text("a\n")
    found = read(tmp_path, SETTINGS)
    assert [(case.case, case.official_part) for case in found.cases] == [("a", "train")]
    assert checks(found) == [("unread", "b"), ("unread", "c")]
    (tmp_path / "Train.TXT").write_text("a\nb\n")
    assert ("missing mask", "b") in checks(read(tmp_path, SETTINGS))


def test_other_tables_and_texts_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", "patients.csv", "groups.xlsx", "images/train.txt", "notes.md")
    assert [(item.check, item.file) for item in read(tmp_path, SETTINGS).findings] == [
        ("unread", "groups.xlsx"),
        ("unread", "images/train.txt"),
        ("unread", "patients.csv"),
    ]


def test_faults_of_lists_are_findings(tmp_path: Path) -> None:
    touch(tmp_path / "raw", *(f"{folder}/{name}.png" for folder in ("images", "labels") for name in "ab"))
    touch(tmp_path, "secret.png")
    (tmp_path / "raw" / "train.txt").write_text("a\nz\n../secret.png\n/etc/passwd\n..\\secret\nother/a.png\n")
    (tmp_path / "raw" / "val.txt").write_text("a\nb\n")
    (tmp_path / "raw" / "test.txt").write_bytes(b"\xff\xfe")
    found = read(tmp_path / "raw", SETTINGS)
    assert [(case.case, case.official_part) for case in found.cases] == [("a", "train"), ("b", "val")]
    assert [(item.check, item.case, item.file) for item in found.findings] == [
        ("table", "z", "train.txt"),
        *[("link", "", "train.txt")] * 4,
        ("layout", "a", "val.txt"),
        ("layout", "", "test.txt"),
    ]


# --- groups.csv (more in test_groups.py)


def test_groups_name_patients_classes_sites_and_spacing(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{kind}/{name}.png" for kind in ("images", "masks") for name in "abc"))
    text = "case,group,class,site,spacing_x,spacing_y\na,p1,benign,north,.1,.2\nb.png,p1,normal,,,\n"
    (tmp_path / "groups.csv").write_text(text)
    found = read(tmp_path, SETTINGS)
    assert [(case.identity, case.class_name, case.lesion, case.site, case.spacing) for case in found.cases] == [
        ("p1", "benign", True, "north", (0.1, 0.2)),
        ("p1", "normal", False, "", None),
        ("", "none", True, "", None),
    ]
    assert found.classes == ("benign", "none", "normal")
    assert checks(found) == [("table", "c")]


def test_a_table_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("case,group\na,p1\n")
    touch(tmp_path / "raw", "images/a.png", "masks/a.png")
    (tmp_path / "raw" / "groups.csv").symlink_to(tmp_path / "secret.csv")
    found = read(tmp_path / "raw", SETTINGS)
    assert (found.cases[0].identity, checks(found)) == ("", [("link", "groups")])


# --- class folders


def test_sidecar_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "cyst/1.png", "cyst/1_mask.png", "stone/1.png", "stone/1_mask.png", "stone/1_mask_1.png")
    touch(tmp_path, "Normal/1.png", "Normal/1_mask.png")
    found = read(tmp_path, SETTINGS)
    assert [(case.case, case.class_name, case.lesion, len(case.masks)) for case in found.cases] == [
        ("Normal-1", "Normal", False, 1),
        ("cyst-1", "cyst", True, 1),
        ("stone-1", "stone", True, 2),
    ]
    assert (found.layout, found.findings) == ("sidecar", ())


def test_faults_in_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "cyst/a.png", "cyst/a.jpg", "cyst/a_mask.png", "cyst/b.png", "stone/images/b.png", "x.png")
    assert [(item.check, item.file) for item in read(tmp_path, SETTINGS).findings] == [
        ("unread", "stone/images/b.png"),
        ("unread", "x.png"),
        ("name", "cyst/a.png"),
        ("missing mask", "cyst/b.png"),
    ]
    named = {item.case for item in read(tmp_path, SETTINGS).findings if item.check == "missing mask"}
    assert named == {"cyst-b"}  # the case's name, so that a policy can leave it out


def test_class_folders_with_label_maps(tmp_path: Path) -> None:
    touch(tmp_path, "cyst/a.png", "cyst/a_mask.png", "cyst/b.png", "cyst/b_mask.png", "cyst/b_mask_1.png")
    found = read(tmp_path, LABELS)
    assert [(case.case, case.label_map) for case in found.cases] == [("cyst-a", True), ("cyst-b", False)]
    assert checks(found) == [("ambiguous mask", "cyst-b")]
    assert checks(read(tmp_path, TWO)) == [("ambiguous mask", "")]
    assert [case.masks for case in read(tmp_path, TWO).cases] == [(), ()]


def test_a_lost_mask_in_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "cyst/a.png", "cyst/a_mask_1.png", "cyst/b.png", "cyst/b_mask.png")
    assert checks(read(tmp_path, SETTINGS)) == [("missing mask", "cyst-a")]


def test_class_folders_in_decomposed_form(tmp_path: Path) -> None:
    touch(tmp_path, "tumo\u0308r/1.png", "tumo\u0308r/1_mask.png")
    (tmp_path / "groups.csv").write_text("case,group\ntum\u00f6r/1.png,p1\n", encoding="utf-8")
    found = read(tmp_path, SETTINGS)
    assert [(case.case, case.class_name, case.identity) for case in found.cases] == [
        ("tum\u00f6r-1", "tum\u00f6r", "p1")
    ]
    assert found.findings == ()


# --- images alone


@pytest.mark.parametrize(
    ("names", "cases"),
    [
        (["images/a.png", "images/b.png"], [("a", "none"), ("b", "none")]),
        (["cyst/a.png", "stone/b.png"], [("cyst-a", "cyst"), ("stone-b", "stone")]),
    ],
)
def test_images_alone_are_a_pool_and_lack_all_masks_in_one_finding(
    tmp_path: Path, names: list[str], cases: list[tuple[str, str]]
) -> None:
    touch(tmp_path, *names)
    found = read(tmp_path, TWO)
    assert [(case.case, case.class_name) for case in found.cases] == cases
    assert all(case.masks == () for case in found.cases)
    assert found.layout == "unlabeled"
    (finding,) = found.findings
    assert (finding.check, finding.case) == ("missing mask", "")
    assert finding.message.endswith("found images alone; add masks/, or list the set under `unlabeled:` in params.yaml")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["x.png"], "found x.png; see docs/datasets.md"),
        (["notes.txt"], "found notes.txt; see docs/datasets.md"),
        (["masks/a.png"], "found masks/ (1 file); see docs/datasets.md"),
        (["scans/images/a.png", "scans/masks/a.png"], "found scans/ (2 files); move the content of scans/ up"),
    ],
)
def test_other_layouts_are_explained(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    found = read(tmp_path, SETTINGS)
    (finding,) = found.findings
    assert (finding.check, found.cases) == ("layout", ())
    assert finding.message.endswith(message)


def test_unicode_names(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "images/tumo\u0308r 1.png",
        "masks/tum\u00f6r 1.png",
        "images/\u8d85\u97f3.png",
        "masks/\u8d85\u97f3_gt.png",
    )
    found = read(tmp_path, SETTINGS)
    assert ([case.case for case in found.cases], found.findings) == (["tum\u00f6r 1", "\u8d85\u97f3"], ())


def test_thyroid_crops(shared_data: Path) -> None:
    found = read(shared_data / "thyroid_crops", SETTINGS)
    assert (len(found.cases), found.layout, found.findings) == (240, "pairs", ())
    assert all(case.masks[0].name == case.image.name for case in found.cases)
