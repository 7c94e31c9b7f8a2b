"""One report with all problems, and what to do about each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from pipelines import check
from pipelines.datasets.read import ADAPTERS
from pipelines.datasets.sources import SOURCES
from pipelines.params.datasets import DatasetBlock
from pipelines.params.loader import load_params
from pipelines.runtime.errors import ArtifactError
from tests.support import layouts
from tests.support.workspaces import DEFAULT_PARAMS, ROOT, project_environment

LOCK = "schema: '2.0'\nstages:\n  prepare:\n    cmd: exec python -m pipelines.prepare\n    outs: []\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Parameters, the phantom's note and a folder for further sets, nothing else."""
    (tmp_path / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    (tmp_path / "data/raw/phantom").mkdir(parents=True)
    (tmp_path / "data/unlabeled").mkdir()
    (tmp_path / "data/raw/phantom/README.md").write_text("a note")
    return tmp_path


def test_a_lost_folder_for_further_sets_is_named(project):
    (project / "data/unlabeled").rmdir()
    assert "PROBLEM  data     data/unlabeled: expected the folder with its note" in lines_of(project)["data"]


@pytest.fixture
def edit(project: Path) -> Callable[[str, str], None]:
    def replace(old: str, new: str) -> None:
        text = (project / "params.yaml").read_text()
        assert old in text
        (project / "params.yaml").write_text(text.replace(old, new, 1))

    return replace


def lines_of(project: Path) -> dict[str, str]:
    """Name -> its lines."""
    lines: dict[str, list[str]] = {}
    for item in check.report(project):
        lines.setdefault(item.name, []).append(str(item))
    return {name: "\n".join(found) for name, found in lines.items()}


def test_a_whole_project_is_ready(project, capsys):
    assert check.main(project) == 0
    printed = capsys.readouterr().out
    assert "PROBLEM" not in printed
    assert "dataset phantom, scale demo, segmenter unet" in printed
    assert "phantom scores are never set beside scores on real images" in printed
    assert "none yet: every stage will run" in printed
    assert printed.endswith("ready: dvc repro\n")


@pytest.mark.parametrize("name", sorted(set(ADAPTERS) - {"phantom"}))
def test_a_missing_dataset_is_explained(project, edit, name):
    edit("dataset: phantom", f"dataset: {name}")
    report = lines_of(project)
    source = SOURCES[name]
    assert report["data"] == (
        f"PROBLEM  data     data/raw/{name}: expected {source.layout}; found nothing; get it: {source.where}"
    )
    assert report["terms"] == f"ok       terms    {source.terms}"
    assert name == "folder" or "cite" in source.terms


def test_every_dataset_that_params_accept_has_a_source():
    assert set(SOURCES) == set(ADAPTERS) == {tag for block in blocks() for tag in get_args(block)}


@pytest.mark.parametrize(
    ("name", "write", "line"),
    [
        ("busi", layouts.busi, "data/raw/busi: 5 images (3 benign, 2 malignant)"),
        ("bus_bra", layouts.bus_bra, "data/raw/bus_bra: 5 images (1 benign, 4 malignant); 1 warning, which `prepare`"),
        ("stu", layouts.stu, "data/raw/stu: 3 images (3 none); 1 warning"),
        ("udiat", layouts.udiat, "data/raw/udiat: 3 images (3 none); 1 warning"),
        ("tn3k", layouts.tn3k, "data/raw/tn3k: 7 images (7 none); 2 warnings"),
        ("ddti", layouts.ddti_preprocessed, "data/raw/ddti: 3 images (3 none), layout: preprocessed"),
    ],
)
def test_a_dataset_in_its_layout_is_counted(project, edit, name, write, line):
    edit("dataset: phantom", f"dataset: {name}")
    write(project / "data/raw" / name)
    assert lines_of(project)["data"].startswith(f"ok       data     {line}")
    assert "PROBLEM" not in lines_of(project)["data"]


def test_a_copy_in_another_place_is_named(project, edit):
    edit("dataset: phantom", "dataset: busi")
    layouts.busi(project / "data/raw/archive")
    assert (
        "found nothing; data/raw/archive looks like it: move or link it to data/raw/busi; get"
        in lines_of(project)["data"]
    )
    (project / "data/raw/busi").mkdir()
    (project / "data/raw/archive").rename(project / "data/raw/busi/archive")
    assert "found them in archive/Dataset_BUSI_with_GT/: move that folder up" in lines_of(project)["data"]


def test_an_adapter_s_own_name_for_another_folder_is_no_copy(project, edit):
    edit("dataset: phantom", "dataset: udiat")
    layouts.touch(project / "data/raw/folder", "images/a.png", "BUS/original/a.png")
    assert "looks like it" not in lines_of(project)["data"]


def test_a_wrong_layout_names_what_was_found(project, edit):
    edit("dataset: phantom", "dataset: tn3k")
    layouts.touch(project / "data/raw/tn3k", "dataset.zip", "more/a.png")
    data = lines_of(project)["data"]
    assert data.count("PROBLEM") == 1
    assert "found dataset.zip, more/ (1 file)" in data
    assert SOURCES["tn3k"].where in data


def test_faults_that_would_stop_prepare_are_named_before(project, edit):
    edit("dataset: phantom", "dataset: folder")
    raw = project / "data/raw/folder"
    layouts.touch(raw, *(f"images/{number}.png" for number in range(9)), "masks/8.png", "masks/9.png")
    (raw / "images" / "link.png").symlink_to(project / "params.yaml")
    data = lines_of(project)["data"].splitlines()
    assert data[0] == "ok       data     data/raw/folder: 9 images (9 none), layout: pairs"
    assert "images/link.png: expected a file of its own, found a link out of the dataset's folder" in data[1]
    assert len(data) == 1 + check.SHOWN + 1
    assert data[-1].endswith("and 5 faults more; `dvc repro prepare` lists them all")
    edit("policy: {}", "policy: {missing mask: exclude, mask without image: warning, link: exclude}")
    assert lines_of(project)["data"].splitlines() == [f"{data[0]}; 9 left out, 1 warning, which `prepare` lists"]


@pytest.mark.parametrize("policy", ["{}", "{layout: warning}"])
def test_a_nested_folder_is_explained_and_not_to_be_moved_up(project, edit, policy):
    edit("dataset: phantom", "dataset: folder")
    edit("policy: {}", f"policy: {policy}")
    layouts.touch(project / "data/raw/folder", "images/p0/a.png", "images/p1/a.png")
    (line,) = lines_of(project)["data"].splitlines()
    assert line.startswith("PROBLEM  data     data/raw/folder: expected images/ and masks/")
    assert "images/: expected images directly in images/, found images/p0/ (1), images/p1/ (1)" in line
    assert "column group of groups.csv" in line
    assert "looks like it" not in line


def test_a_folder_called_images_is_not_the_set_itself(project, edit):
    edit("dataset: phantom", "dataset: folder")
    layouts.touch(project / "data/raw/images", "a.png")
    assert "looks like it" not in lines_of(project)["data"]
    layouts.touch(project / "data/raw/scans", "images/a.png")
    assert "data/raw/scans looks like it: move or link it to data/raw/folder" in lines_of(project)["data"]


def test_names_and_counts_are_checked_as_prepare_does(project, edit):
    edit("dataset: phantom", "dataset: busi")
    edit("classes: [benign, malignant]   ", "classes: [benign, malignant, normal]   ")
    layouts.touch(project / "data/raw/busi", *(f"benign/{name}{end}.png" for name in "aA" for end in ("", "_mask")))
    data = lines_of(project)["data"]
    assert "expected at least 1 image of class malignant, found 0" in data
    assert "A: expected a name of its own on every file system" in data or "a: expected a name of its own" in data


def test_one_class_in_the_folds_of_bus_bra_is_no_fault(project, edit):
    edit("dataset: phantom", "dataset: bus_bra")
    edit("folds: [2, 3]", "folds: [4]")
    edit("test_fold: 3", "test_fold: 4")
    layouts.bus_bra(project / "data/raw/bus_bra")
    assert lines_of(project)["data"] == "ok       data     data/raw/bus_bra: 1 images (1 benign)"


def test_names_that_are_no_text_can_be_printed(project, edit, capsys):
    edit("dataset: phantom", "dataset: folder")
    folder = project / "data/raw/folder" / os.fsdecode(b"l\xe4sion")
    layouts.touch(folder, "a.png", "a_mask.png")
    assert check.main(project) == 1
    assert "1 images (1 l?sion)" in capsys.readouterr().out.encode().decode()


def test_unlabeled_images_with_masks_that_are_not_understood_are_ready(project, edit):
    edit("unlabeled: []", "unlabeled: [folder]")
    raw = project / "data/raw/folder"
    layouts.touch(raw, "images/a.png", "images/b.png", "masks/0/a.png", "masks/1/a.png")
    expected = "ok       data     data/raw/folder: as unlabeled images, 2 images (2 none), layout: unlabeled"
    assert lines_of(project)["data"].splitlines()[1:] == [expected]
    shutil.rmtree(raw / "masks")
    layouts.touch(raw, "masks/a.png", "masks/a.bmp")
    assert lines_of(project)["data"].splitlines()[1:] == [expected.replace("layout: unlabeled", "layout: pairs")]


def test_unlabeled_sets_are_checked_too_but_for_masks(project, edit):
    layouts.touch(project / "data/raw/folder", "images/a.png")
    edit("unlabeled: []", "unlabeled: [folder, stu]")
    report = lines_of(project)
    first, second, third = report["data"].splitlines()
    assert first.startswith("ok       data     data/raw/phantom is there")
    assert second == ("ok       data     data/raw/folder: as unlabeled images, 1 images (1 none), layout: unlabeled")
    assert third.startswith("PROBLEM  data     data/raw/stu: expected Hospital/")
    assert report["terms"].count("\n") == 2
    edit("dataset: phantom", "dataset: folder")
    edit("unlabeled: [folder, stu]", "unlabeled: []")
    assert "list the set under `unlabeled:`" in lines_of(project)["data"]


def test_a_policy_that_cannot_be_is_named(project, edit):
    edit("dataset: phantom", "dataset: folder")
    layouts.touch(project / "data/raw/folder", "images/a.png")
    edit("policy: {}", "policy: {unreadable: warning}")
    assert "prepare.policy: unreadable: expected error or exclude" in lines_of(project)["data"]


def test_a_dangling_link_is_named(project, edit):
    edit("dataset: phantom", "dataset: folder")
    (project / "data/raw/folder").symlink_to(project / "nowhere")
    assert "found a dangling link" in lines_of(project)["data"]


def blocks():
    return [block.model_fields["adapter"].annotation for block in get_args(get_args(DatasetBlock)[0])]


def test_all_problems_stand_in_one_report(project, edit, capsys):
    edit("dataset: phantom", "datset: phantom")
    edit("scale: demo", "scale: huge")
    (project / "dvc.lock").write_text("schema: '2.0'\nstages:\n  a: 'x")
    assert check.main(project) == 1
    printed = capsys.readouterr().out
    assert "datset: unknown key; the nearest known one is 'dataset'" in printed
    assert "scale: input should be 'smoke', 'demo' or 'full', found 'huge'" in printed
    assert "git checkout dvc.lock" in printed
    assert printed.endswith("4 problems found\n")  # the missing key dataset is the fourth


def test_a_full_disk_is_a_problem(project, monkeypatch):
    monkeypatch.setattr(check.shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * check.GIB))
    assert not check.disk_item(project, "demo").problem
    item = check.disk_item(project, "full")
    assert item.problem
    assert "expected 20 GiB free for scale full, found 10.0" in item.text


def test_cuda_where_none_is_seen_is_a_problem(project, edit, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not check.device_item(load_params(project / "params.yaml")).problem
    edit("device: auto", "device: cuda")
    item = check.device_item(load_params(project / "params.yaml"))
    assert item.problem
    assert "set it to auto or cpu" in item.text


@pytest.mark.parametrize("cut", range(0, len(LOCK) - 1, 11))
def test_a_cut_lock_file_is_named_or_still_valid(project, cut):
    """What is left of a cut file is refused, or is a lock file of which DVC can make sense."""
    (project / "dvc.lock").write_text(LOCK[:cut])
    if "cmd: e" in LOCK[:cut]:
        check.require_whole_lock_file(project)
        return
    with pytest.raises(ArtifactError, match=r"dvc.lock: damaged.*git checkout dvc.lock"):
        check.require_whole_lock_file(project)


def test_a_whole_lock_file_passes(project):
    (project / "dvc.lock").write_text(LOCK)
    check.require_whole_lock_file(project)
    assert lines_of(project)["dvc.lock"] == "ok       dvc.lock whole"


def test_the_command_line(project):
    command = [sys.executable, "-m", "pipelines", "check"]
    done = subprocess.run(
        command, cwd=project, env=project_environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "ready: dvc repro" in done.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys, pipelines.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "finally: print(sorted({'torch', 'pydantic', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "check" in done.stdout
