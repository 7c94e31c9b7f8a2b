from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets import adapters
from pipelines.datasets.read import ADAPTERS, read_dataset
from pipelines.runtime.errors import DataError
from tests.support.layouts import touch
from tests.support.workspaces import DEFAULT_PARAMS


def test_every_file_of_the_folder_is_an_adapter_by_that_name() -> None:
    files = {path.stem for folder in adapters.__path__ for path in Path(folder).glob("[a-z]*.py")}
    assert files == set(ADAPTERS)
    assert all(read.__module__ == f"pipelines.datasets.adapters.{name}" for name, read in ADAPTERS.items())


def test_every_adapter_has_a_block_in_the_pristine_params() -> None:
    from pipelines.params.loader import load_params

    params = load_params(DEFAULT_PARAMS)
    assert {name: block.adapter for name, block in params.datasets.items()} == {name: name for name in ADAPTERS}


def test_the_name_is_that_of_params_and_not_the_adapter_s(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    found = read_dataset("clinic_a", tmp_path, SimpleNamespace(adapter="folder", foreground=["x"], masks="binary"))
    assert (found.name, found.adapter, len(found.cases)) == ("clinic_a", "folder", 1)


@pytest.mark.parametrize("name", sorted(set(ADAPTERS) - {"phantom"}))
def test_an_empty_folder_is_one_finding_that_says_so(tmp_path: Path, name: str) -> None:
    block = SimpleNamespace(
        adapter=name, classes=["benign"], folds=[2], test_fold=2, foreground=["x"], masks="binary", fold=0
    )
    found = read_dataset(name, tmp_path, block)
    (finding,) = found.findings
    assert (finding.check, finding.found, found.cases) == ("layout", "no files", ())
    with pytest.raises(DataError, match="expected the dataset's folder, found none"):
        read_dataset(name, tmp_path / "nothing", block)


@pytest.mark.parametrize("names", [["images/p0/a.png", "images/p1/a.png"], ["images/a.png"]])
def test_a_set_without_a_case_has_an_error_that_is_not_about_masks(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    if len(names) == 1:
        (tmp_path / "train.txt").write_text("b.png\n")  # a warning, and one image in no list
    block = SimpleNamespace(adapter="folder", foreground=["x"], masks="binary")
    found = read_dataset("folder", tmp_path, block)
    assert (found.cases, "layout" in [item.check for item in found.findings]) == ((), True)


@pytest.mark.parametrize("name", sorted(set(ADAPTERS) - {"phantom", "folder"}))
def test_every_adapter_names_terms_and_citation(tmp_path: Path, name: str) -> None:
    block = SimpleNamespace(adapter=name, classes=["benign"], folds=[2], test_fold=2, fold=0)
    found = read_dataset(name, tmp_path, block)
    assert len(found.terms) > 20
    assert len(found.citation) > 20
