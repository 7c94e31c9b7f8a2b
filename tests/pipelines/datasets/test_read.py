from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.read import ADAPTERS, read_dataset
from pipelines.params.datasets import DatasetsParams
from pipelines.runtime.errors import DataError


def test_every_adapter_exists_and_has_params() -> None:
    assert set(ADAPTERS) == set(DatasetsParams.model_fields)
    assert all(find_spec(module) for module in ADAPTERS.values())


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected one of bus_bra, busi, folder, phantom"):
        read_dataset("tn3k", tmp_path, None)


def test_folder_without_images(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="expected images, found none"):
        read_dataset("folder", tmp_path, SimpleNamespace(foreground="lesion"))
