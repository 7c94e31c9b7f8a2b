from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.__main__ import main
from pipelines.datasets.descriptors import describe
from pipelines.datasets.duplicates import PAIR_COLUMNS, find_pairs, pair_row
from pipelines.inspection.build import outlined
from pipelines.inspection.gather import counts_of, groups_of, histogram, read_prepared, rows_by_flag
from pipelines.runtime.artifacts import read_manifest, save_array, write_csv, write_json, write_manifest
from tests.pipelines.report.test_browser import BROWSERS, probe
from tests.support.duplicates import default_rule
from tests.support.pictures import reencoded, scene

NAMES = ["a", "b", "c", "d", "<i>e</i>", "f"]
CLASSES = ["benign", "benign", "malignant", "normal", "benign", "malignant"]


def prepare(root: Path, *, dataset: str = "busi", phantom: bool = False) -> None:
    """data/prepared of six cases: b, c and e are copies of a; c is of another class; f is flagged."""
    folder = root / "data" / "prepared"
    folder.mkdir(parents=True)
    original = scene(1, 300, 300)
    images = [original, reencoded(original), original[:, 30:], scene(2), original.copy(), scene(3)]
    known = describe(images)
    labels = np.zeros((6, 128, 128), np.uint8)
    labels[:3, 40:60, 40:80] = 1
    flags = ["", "", "class_conflict;duplicate", "", "duplicate", "color"]
    rows = [
        {"case": name, "class": kind, "site": "", "flags": flag, "width": 300, "height": 200 + index, "area": area}
        for index, (name, kind, flag, area) in enumerate(
            zip(NAMES, CLASSES, flags, [0.05, 0.05, 0.1, 0.0, 0.2, 0.3], strict=True)
        )
    ]
    finding = {"severity": "warning", "check": "area", "case": "f", "file": "f.png"}
    finding |= {"expected": ".0005 to .9", "found": "<script>alert(1)</script>", "remedy": "look"}
    gone = {"case": "gone", "check": "unreadable", "file": "gone.png", "expected": "a whole file", "found": "half"}
    write_csv(folder / "cases.csv", rows, tuple(rows[0]))
    write_csv(
        folder / "duplicates.csv", [pair_row(pair, NAMES) for pair in find_pairs(known, default_rule())], PAIR_COLUMNS
    )
    save_array(folder / "images.npy", known.thumbnails)
    save_array(folder / "thumbnails.npy", known.thumbnails)
    save_array(folder / "labels.npy", labels)
    report = {"errors": 0, "warnings": 1, "flags": 0, "excluded": [gone], "excluded_cases": 1, "findings": [finding]}
    write_json(folder / "integrity.json", report)
    write_json(folder / "dataset.json", {"name": dataset, "phantom": phantom, "terms": "not to be shared"})
    write_manifest(folder, dataset=dataset)


def divide(root: Path) -> None:
    """data/split, made of data/prepared as it is now."""
    folder = root / "data" / "split"
    folder.mkdir(parents=True)
    rows = [{"case": name, "part": "test" if name == "d" else "train"} for name in NAMES]
    write_csv(folder / "split.csv", rows, ("case", "part"))
    write_manifest(folder, inputs={"prepared": read_manifest(root / "data" / "prepared").sha256})


def test_what_is_gathered(tmp_path: Path) -> None:
    prepare(tmp_path)
    divide(tmp_path)
    found = read_prepared(tmp_path)
    assert found.notice == ""
    (group,) = groups_of(found)
    assert group.rows == (0, 1, 2, 4)
    assert group.classes == ("benign", "malignant")
    assert {(link["a"], link["b"]) for link in group.links} >= {("a", "b"), ("a", "c"), ("a", "<i>e</i>")}
    assert counts_of(found) == (
        ["train", "test", "all"],
        [("", "benign", [3, 0, 3]), ("", "malignant", [2, 0, 2]), ("", "normal", [0, 1, 1])],
    )
    assert rows_by_flag(found) == [("area", [5]), ("class conflict", [2]), ("color", [5])]


def test_histogram() -> None:
    assert histogram([]) == []
    assert histogram([3.0, 3.0]) == [(3.0, 3.0, 2)]
    assert histogram([0.0, 1.0, 1.5, 2.0], bins=2) == [(0.0, 1.0, 1), (1.0, 2.0, 3)]


def test_outline_is_the_border_alone() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = 1
    picture = outlined(np.full((9, 9), 50, np.uint8), labels)
    assert (picture != 50).any(axis=2).sum() == 16
    assert picture[4, 4].tolist() == [50, 50, 50]


def test_the_page_holds_everything_and_escapes_what_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["inspect"]) == 0
    assert "data/inspection/index.html: 6 cases" in capsys.readouterr().out
    text = (tmp_path / "data" / "inspection" / "index.html").read_text()
    assert "<i>e</i>" not in text
    assert "&lt;i&gt;e&lt;/i&gt;" in text
    assert "<script" not in text
    assert text.count("data:image/png;base64,") == 4 + 3  # the cluster, and one picture per flag and case
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    for words in ("gone.png", "not to be shared", "No split has been made yet", "of several classes", "re-encoded"):
        assert words in text


def test_a_split_of_other_prepared_data_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same cases under another rule for duplicates: the groups of the split are not those of the page."""
    prepare(tmp_path, phantom=True)
    divide(tmp_path)
    folder = tmp_path / "data" / "prepared"
    write_csv(folder / "duplicates.csv", [], PAIR_COLUMNS)
    write_manifest(folder, dataset="busi")
    monkeypatch.chdir(tmp_path)
    assert main(["inspect"]) == 0
    text = (tmp_path / "data" / "inspection" / "index.html").read_text()
    assert "data/split was made of other prepared data and is not shown" in text
    assert "no patients" in text
    assert set(read_prepared(tmp_path).parts) == {""}


@pytest.mark.parametrize("name", ["split.csv", "manifest.json"])
def test_an_altered_split_is_not_shown(tmp_path: Path, name: str) -> None:
    prepare(tmp_path)
    divide(tmp_path)
    path = tmp_path / "data" / "split" / name
    path.write_text(path.read_text().replace("test", "train").replace("facts", "claims"))
    found = read_prepared(tmp_path)
    assert found.notice == "data/split was altered or is incomplete and is not shown; `dvc repro split` renews it."
    assert set(found.parts) == {""}


def test_nothing_prepared_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["inspect"]) == 1
    assert capsys.readouterr().out == "data/prepared: nothing to show; expected what `dvc repro prepare` makes\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("width", [1200, 600])
def test_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser found: the page was not opened")
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["inspect"]) == 0
    seen = probe(found, tmp_path / "data" / "inspection" / "index.html", tmp_path / "profile", width=width)
    assert seen == {"images": 7, "broken": 0, "charts": 0, "wide": [], "page": False, "outside": 0}
