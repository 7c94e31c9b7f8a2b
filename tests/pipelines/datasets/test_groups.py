from __future__ import annotations

import math
import unicodedata
from pathlib import Path

import pytest

from pipelines.datasets.case import Case, Finding
from pipelines.datasets.groups import with_groups


def grouped(root: Path, text: str, *names: str) -> tuple[list[Case], list[Finding]]:
    (root / "groups.csv").write_text(text)
    cases = [Case(name, root / "images" / f"{name}.png", (), "none") for name in names]
    findings: list[Finding] = []
    return with_groups(root, [root / "groups.csv"], cases, findings), findings


def test_all_columns(tmp_path: Path) -> None:
    rows = ["case,group,class,site,spacing_x,spacing_y", "a.png,p1,benign,north,0.1,.25", "b, p1 ,Normal,south,,"]
    (a, b), findings = grouped(tmp_path, "\n".join(rows), "a", "b")
    assert (a.identity, a.class_name, a.lesion, a.site, a.spacing) == ("p1", "benign", True, "north", (0.1, 0.25))
    assert (b.identity, b.class_name, b.lesion, b.site, b.spacing) == ("p1", "Normal", False, "south", None)
    assert findings == []


@pytest.mark.parametrize("cells", ["0,0.1", "-1,0.1", "nan,0.1", "inf,0.1", "0.1,", "x,0.1", "1e999,1"])
def test_spacing_must_be_positive_and_finite(tmp_path: Path, cells: str) -> None:
    (case,), findings = grouped(tmp_path, f"case,spacing_x,spacing_y\na,{cells}\n", "a")
    assert case.spacing is None
    assert [(item.check, item.case, item.file) for item in findings] == [("table", "a", "groups.csv")]


@pytest.mark.parametrize("cells", ["0.0001,900", "5e-324,1"])
def test_spacing_may_be_odd(tmp_path: Path, cells: str) -> None:
    (case,), findings = grouped(tmp_path, f"case,spacing_x,spacing_y\na,{cells}\n", "a")
    assert case.spacing is not None
    assert all(math.isfinite(value) for value in case.spacing)
    assert findings == []


def test_rows_and_images_that_miss_each_other_are_named(tmp_path: Path) -> None:
    (a, b), findings = grouped(tmp_path, "case,group\na,p1\nz,p9\n", "a", "b")
    assert (a.identity, b.identity) == ("p1", "")
    assert sorted((item.check, item.case) for item in findings) == [("table", "b"), ("table", "z")]


def test_a_table_that_names_no_image_is_one_error_more(tmp_path: Path) -> None:
    _, findings = grouped(tmp_path, "case,group\nscan a,p1\n", "a")
    assert [(item.check, item.case) for item in findings] == [("table", "scan a"), ("layout", "")]
    assert "'scan a'" in findings[1].message


def test_two_rows_for_one_case_that_differ_are_an_error(tmp_path: Path) -> None:
    rows = ["a,p1,x", "a.png,p2,x", "b,p1,x", "b.png,p1,x", "c,p3,x", "images/c.png,p3,y"]
    _, findings = grouped(tmp_path, "\n".join(["case,group,class", *rows]), "a", "b", "c")
    assert [(item.check, item.case) for item in findings] == [("layout", "a"), ("layout", "c")]


def test_names_that_lead_out_are_errors(tmp_path: Path) -> None:
    (a,), findings = grouped(tmp_path, "case,group\na,p1\n../a,p2\n/tmp/a,p3\n", "a")
    assert a.identity == "p1"
    assert [item.check for item in findings] == ["link", "link"]


@pytest.mark.parametrize(("header", "check"), [("case,patient", "layout"), ("case,group,patient", "table")])
def test_unknown_columns_are_an_error_where_patients_may_be_in_one(tmp_path: Path, header: str, check: str) -> None:
    cells = ",".join(["a", "p1", "x"][: header.count(",") + 1])
    _, findings = grouped(tmp_path, f"{header}\n{cells}\n", "a")
    assert [(item.check, item.found) for item in findings] == [(check, "patient")]


@pytest.mark.parametrize("name", ["Groups.csv", "GROUPS.CSV"])
def test_upper_and_lower_case_are_the_same_in_the_name_and_the_header(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Case, Group ,CLASS,Site\na,p1,benign,north\n")
    case, findings = Case("a", tmp_path / "images" / "a.png", (), "none"), list[Finding]()
    (found,) = with_groups(tmp_path, [tmp_path / name], [case], findings)
    assert (found.identity, found.class_name, found.site, findings) == ("p1", "benign", "north", [])


@pytest.mark.parametrize(
    "names", [["images/groups.csv"], ["images/Groups.csv", "groups.csv"], ["Groups.csv", "groups.csv"]]
)
def test_a_table_in_another_place_or_a_second_one_is_an_error(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("case,group\na,p1\n")
    case, findings = Case("a", tmp_path / "images" / "a.png", (), "none"), list[Finding]()
    with_groups(tmp_path, [tmp_path / name for name in names], [case], findings)
    assert [(item.check, item.expected) for item in findings] == [("layout", "one groups.csv in the top folder")]


def test_decomposed_folders_and_cells_mean_the_composed_ones(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "tumör") for form in ("NFC", "NFD"))
    for folder, cell in ((composed, decomposed), (decomposed, composed)):
        case = Case(f"{composed}-1", tmp_path / folder / "1.png", (), composed)
        (tmp_path / "groups.csv").write_text(f"case,group,class\n{cell}/1.png,{cell},{cell}\n", encoding="utf-8")
        findings: list[Finding] = []
        (found,) = with_groups(tmp_path, [tmp_path / "groups.csv"], [case], findings)
        assert (found.identity, found.class_name, findings) == (composed, composed, [])


def test_in_class_folders_a_bare_name_must_mean_one_image(tmp_path: Path) -> None:
    cases = [
        Case(f"{folder}-{stem}", tmp_path / folder / f"{stem}.png", (), folder)
        for folder, stem in (("cyst", "1"), ("stone", "1"), ("stone", "2"))
    ]
    (tmp_path / "groups.csv").write_text("case,group\ncyst/1.png,p1\nstone-1,p2\n2,p3\n1,p4\n")
    findings: list[Finding] = []
    found = with_groups(tmp_path, [tmp_path / "groups.csv"], cases, findings)
    assert [case.identity for case in found] == ["p1", "p2", "p3"]
    assert [(item.check, item.case, item.found) for item in findings] == [
        ("layout", "1", "1, which means cyst-1 and stone-1")
    ]


def test_without_a_table_nothing_changes(tmp_path: Path) -> None:
    case = Case("a", tmp_path / "images" / "a.png", (), "none")
    assert with_groups(tmp_path, [], [case], []) == [case]
