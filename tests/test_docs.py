"""docs/datasets.md says what the code does, and its example of a new adapter works as printed."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.datasets.assemble import prepare_dataset
from pipelines.datasets.case import Dataset, load_prepared
from pipelines.datasets.duplicates import Rule
from pipelines.datasets.integrity import CHECKS, policy_of
from pipelines.datasets.read import ADAPTERS
from tests.support import layouts
from tests.support.workspaces import ROOT

PAGE = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")


def block_of(file: str) -> str:
    """The python block of the page that begins with this file's name."""
    (code,) = re.findall(rf"^```python\n# {re.escape(file)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return code


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dataset]:
    """The adapter of the page, as a module."""
    module = types.ModuleType("breast")
    monkeypatch.setitem(sys.modules, "breast", module)
    exec(compile(block_of("pipelines/datasets/adapters/breast.py"), "docs/datasets.md", "exec"), module.__dict__)
    return module.read


def test_the_example_reads_its_published_layout(read: Callable[..., Dataset], tmp_path: Path) -> None:
    layouts.breast(tmp_path)
    found = read(tmp_path, None)
    assert [(case.case, case.class_name, case.lesion, case.identity) for case in found.cases] == [
        ("case001", "benign", True, "patient-case001"),
        ("case002", "malignant", True, "patient-case002"),
        ("case003", "normal", False, "patient-case003"),
    ]
    assert [[path.stem for path in case.masks] for case in found.cases] == [
        ["case001_tumor"],
        ["case002_tumor1", "case002_tumor2"],
        [],
    ]
    assert [(item.check, item.found) for item in found.findings] == [("count", "3")]


def test_the_example_names_faults(read: Callable[..., Dataset], tmp_path: Path) -> None:
    layouts.breast(tmp_path)
    base = tmp_path / "BrEaST-Lesions_USG-images_and_masks"
    (base / "case001_tumor.png").unlink()
    layouts.touch(base, "case004_lesion.png", "case005_tumor.png")
    assert sorted((item.check, item.case) for item in read(tmp_path, None).findings) == [
        ("count", ""),
        ("mask without image", "case005"),
        ("missing mask", "case001"),
        ("unread", "case004_lesion"),
    ]
    (tmp_path / "clinical.csv").unlink()
    assert [item.check for item in read(tmp_path, None).findings] == ["layout"]


def test_the_example_goes_through_prepare(read: Callable[..., Dataset], tmp_path: Path) -> None:
    layouts.breast(tmp_path / "raw")
    out = tmp_path / "out"
    out.mkdir()
    settings: dict[str, Any] = {"size": 64, "resize": "stretch", "policy": policy_of({}, strict=False)}
    settings |= {"rule": Rule(6, 0.9, 1.1, 0.9, 6, 0.9), "roots": (tmp_path / "raw",), "faults": tmp_path / "faults"}
    dataset = read(tmp_path / "raw", None)
    prepare_dataset(dataset, out, **settings, log=print, progress=lambda done: None)
    found = load_prepared(out)
    # both tumors of case 2 and not the cyst beside them; a normal scan needs no file to be empty
    assert [int(found.native_label(row).sum()) for row in range(3)] == [900, 1000, 0]


def test_the_example_s_parameters_are_a_block() -> None:
    from typing import Literal

    from pipelines.params.block import Block

    scope: dict[str, Any] = {"Block": Block, "Literal": Literal}
    exec(block_of("pipelines/params/datasets.py"), scope)
    assert scope["BreastParams"](adapter="breast").adapter == "breast"


def test_every_adapter_has_its_row() -> None:
    first = PAGE.partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|", first, re.MULTILINE)[1:]  # below the head
    assert rows == list(ADAPTERS)


def test_every_check_stands_with_its_default_severity() -> None:
    said = {}
    for severity, checks in re.findall(r"^\| (error|exclude|warning|flag): [^|]*\| (.*) \|$", PAGE, re.MULTILINE):
        said |= dict.fromkeys(re.findall(r"`([^`]+)`", checks), severity)
    assert said == {name: check.severity for name, check in CHECKS.items()}


def test_others_are_named_with_a_hint() -> None:
    later = ["BUS-UCLM", "OASBUD", "TG3K", "HC18", "CAMUS", "ISIC 2018", "PH2", "ACDC", "DICOM", "NIfTI"]
    assert all(re.search(rf"^\| {name} \| .{{30,}} \|$", PAGE, re.MULTILINE) for name in later)
