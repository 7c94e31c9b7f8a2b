"""The embedded physics phantom: written in the BUSI layout into the stage's folder, then read by the BUSI reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.datasets.adapters.busi import read_layout
from pipelines.datasets.case import Dataset
from pipelines.datasets.phantom.emission import emit
from pipelines.runtime.artifacts import read_json

OFFICIAL = {"A": "", "B": "external"}
TERMS = "made by this program; free of patients"
CITATION = "SonoSynth physics phantom"


def read(root: Path, settings: Any, *, work: Path | None = None, count: int = 0) -> Dataset:
    """Make `count` images in the empty folder `work` and read them; `root` (data/raw/phantom) holds a note only.

    settings: seed, classes, site_b, plant. Of phantom.json the patient becomes the published identity and the site is
    told, B as an external one; the reader gets no other hint.
    """
    if work is None or count < 1:
        raise ValueError("the phantom needs a folder to write into and a number of images")
    classes = tuple(settings.classes)
    emit(work, settings.seed, count, classes, settings.site_b, settings.plant)
    facts = {row["case"]: row for row in read_json(work / "phantom.json")["images"]}
    identities = {case: row["patient"] for case, row in facts.items()}
    dataset = read_layout(work, classes, name="phantom", identities=identities)
    sites = {case: row["site"] for case, row in facts.items()}
    return replace(
        dataset,
        cases=tuple(
            replace(case, site=sites[case.case], official_part=OFFICIAL[sites[case.case]]) for case in dataset.cases
        ),
        adapter="phantom",
        terms=TERMS,
        citation=CITATION,
        phantom=True,
    )
