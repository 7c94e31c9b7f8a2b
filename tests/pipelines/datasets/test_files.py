from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from pipelines.datasets.case import Finding
from pipelines.datasets.files import by_stem, contents, find_base, images_of, list_files, relative, unread
from pipelines.runtime.errors import DataError
from tests.support.layouts import touch


def listed(root: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    findings: list[Finding] = []
    files = [relative(path, root) for path in list_files(root, findings)]
    return files, [(item.check, item.file, item.found) for item in findings]


def test_listing_is_sorted_and_without_hidden_files(tmp_path: Path) -> None:
    touch(tmp_path, "b/z.PNG", "a/2.png", "a/10.jpg", "note.txt", ".hidden.png", ".git/x.png", "a/._2.png")
    assert listed(tmp_path) == (["a/10.jpg", "a/2.png", "b/z.PNG", "note.txt"], [])
    assert [path.name for path in images_of(list_files(tmp_path, []))] == ["10.jpg", "2.png", "z.PNG"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the dataset's folder, found none"):
        list_files(tmp_path / "nothing", [])


def test_all_links_that_lead_out_are_named_and_none_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret" / "deep").mkdir(parents=True)
    (tmp_path / "secret" / "x.png").write_bytes(b"x")
    root = tmp_path / "raw"
    touch(root, "inside.png")
    (root / "absolute.png").symlink_to(tmp_path / "secret" / "x.png")
    (root / "folder").symlink_to(tmp_path / "secret")
    (root / "nowhere.png").symlink_to("missing.png")
    (root / "relative.png").symlink_to("../secret/x.png")
    (root / "ring.png").symlink_to("ring.png")
    out = "a link out of the dataset's folder, not followed"
    assert listed(root) == (
        ["inside.png"],
        [
            ("link", "folder", out),
            ("link", "absolute.png", out),
            ("link", "nowhere.png", "a link to nothing"),
            ("link", "relative.png", out),
            ("link", "ring.png", "a link in a circle"),
        ],
    )


def test_a_prefix_of_the_root_s_name_is_not_inside_it(tmp_path: Path) -> None:
    touch(tmp_path, "raw/a.png", "raw-secret/x.png")
    (tmp_path / "raw" / "link.png").symlink_to("../raw-secret/x.png")
    assert listed(tmp_path / "raw")[0] == ["a.png"]


def test_links_to_files_inside_are_read_and_to_folders_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png")
    (tmp_path / "y.png").symlink_to("a/x.png")
    (tmp_path / "b").symlink_to("a")
    assert listed(tmp_path) == (["a/x.png", "y.png"], [("link", "b", "a link to a folder, not followed")])


def test_root_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/x.png")
    (tmp_path / "raw").symlink_to(tmp_path / "real")
    assert listed(tmp_path / "raw") == (["x.png"], [])


def test_a_pipe_is_named_and_never_opened(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")  # opening it would wait for ever
    assert listed(tmp_path) == (["a.png"], [("unreadable", "b.png", "a pipe, socket or device")])


def test_a_closed_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "closed/b.png")
    scan = os.scandir

    def refuse(path: str) -> Any:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert listed(tmp_path) == (["a.png"], [("unreadable", "closed", "Permission denied")])


def test_unprintable_names_are_shown_as_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xff\n.png")
    (tmp_path / name).touch()
    assert listed(tmp_path)[0] == ["a??.png"]
    (finding,) = unread(tmp_path, [tmp_path / name], [])
    finding.message.encode()  # a lone surrogate would raise


def test_images_in_a_format_that_is_not_read_are_counted_by_folder_and_ending(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "x.DCM", "images/1.gif", "images/2.GIF", "images/v.nii.gz", "images/v.nii", "notes.pdf")
    findings: list[Finding] = []
    list_files(tmp_path, findings)
    assert [(item.check, item.case, item.file, item.found) for item in findings] == [
        ("unread", "", "", "1 file ending in .dcm"),
        ("unread", "", "images/", "2 files ending in .gif"),
        ("unread", "", "images/", "1 file ending in .nii"),
        ("unread", "", "images/", "1 file ending in .nii.gz"),
    ]


def test_a_mask_s_name_that_is_taken_is_a_fault_of_masks(tmp_path: Path) -> None:
    findings: list[Finding] = []
    paths = [tmp_path / "a_mask.bmp", tmp_path / "a_mask.png"]
    by_stem(tmp_path, paths, findings, mask_of=lambda stem: stem.removesuffix("_mask"))
    assert [(item.check, item.case, item.file) for item in findings] == [("ambiguous mask", "a", "a_mask.png")]


def test_unicode_names_pair_in_either_normal_form(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "tumör (1)") for form in ("NFC", "NFD"))
    findings: list[Finding] = []
    assert set(by_stem(tmp_path, [tmp_path / f"{decomposed}.png"], findings)) == {composed}
    both = [tmp_path / f"{composed}.png", tmp_path / f"{decomposed}.png"]
    assert (len(by_stem(tmp_path, both, findings)), [item.check for item in findings]) == (1, ["name"])


def test_equal_names_but_for_the_ending_s_case(tmp_path: Path) -> None:
    findings: list[Finding] = []
    by_stem(tmp_path, [tmp_path / "a.PNG", tmp_path / "a.png"], findings)
    assert [item.message for item in findings] == [
        "a.png: expected a name of its own, found a.PNG of the same name; remove or rename one"
    ]


def test_the_base_is_the_first_wrapper_with_all_signs(tmp_path: Path) -> None:
    touch(tmp_path, "pack/data/Images/a.png", "pack/data/table.csv", "Images/b.png")
    files, findings = list_files(tmp_path, []), []
    assert find_base(tmp_path, files, ("pack/data", ""), ("Images", "table.csv"), findings) == tmp_path / "pack/data"
    assert find_base(tmp_path, files, ("", "pack/data"), ("Images",), findings) == tmp_path
    assert findings == []
    assert find_base(tmp_path, files, ("BUS", ""), ("Images", "table.csv"), findings) is None
    assert findings[0].message == (
        "the set: expected Images, table.csv in BUS or the top folder, found them in pack/data/; move that folder's "
        "content up"
    )


def test_contents_in_words(tmp_path: Path) -> None:
    assert contents(tmp_path, []) == "no files"
    touch(tmp_path, "z.txt", "images/a.png", "images/deep/b.png", "one/c.png", *(f"n{number}" for number in range(5)))
    assert contents(tmp_path, list_files(tmp_path, [])) == ("images/ (2 files), n0, n1, n2, n3, n4 and 2 more")
