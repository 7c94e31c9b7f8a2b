"""From the name of a dataset to its cases, by the adapter that its block in params.yaml names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.adapters import bus_bra, busi, ddti, folder, phantom, stu, tn3k, udiat
from pipelines.datasets.case import Dataset, Finding
from pipelines.datasets.integrity import CHECKS

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
    A set without a case has a finding that says why, an error by default and not about masks. DataError: `root` is no
    folder.
    """
    dataset = replace(ADAPTERS[settings.adapter](root, settings, work=work, count=count), name=name)
    told = any(CHECKS[item.check].severity == "error" and not CHECKS[item.check].mask for item in dataset.findings)
    if dataset.cases or told:
        return dataset
    found, remedy = "none that can be read", "see the other findings and the layouts in docs/datasets.md"
    return replace(dataset, findings=(Finding("layout", "", "", "images", found, remedy), *dataset.findings))
