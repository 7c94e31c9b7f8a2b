from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.adapters.bus_bra import read
from pipelines.runtime.errors import DataError

DATA = """ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX
bus_0001-l,1,x,malignant,4,A,100,90,left,"[1,2,3,4]"
bus_0001-r,1,x,malignant,4,A,100,90,right,"[1,2,3,4]"
bus_0002-l,2,x,benign,2,A,100,90,left,"[1,2,3,4]"
bus_0003-s,3,x,benign,2,A,100,90,s,"[1,2,3,4]"
"""
FOLDS = """ID,Pathology,kFold,valid_1
bus_0001-l,malignant,3,1
bus_0001-r,malignant,3,1
bus_0002-l,benign,2,0
bus_0003-s,benign,4,NaN
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "BUSBRA"
    for kind in ("Images/bus", "Masks/mask"):
        (base / kind).parent.mkdir(parents=True)
        for name in ("0001-l", "0001-r", "0002-l", "0003-s"):
            (base / f"{kind}_{name}.png").touch()
    (base / "bus_data.csv").write_text(DATA)
    (base / "5-fold-cv.csv").write_text(FOLDS)
    return tmp_path


def test_only_the_folds_asked_for_are_read(root: Path) -> None:
    found = read(root, SimpleNamespace(folds=[2, 3]))
    assert [case.case for case in found.cases] == ["bus_0001-l", "bus_0001-r", "bus_0002-l"]
    assert [case.identity for case in found.cases] == ["patient-0001", "patient-0001", "patient-0002"]
    assert [case.masks[0].name for case in found.cases][2] == "mask_0002-l.png"
    assert found.cases[0].published_size == (100, 90)
    assert found.findings == ()


def test_absent_fold(root: Path) -> None:
    with pytest.raises(DataError, match=r"expected folds \[1, 2\], found \[2, 3, 4\]"):
        read(root, SimpleNamespace(folds=[1, 2]))


def test_faults_are_findings(root: Path) -> None:
    (root / "BUSBRA/Masks/mask_0001-l.png").unlink()
    (root / "BUSBRA/Images/bus_0002-l.png").unlink()
    (root / "BUSBRA/Images/bus_9999-l.png").touch()
    found = read(root, SimpleNamespace(folds=[2, 3]))
    assert [(item.severity, item.check, item.case) for item in found.findings] == [
        ("error", "missing mask", "bus_0001-l"),
        ("warning", "table", "bus_0002-l"),
        ("warning", "table", ""),
    ]


def test_missing_table_is_named(root: Path) -> None:
    (root / "BUSBRA/5-fold-cv.csv").unlink()
    with pytest.raises(DataError, match=r"expected BUSBRA/ with Images, Masks, bus_data\.csv, 5-fold-cv\.csv"):
        read(root, SimpleNamespace(folds=[2]))


def test_published_folds(shared_data: Path) -> None:
    three = read(shared_data / "bus_bra", SimpleNamespace(folds=[2, 3, 4]))
    assert len(three.cases) == 1116
    two = read(shared_data / "bus_bra", SimpleNamespace(folds=[2, 3]))
    assert len(two.cases) == 751
    four = read(shared_data / "bus_bra", SimpleNamespace(folds=[4]))
    assert not {case.identity for case in two.cases} & {case.identity for case in four.cases}
    assert all(case.image.name == f"{case.case}.png" for case in two.cases)
    assert three.findings == ()
