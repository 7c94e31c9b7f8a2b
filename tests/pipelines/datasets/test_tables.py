from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.datasets import tables
from pipelines.datasets.case import Finding
from pipelines.datasets.tables import index_rows, outside, read_table, read_text, stem_of


def test_a_table_with_a_byte_order_mark_quotes_and_blanks_after_commas(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffa, c\r\n1,"[1, 2]"\r\n'.encode())
    findings: list[Finding] = []
    assert read_table(tmp_path, tmp_path / "t.csv", ("a", "c"), findings) == [{"a": "1", "c": "[1, 2]"}]
    assert findings == []


def test_known_columns_in_any_case_and_cells_in_composed_form(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("CASE,Other\ntumo\u0308r,1\n", encoding="utf-8")
    findings: list[Finding] = []
    rows = read_table(tmp_path, tmp_path / "t.csv", ("case",), findings, known=("case", "group"))
    assert (rows, findings) == ([{"case": "tum\u00f6r", "Other": "1"}], [])


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a,b\n1,2\n", "no column c, but a, b"),
        (b"a;c\n1;2\n", "no column a, c, but a;c"),
        (b"", "no column a, c, but nothing"),
        (b"a,c\n", "no rows"),
        (b"a,c\n1\n", "another number of cells than the header in row 2"),
        (b"a,c\n1,2\n1,2,3\n", "another number of cells than the header in row 3"),
        (b"a,c,a\n1,2,3\n", "a column twice in a, c, a"),
        (b'a,c\n"1,2\n', "damage (unexpected end of data)"),
        (b"a,c\n\xff,2\n", "damage (invalid start byte)"),
    ],
)
def test_damage_is_one_finding_and_gives_no_rows(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    findings: list[Finding] = []
    assert read_table(tmp_path, tmp_path / "t.csv", ("a", "c"), findings) == []
    assert [(item.check, item.file, item.found) for item in findings] == [("layout", "t.csv", found)]


def test_an_absurdly_large_text_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_BYTES", 4)
    (tmp_path / "t.csv").write_text("12345")
    findings: list[Finding] = []
    assert read_text(tmp_path, tmp_path / "t.csv", findings) is None
    assert [item.check for item in findings] == ["layout"]


def test_two_rows_of_one_name_are_an_error_where_they_differ(tmp_path: Path) -> None:
    rows = [{"n": "a", "x": "1"}, {"n": "b", "x": "1"}, {"n": "a", "x": "1"}, {"n": "b", "x": "2"}]
    findings: list[Finding] = []
    found = index_rows(tmp_path, tmp_path / "t.csv", rows, "n", findings)
    assert found == {"a": rows[0], "b": rows[1]}
    assert [(item.check, item.case) for item in findings] == [("layout", "b")]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a", "a"),
        (" a.PNG \n", "a"),
        ("c.1", "c.1"),
        ("c.1.jpg", "c.1"),
        ("tumo\u0308r.png", "tum\u00f6r"),
        ("images/a.png", "a"),
        ("./a.png", "a"),
        ("other/a.png", None),
        ("../a.png", None),
        ("images/../../a.png", None),
        ("/etc/a.png", None),
        ("C:\\a.png", None),
        ("..\\a.png", None),
        ("images", "images"),
    ],
)
def test_names_in_lists(name: str, stem: str | None) -> None:
    assert stem_of(name, ("images",)) == stem


def test_a_name_that_leads_out_is_shown_as_text() -> None:
    assert outside("train.txt", "../a\x1b.png\n").message == (
        "train.txt: expected names of images, found '../a?.png', which leads elsewhere, not followed; write the "
        "image's name alone"
    )
