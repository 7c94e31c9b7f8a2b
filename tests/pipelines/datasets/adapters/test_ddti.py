from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.datasets.adapters.ddti import read
from tests.support import layouts
from tests.support.layouts import SQUARE, ddti_xml, touch


def test_outlines(tmp_path: Path) -> None:
    layouts.ddti_outlines(tmp_path)
    found = read(tmp_path, None)
    assert [(case.case, case.identity, len(case.polygons), case.masks) for case in found.cases] == [
        ("12_1", "case-0012", 1, ()),
        ("12_2", "case-0012", 0, ()),
        ("1_1", "case-0001", 1, ()),
        ("1_2", "case-0001", 2, ()),
    ]
    assert found.cases[0].polygons == (SQUARE,)
    assert found.layout == "outlines"
    assert [(item.check, item.case) for item in found.findings] == [("missing mask", "12_2")]
    assert "missing mask: exclude" in found.findings[0].remedy


@pytest.mark.parametrize("folder", ["", "DDTI/", "pack/deep/"])
def test_outlines_may_lie_in_a_folder(tmp_path: Path, folder: str) -> None:
    layouts.ddti_outlines(tmp_path / folder)
    assert len(read(tmp_path, None).cases) == 4


def test_preprocessed(tmp_path: Path) -> None:
    layouts.ddti_preprocessed(tmp_path)
    found = read(tmp_path, None)
    assert [(case.case, case.identity, case.masks[0].name) for case in found.cases] == [
        ("1", "", "1.PNG"),
        ("10", "", "10.PNG"),
        ("2", "", "2.PNG"),
    ]
    assert (found.layout, found.findings) == ("preprocessed", ())


def test_pairs(tmp_path: Path) -> None:
    layouts.ddti_pairs(tmp_path)
    found = read(tmp_path, None)
    assert ([case.case for case in found.cases], found.layout, found.findings) == (["1", "10", "2"], "pairs", ())


def test_published_defects_of_the_xml_files(tmp_path: Path) -> None:
    """Some outlines are cut off, some files name another case; images and outlines may miss each other."""
    for name in ("197_1", "7_1", "8_1"):
        layouts.picture(tmp_path / f"{name}.jpg")
    cut = ddti_xml(197, {1: [SQUARE]}).replace('pe": "freehand"}]', "")
    (tmp_path / "197.xml").write_text(cut)
    (tmp_path / "7.xml").write_text(ddti_xml(77, {1: [SQUARE], 2: [SQUARE]}))
    found = read(tmp_path, None)
    assert [(item.check, item.case, item.file) for item in found.findings] == [
        ("table", "197_1", "197.xml"),
        ("table", "7", "7.xml"),
        ("mask without image", "7_2", "7.xml"),
        ("missing mask", "197_1", "197_1.jpg"),
        ("missing mask", "8_1", "8_1.jpg"),
    ]


def test_a_hostile_file_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    layouts.ddti_outlines(tmp_path)
    (tmp_path / "12.xml").write_text('<!DOCTYPE case SYSTEM "http://example.org/x.dtd"><case/>')
    found = read(tmp_path, None)
    assert [(item.check, item.case) for item in found.findings] == [
        ("missing mask", "12"),
        ("missing mask", "12_1"),
        ("missing mask", "12_2"),
    ]


@pytest.mark.parametrize("name", ["ddti_100_1_p2", "ddti_9_1_p1", "139_1(2)"])
@pytest.mark.parametrize(("image", "mask"), [("images", "masks"), ("DDTI/image", "DDTI/mask"), ("p_image", "p_mask")])
def test_a_pack_of_crops_is_refused_by_its_names(tmp_path: Path, name: str, image: str, mask: str) -> None:
    touch(tmp_path, f"{image}/{name}.png", f"{mask}/{name}.png")
    found = read(tmp_path, None)
    (finding,) = found.findings
    assert (finding.check, found.cases) == ("layout", ())
    assert finding.message == (
        "the set: expected whole frames of DDTI, found a pack of square crops, one per nodule: an easier, centered "
        "task; read it under a name of its own with `adapter: folder`"
    )


@pytest.mark.parametrize(("side", "refused"), [(256, True), (300, True), (320, False)])
def test_a_pack_of_crops_is_refused_by_its_sizes(tmp_path: Path, side: int, refused: bool) -> None:
    for number in (1, 2):
        layouts.picture(tmp_path / "image" / f"{number}.png", (side, side))
        layouts.mask(tmp_path / "mask" / f"{number}.png", (1, 1, 9, 9), size=(side, side))
    assert (read(tmp_path, None).cases == ()) == refused
    layouts.picture(tmp_path / "image" / "2.png", (side, side + 1))
    assert len(read(tmp_path, None).cases) == 2  # frames of several sizes are no such pack


def test_the_real_crops_are_refused(shared_data: Path) -> None:
    (finding,) = read(shared_data / "thyroid_crops", None).findings
    assert "`adapter: folder`" in finding.remedy


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["2_preprocessed_data.zip"], "found 2_preprocessed_data.zip; unpack 2_preprocessed_data.zip"),
        (["p_image/1.PNG"], "found p_image/ (1 file); copy one of these layouts there"),
        (["a/1.xml", "b/p_image/1.PNG", "b/p_mask/1.PNG"], "found outlines in a/ and preprocessed in b/; copy one"),
    ],
)
def test_other_layouts_are_explained(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    (finding,) = read(tmp_path, None).findings
    assert finding.check == "layout"
    assert message in finding.message
