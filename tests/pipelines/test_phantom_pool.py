from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.descriptors import describe
from pipelines.datasets.duplicates import find_pairs_between
from pipelines.params.loader import load_params
from pipelines.phantom_pool import STAGE
from pipelines.prepare import STAGE as PREPARE
from pipelines.runtime.artifacts import load_array, read_csv
from pipelines.runtime.stage import execute
from tests.support.duplicates import default_rule
from tests.support.workspaces import smoke_params


def test_pool_is_of_other_patients_than_the_dataset(tmp_path: Path) -> None:
    def edit(tree: dict[str, Any]) -> None:
        tree["scales"]["smoke"]["prepare"]["phantom_images"] = 12

    (tmp_path / "params.yaml").write_bytes(smoke_params(edit))
    params = load_params(tmp_path / "params.yaml")
    execute(PREPARE, params, tmp_path, {})
    execute(STAGE, params, tmp_path, {"arm": "phantom"})
    pool = load_array(tmp_path / "data/phantom_pool/phantom/images.npy")
    rows = read_csv(tmp_path / "data/phantom_pool/phantom/samples.csv")
    assert pool.shape == (12, 64, 64)
    assert pool.dtype == np.uint8
    assert [row["row"] for row in rows] == [str(index) for index in range(12)]
    assert rows[11]["sample"] == "s000011"
    dataset = load_array(tmp_path / "data/prepared/images.npy")
    assert find_pairs_between(describe(dataset), describe(pool), default_rule()) == []
