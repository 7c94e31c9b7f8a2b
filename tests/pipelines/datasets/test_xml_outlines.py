from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.datasets import xml_outlines
from pipelines.datasets.case import Finding
from pipelines.datasets.xml_outlines import Outlines, read_outlines, read_polygons
from tests.support.layouts import SQUARE, ddti_xml


def outlined(tmp_path: Path, content: str | bytes) -> tuple[Outlines, list[tuple[str, str]]]:
    path = tmp_path / "7.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    findings: list[Finding] = []
    return read_outlines(tmp_path, path, findings), [(item.check, item.found) for item in findings]


def test_outlines_by_image(tmp_path: Path) -> None:
    triangle = ((1, 2), (3, 4), (5, 0))
    found, findings = outlined(tmp_path, ddti_xml(7, {1: [SQUARE], 2: [SQUARE, triangle], 3: []}))
    assert found == {"7_1": (SQUARE,), "7_2": (SQUARE, triangle)}
    assert findings == []


def test_two_marks_of_one_image_are_merged(tmp_path: Path) -> None:
    text = ddti_xml(7, {1: [SQUARE]})
    mark = text[text.index("<mark>") : text.index("</case>")]
    assert outlined(tmp_path, text.replace(mark, mark + mark))[0] == {"7_1": (SQUARE, SQUARE)}


BOMB = '<!DOCTYPE case [<!ENTITY a "x"><!ENTITY b "&a;&a;&a;&a;">]><case><mark><image>&b;</image></mark></case>'
SECRET = '<!DOCTYPE case [<!ENTITY a SYSTEM "file:///etc/passwd">]><case><mark><image>&a;</image></mark></case>'


@pytest.mark.parametrize("text", [BOMB, SECRET, "<! doctype case>" + ddti_xml(7, {})])
def test_document_types_and_entities_are_refused(tmp_path: Path, text: str) -> None:
    assert outlined(tmp_path, text) == ({}, [("missing mask", "a document type or entity, which is not read")])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-7"])
def test_no_encoding_hides_an_entity(tmp_path: Path, encoding: str) -> None:
    """What is searched for entities is the very text that is parsed."""
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    found, findings = outlined(tmp_path, (head + SECRET).encode(encoding))
    assert found == {}
    assert [check for check, _ in findings] == ["missing mask"]


def test_an_undefined_entity_is_damage(tmp_path: Path) -> None:
    found, ((check, text),) = outlined(tmp_path, "<case><mark><image>&a;</image></mark></case>")
    assert (found, check) == ({}, "missing mask")
    assert text.startswith("damage (undefined entity")


def test_a_large_file_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_outlines, "MAX_BYTES", 1024)
    assert outlined(tmp_path, "<case>" + " " * 2000 + "</case>") == ({}, [("missing mask", "1 KiB, above 1")])


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_deep_nesting_does_no_harm(tmp_path: Path, depth: int) -> None:
    assert outlined(tmp_path, "<a>" * depth + "</a>" * depth) == ({}, [])


def test_faults_of_one_mark_leave_the_others(tmp_path: Path) -> None:
    text = ddti_xml(9, {1: [SQUARE], 2: [SQUARE], 3: [SQUARE]})
    text = text.replace('"freehand"}]</svg></mark><mark><image>3', '"freeh</svg></mark><mark><image>x')
    found, findings = outlined(tmp_path, text)
    assert set(found) == {"7_1"}
    assert findings == [("table", "'9'"), ("table", "a damaged text"), ("table", "'x'")]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{}x",
        '{"points": 1}',
        "[1]",
        '[{"points": [{"x": 1}]}]',
        '[{"points": [{"x": NaN, "y": 1}, {"x": 1, "y": 1}, {"x": 2, "y": 1}]}]',
        '[{"points": [{"x": 1e6, "y": 1}]}]',
        '[{"points": [{"x": ' + "9" * 400 + ', "y": 1}]}]',
        '[{"points": [{"x": ' + "9" * 5000 + ', "y": 1}]}]',
    ],
)
def test_damaged_outlines(text: str) -> None:
    assert read_polygons(text) is None


def test_two_points_are_no_outline() -> None:
    assert read_polygons('[{"points": [{"x": 1, "y": 1}, {"x": "2.5", "y": 1}]}]') == ()
