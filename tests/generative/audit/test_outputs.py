"""What the audit publishes, piece by piece."""

import math
from pathlib import Path

import numpy as np

from generative.audit.outputs import finite, recheck
from pipelines.runtime.artifacts import save_array, write_csv
from tests.support.generator import speckle


def write_kept(root: Path, images: np.ndarray, rows: list[int]) -> Path:
    save_array(root / "images.npy", images)
    write_csv(root / "kept.csv", [{"sample": f"s{row:06d}", "row": row} for row in rows], ["sample", "row"])
    return root / "kept.csv"


def test_recheck_names_the_kept_copy_alone(tmp_path):
    train, fresh = speckle(6, 64, seed=0), speckle(3, 64, seed=1)
    images = np.concatenate([fresh, train[4:5], train[2:3, :, ::-1]])  # rows 3 and 4 are copies, one mirrored
    assert recheck(write_kept(tmp_path, images, [0, 1, 2]), tmp_path, train, 0.95) == []
    assert recheck(write_kept(tmp_path, images, [0, 2, 3, 4]), tmp_path, train, 0.95) == ["s000003", "s000004"]
    assert recheck(write_kept(tmp_path, images, []), tmp_path, train, 0.95) == []


def test_finite_leaves_numbers_and_empties_the_rest():
    found = finite({"a": {"b": math.nan, "c": math.inf, "d": 0.5}, "n": 3, "t": "text", "none": None})
    assert found == {"a": {"b": None, "c": None, "d": 0.5}, "n": 3, "t": "text", "none": None}
