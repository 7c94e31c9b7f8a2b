"""The embedded physics phantom: written in the BUSI layout into the stage's folder, then read by the BUSI reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.adapters.busi import read_layout
from pipelines.datasets.case import Dataset
from pipelines.datasets.phantom.emission import emit
from pipelines.runtime.artifacts import read_json


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Make `count` images in the empty folder `work` and read them; `root` (data/raw/phantom) holds a note only.

    settings.seed and settings.classes; the patient of phantom.json becomes the published identity.
    """
    if work is None or count < 1:
        raise ValueError("the phantom needs a folder to write into and a number of images")
    classes = tuple(settings.classes)
    emit(work, settings.seed, count, classes)
    images = read_json(work / "phantom.json")["images"]
    dataset = read_layout(work, classes, name="phantom", identities={row["case"]: row["patient"] for row in images})
    return replace(
        dataset,
        adapter="phantom",
        terms="made by this program; free of patients",
        citation="SonoSynth physics phantom",
        phantom=True,
    )
