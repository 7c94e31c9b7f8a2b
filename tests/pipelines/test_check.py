"""One report with all problems, and what to do about each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from pipelines import check
from pipelines.datasets.read import ADAPTERS
from pipelines.params.datasets import DatasetBlock
from pipelines.params.loader import load_params
from pipelines.runtime.errors import ArtifactError
from tests.support.workspaces import DEFAULT_PARAMS, ROOT, project_environment

LOCK = "schema: '2.0'\nstages:\n  prepare:\n    cmd: exec python -m pipelines.prepare\n    outs: []\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Parameters and the phantom's note, nothing else."""
    (tmp_path / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    (tmp_path / "data/raw/phantom").mkdir(parents=True)
    (tmp_path / "data/raw/phantom/README.md").write_text("a note")
    return tmp_path


@pytest.fixture
def edit(project: Path) -> Callable[[str, str], None]:
    def replace(old: str, new: str) -> None:
        text = (project / "params.yaml").read_text()
        assert old in text
        (project / "params.yaml").write_text(text.replace(old, new, 1))

    return replace


def lines_of(project: Path) -> dict[str, str]:
    return {item.name: str(item) for item in check.report(project)}


def test_a_whole_project_is_ready(project, capsys):
    assert check.main(project) == 0
    printed = capsys.readouterr().out
    assert "PROBLEM" not in printed
    assert "dataset phantom, scale demo, segmenter crossdiff" in printed
    assert "phantom scores are never set beside scores on real images" in printed
    assert "none yet: every stage will run" in printed
    assert printed.endswith("ready: dvc repro\n")


@pytest.mark.parametrize(
    ("name", "doi"), [("busi", "10.1016/j.dib.2019.104863"), ("bus_bra", "10.5281/zenodo.8231412")]
)
def test_a_missing_dataset_is_explained(project, edit, name, doi):
    edit("dataset: phantom", f"dataset: {name}")
    report = lines_of(project)
    assert report["data"].startswith("PROBLEM  data")
    for part in (f"data/raw/{name}", "as published", "found nothing", doi):
        assert part in report["data"]
    assert "cite" in report["terms"]


def test_a_wrong_layout_names_what_was_found(project, edit):
    edit("dataset: phantom", "dataset: busi")
    (project / "data/raw/busi/archive").mkdir(parents=True)
    assert "found archive" in lines_of(project)["data"]
    (project / "data/raw/busi/benign").mkdir()
    assert lines_of(project)["data"] == "ok       data     data/raw/busi is there"


def test_a_dangling_link_is_named(project, edit):
    edit("dataset: phantom", "dataset: folder")
    (project / "data/raw/folder").symlink_to(project / "nowhere")
    assert "found a dangling link" in lines_of(project)["data"]


def test_every_dataset_that_params_accept_has_a_source():
    assert set(check.SOURCES) == set(ADAPTERS) == {tag for block in blocks() for tag in get_args(block)}


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
