from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.datasets.files import list_files, list_images, read_table, relative
from pipelines.runtime.errors import DataError


def test_listing_is_sorted_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/z.PNG", "a/2.png", "a/10.jpg", "note.txt", ".hidden.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [relative(path, tmp_path) for path in list_files(tmp_path)] == ["a/10.jpg", "a/2.png", "b/z.PNG", "note.txt"]
    assert [path.name for path in list_images(tmp_path)] == ["10.jpg", "2.png", "z.PNG"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the dataset's folder, found none"):
        list_files(tmp_path / "nothing")


def test_escaping_link_is_named_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    root = tmp_path / "raw"
    root.mkdir()
    (root / "inside.png").touch()
    (root / "link.png").symlink_to(secret)
    with pytest.raises(DataError, match=r"^link\.png: a link to .*secret\.png"):
        list_files(root)


def test_links_to_folders_are_refused_and_inner_links_to_files_allowed(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    (root / "a").mkdir(parents=True)
    (root / "a" / "x.png").touch()
    (root / "y.png").symlink_to(root / "a" / "x.png")
    assert [path.name for path in list_files(root)] == ["x.png", "y.png"]
    (root / "b").symlink_to(root / "a")
    with pytest.raises(DataError, match=r"^b: expected a folder, found a link"):
        list_files(root)


def test_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.png").touch()
    (tmp_path / "raw").symlink_to(tmp_path / "real")
    assert [path.name for path in list_files(tmp_path / "raw")] == ["x.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "missing c"), ("", "missing"), ("a,c\n1\n", "line 2 has another number of cells")],
)
def test_tables_are_checked(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "table.csv", ("a", "c"))
