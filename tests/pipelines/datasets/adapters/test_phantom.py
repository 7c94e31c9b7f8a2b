from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.adapters.phantom import read
from pipelines.datasets.descriptors import describe
from pipelines.datasets.duplicates import find_pairs
from pipelines.datasets.images import decode
from tests.support.duplicates import default_rule

SETTINGS = SimpleNamespace(seed=0, classes=["benign", "malignant", "normal"], site_b=0.2, plant=True)


def test_round_trip_through_the_busi_reader(tmp_path: Path) -> None:
    found = read(Path("unused"), SETTINGS, work=tmp_path, count=24)
    assert (found.phantom, found.name, found.adapter, found.findings, found.expected) == (
        True,
        "phantom",
        "phantom",
        (),
        {},
    )
    assert len(found.cases) == 24
    assert all(case.identity.startswith("patient-") for case in found.cases)
    assert [case.case for case in found.cases if len(case.masks) == 2]
    descriptors = describe(decode(case.image).gray for case in found.cases)
    pairs = find_pairs(descriptors, default_rule())
    assert all(found.cases[pair.a].identity == found.cases[pair.b].identity for pair in pairs)


def test_a_folder_and_a_count_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folder to write into"):
        read(tmp_path, SETTINGS)
