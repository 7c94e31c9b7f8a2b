"""What changes a hash of contents, and what does not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipelines.runtime.errors import DataError
from pipelines.study.contents import Known, hash_files, hash_raw, read_known, write_known


def test_names_and_contents_count_and_what_nobody_reads_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "x.py").write_text("1")
    before = hash_files(folder)
    for name in ("__pycache__/x.pyc", ".swap", ".git/head", "y.py.partial"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("1")
    assert hash_files(folder) == before
    (folder / "x.py").rename(folder / "y.py")
    assert hash_files(folder) != before
    with pytest.raises(DataError, match="expected a dependency"):
        hash_files(tmp_path / "b")


def test_raw_data_is_known_by_names_and_contents_wherever_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "benign").mkdir(parents=True)
    (folder / "benign" / "a.png").write_text("1")
    found = hash_raw(folder, {})
    (folder / ".DS_Store").write_text("1")
    os.utime(folder / "benign" / "a.png", ns=(1, 1))
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "link").symlink_to(folder)
    assert [hash_raw(tmp_path / name, {}) for name in ("set", "copy", "link")] == [found] * 3
    (folder / "b.png").write_text("1")
    assert hash_raw(folder, {}) != found
    (tmp_path / "copy" / "benign" / "a.png").write_text("2")
    assert hash_raw(tmp_path / "copy", {}) != found
    with pytest.raises(DataError, match="expected the dataset as published"):
        hash_raw(tmp_path / "none", {})


def test_a_file_is_read_again_only_when_its_size_or_time_is_another(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    known: Known = {}
    for text, time, renewed in (("1", 1, True), ("2", 1, False), ("2", 2, True), ("33", 2, True)):
        before = hash_raw(folder, known) if known else ""
        (folder / "a.png").write_text(text)
        os.utime(folder / "a.png", ns=(time, time))
        assert (hash_raw(folder, known) != before) == renewed
    write_known(tmp_path / "known.json", known)
    assert read_known(tmp_path / "known.json") == known
    (tmp_path / "known.json").write_text("{")
    assert read_known(tmp_path / "known.json") == read_known(None) == {}
