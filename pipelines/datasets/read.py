"""From the name of a dataset to its cases: the adapter is imported by name, so only the selected one is loaded."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from pipelines.datasets.case import Dataset
from pipelines.runtime.errors import DataError

ADAPTERS = {
    "phantom": "pipelines.datasets.adapters.phantom",
    "busi": "pipelines.datasets.adapters.busi",
    "bus_bra": "pipelines.datasets.adapters.bus_bra",
    "folder": "pipelines.datasets.adapters.folder",
}


def read_dataset(name: str, root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Read data/raw/<name> with its adapter.

    root: the dataset's folder in its published layout. settings: the block `datasets.<name>` of params.yaml. work,
    count: an empty folder and a number of images for the phantom, which writes its images there before they are read.
    """
    if name not in ADAPTERS:
        raise DataError(f"dataset {name!r}: expected one of {', '.join(sorted(ADAPTERS))}")
    dataset: Dataset = import_module(ADAPTERS[name]).read(root, settings, work=work, count=count)
    if not dataset.cases:
        raise DataError(f"data/raw/{name}: expected images, found none; see docs/datasets.md for the layout")
    return dataset
