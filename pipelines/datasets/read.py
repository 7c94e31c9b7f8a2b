"""From the name of a dataset to its cases, by the adapter that its block in params.yaml names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.adapters import bus_bra, busi, ddti, folder, phantom, stu, tn3k, udiat
from pipelines.datasets.case import Dataset, Finding

ADAPTERS = {
    "phantom": phantom.read,
    "busi": busi.read,
    "bus_bra": bus_bra.read,
    "folder": folder.read,
    "stu": stu.read,
    "udiat": udiat.read,
    "tn3k": tn3k.read,
    "ddti": ddti.read,
}


def read_dataset(name: str, root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Read data/raw/<name> with its adapter.

    root: the dataset's folder in its published layout. settings: the block `datasets.<name>` of params.yaml. work,
    count: an empty folder and a number of images for the phantom, which writes its images there before they are read.
    A set without a case has at least one finding that says why. DataError: `root` is no folder.
    """
    dataset = replace(ADAPTERS[settings.adapter](root, settings, work=work, count=count), name=name)
    if dataset.cases or dataset.findings:
        return dataset
    remedy = "copy the published folder there (see docs/datasets.md)"
    return replace(dataset, findings=(Finding("layout", "", "", "images", "none", remedy),))
