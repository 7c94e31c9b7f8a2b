from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets.case import Finding, groups_of, labeled_rows, leaked_cases, load_prepared, rows_of_part
from pipelines.runtime.artifacts import save_array, write_csv, write_json
from pipelines.runtime.errors import DataError

# eight train cases in groups of 1, 2, 3, 2 images (ranks 0, 1, 2, 3), one val, two test
GROUPS = {"g0": ["a"], "g1": ["b", "f"], "g2": ["c", "g", "k"], "g3": ["d", "h"], "v": ["e"], "t": ["i", "j"]}
PARTS = {"v": "val", "t": "test"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    prepared, split = tmp_path / "prepared", tmp_path / "split"
    prepared.mkdir()
    split.mkdir()
    owner = {case: group for group, cases in GROUPS.items() for case in cases}
    names = sorted(owner)
    images = np.arange(len(names) * 16, dtype=np.uint8).reshape(-1, 4, 4)
    save_array(prepared / "images.npy", images)
    save_array(prepared / "labels.npy", images > 40)
    with (prepared / "native_labels.npz").open("wb") as handle:
        np.savez_compressed(handle, **{f"{row:06d}": np.full((2, row + 1), row, np.uint8) for row in range(len(names))})
    write_csv(prepared / "cases.csv", [{"case": name, "class": "none"} for name in names], ("case", "class"))
    write_json(prepared / "dataset.json", {"name": "toy"})
    rows = [{"case": n, "part": PARTS.get(owner[n], "train"), "group": owner[n]} for n in names]
    write_csv(split / "split.csv", rows, ("case", "part", "group"))
    labels = [{"case": n, "label_rank": int(owner[n][1])} for n in names if owner[n] not in PARTS]
    write_csv(split / "labels.csv", labels, ("case", "label_rank"))
    return prepared, split


def test_a_finding_is_printable_whatever_a_name_holds() -> None:
    name = os.fsdecode(b"l\xe4sion\x1b")
    message = Finding("name", name, "", f"a name {name}", "x", "rename it").message
    assert message.encode() == b"l?sion?: expected a name l?sion?, found x; rename it"


def test_prepared_rows_belong_together(folders: tuple[Path, Path]) -> None:
    prepared = load_prepared(folders[0])
    assert [case["case"] for case in prepared.cases] == list("abcdefghijk")
    assert prepared.images[2, 0, 0] == 32
    assert prepared.native_label(3).tolist() == [[3, 3, 3, 3]] * 2
    assert not isinstance(load_prepared(folders[0], mmap=False).images, np.memmap)


def test_rows_and_groups(folders: tuple[Path, Path]) -> None:
    prepared = load_prepared(folders[0])
    assert rows_of_part(prepared, folders[1], "val") == [4]
    assert rows_of_part(prepared, folders[1], "test") == [8, 9]
    assert groups_of(prepared, folders[1])["k"] == "g2"
    with pytest.raises(DataError, match="expected one of train, val, test"):
        rows_of_part(prepared, folders[1], "training")


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.01, "a"),  # at least one group
        (0.125, "a"),  # 1 of 8
        (0.25, "a"),  # 2 of 8: 1 and 3 are equally near, the shorter one is taken
        (0.375, "abf"),
        (0.6, "abcfgk"),  # 4.8 of 8: 6 is nearer than 3
        (0.75, "abcfgk"),
        (1.0, "abcdfghk"),
    ],
)
def test_labeled_rows_end_at_the_nearest_group(folders: tuple[Path, Path], fraction: float, expected: str) -> None:
    prepared = load_prepared(folders[0])
    labeled, unlabeled = labeled_rows(prepared, folders[1], fraction)
    assert "".join(prepared.cases[row]["case"] for row in labeled) == expected
    assert sorted(labeled + unlabeled) == rows_of_part(prepared, folders[1], "train")


def test_labeled_sets_are_nested(folders: tuple[Path, Path]) -> None:
    prepared = load_prepared(folders[0])
    sets = [set(labeled_rows(prepared, folders[1], fraction)[0]) for fraction in np.linspace(0.05, 1.0, 20)]
    assert all(small <= large for small, large in pairwise(sets))


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01])
def test_fraction_out_of_range(folders: tuple[Path, Path], fraction: float) -> None:
    with pytest.raises(DataError, match="label_fraction"):
        labeled_rows(load_prepared(folders[0]), folders[1], fraction)


def test_torn_folders_are_named(folders: tuple[Path, Path]) -> None:
    prepared, split = folders
    write_csv(split / "split.csv", [{"case": "a", "part": "train", "group": "g0"}], ("case", "part", "group"))
    with pytest.raises(DataError, match="10 prepared cases have no part, first b"):
        rows_of_part(load_prepared(prepared), split, "train")
    save_array(prepared / "labels.npy", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(DataError, match=r"labels\.npy 3"):
        load_prepared(prepared)


def test_leaked_cases_are_read_and_an_older_table_is_refused(tmp_path: Path) -> None:
    rows = [{"case": name, "part": "test", "group": name, "leaked": name == "b"} for name in "abc"]
    write_csv(tmp_path / "split.csv", rows, ("case", "part", "group", "leaked"))
    assert leaked_cases(tmp_path) == {"b"}
    write_csv(tmp_path / "split.csv", [{"case": "a", "part": "test", "group": "a"}], ("case", "part", "group"))
    with pytest.raises(DataError, match="expected the column leaked, found case, part, group; run split again"):
        leaked_cases(tmp_path)
