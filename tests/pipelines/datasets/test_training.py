"""Training images: the train rows, then the pool's, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets.training import load_pool, load_training_images
from pipelines.runtime.artifacts import read_csv, write_csv
from pipelines.runtime.errors import DataError
from tests.support.generator import make_pool, make_workspace, speckle

FOLDERS = ("data/prepared", "data/split", "data/pool")


def load(root: Path):
    return load_training_images(*(root / folder for folder in FOLDERS))


def test_an_empty_pool_adds_nothing(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    found = load(root)
    train = [row for row in range(20) if row % 5 < 3]
    assert np.array_equal(found.images, np.load(root / "data/prepared/images.npy")[train])
    assert found.rows == train
    assert found.own == 12
    assert found.names == found.groups == [f"case-{row:03d}" for row in train]


def test_the_pools_images_follow_the_train_images(tmp_path: Path) -> None:
    root, more = make_workspace(tmp_path), speckle(3, 32, seed=5)
    make_pool(root, more, groups=["case-000", "other/p", "other/p"])
    found = load(root)
    assert found.own == 12
    assert np.array_equal(found.images[12:], more)
    assert found.names[12:] == ["other/image-000", "other/image-001", "other/image-002"]
    assert found.groups[12:] == ["case-000", "other/p", "other/p"]
    assert found.rows[12:] == [0, 1, 2]
    pool = load_pool(root / "data/pool")
    assert pool.rows_outside({"case-000", "case-001"}) == [1, 2]
    assert pool.rows_outside(set()) == [0, 1, 2]


def test_images_of_another_size_and_lost_lines_are_refused(tmp_path: Path) -> None:
    root = make_workspace(tmp_path)
    make_pool(root, speckle(2, 16))
    with pytest.raises(DataError, match=r"expected images of \(32, 32\), found \(16, 16\)"):
        load(root)
    make_pool(root, speckle(2, 32))
    table = root / "data/pool/cases.csv"
    rows = read_csv(table)
    write_csv(table, rows[:1], list(rows[0]))
    with pytest.raises(DataError, match=r"images.npy has 2 rows, cases.csv 1"):
        load_pool(root / "data/pool")
