"""The demo's workspace: pristine parameters, sources as they are now, no git, one cache with the project."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pipelines import demo
from pipelines.flows import dvc
from tests.support.workspaces import DEFAULT_PARAMS, ROOT, TRIVIAL, WORK, tree_hashes

TRIVIAL_DEMO = TRIVIAL.replace("work.py, raw.txt", "work.py, data/raw/phantom").replace("work.py", "pipelines/work.py")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An unpacked source archive, without git and without params.yaml, whose pipeline is a trivial one."""
    root = tmp_path / "source"
    for name in ("pipelines", "generative", "segmentation"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "pipelines/work.py").write_text(WORK)
    (root / "dvc.yaml").write_text(TRIVIAL_DEMO)
    shutil.copy(ROOT / ".dvcignore", root / ".dvcignore")
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")
    (root / "data/raw/phantom").mkdir(parents=True)
    (root / "data/raw/phantom/README.md").write_text("a note")
    (root / "data/unlabeled").mkdir()
    (root / "data/unlabeled/README.md").write_text("a note")
    return root


def run_demo(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipelines.demo", *arguments]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=120, check=False)


def test_the_pristine_params_are_those_of_git():
    def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)

    if not (ROOT / ".git").exists() or git("diff", "--quiet", "HEAD", "--", "params.yaml").returncode:
        pytest.skip("params.yaml is edited, or there is no git: nothing to compare with")
    same = (ROOT / "params.yaml").read_bytes() == DEFAULT_PARAMS.read_bytes()
    assert same, "params.yaml was committed without: cp params.yaml pipelines/default.yaml"


def test_the_pristine_params_select_the_demo():
    tree = yaml.safe_load(DEFAULT_PARAMS.read_text())
    assert (tree["dataset"], tree["scale"]) == ("phantom", "demo")
    assert tree["arms"] == {"plain": ["supervised"], "synthetic": ["both"], "phantom": []}


@pytest.mark.parametrize("params", [None, "{torn", "dataset: busi\n"])
def test_the_demo_without_git_whatever_params_yaml_says(source, params):
    if params is not None:
        (source / "params.yaml").write_text(params)
    done = run_demo(source)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (source / "demo/params.yaml").read_bytes() == DEFAULT_PARAMS.read_bytes()
    assert (source / "demo/out/report/result.txt").read_text() == "report"
    assert f"report: {source / 'demo/report/index.html'}" in done.stdout
    assert (source / "params.yaml").exists() == (params is not None)


def test_again_no_stage_runs_and_a_plain_repro_restores(source):
    run_demo(source)
    again = run_demo(source)
    assert again.returncode == 0
    assert "begins" not in again.stdout
    assert "0 stages ran, 0 restored from the cache, 5 unchanged" in again.stdout
    (source / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    (source / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    assert set(dvc.repro(source).values()) == {dvc.Outcome.RESTORED}


def test_sources_are_mirrored_at_each_call(source):
    folder = source / "demo"
    demo.make_workspace(source, folder, b"a: 1\n")
    kept = folder / "pipelines/demo.py"
    before = kept.stat().st_mtime_ns
    (folder / "out").mkdir()
    (folder / "out/result").write_text("kept")
    (folder / "pipelines/__pycache__").mkdir()
    (source / "pipelines/work.py").unlink()
    (source / "pipelines/extra").mkdir()
    (source / "pipelines/extra/new.py").write_text("x = 1\n")
    demo.make_workspace(source, folder, b"a: 2\n")
    assert not (folder / "pipelines/work.py").exists()
    assert (folder / "pipelines/extra/new.py").read_text() == "x = 1\n"
    assert (folder / "params.yaml").read_text() == "a: 2\n"
    assert (folder / "out/result").read_text() == "kept"
    assert kept.stat().st_mtime_ns == before
    shutil.rmtree(source / "pipelines/extra")
    demo.make_workspace(source, folder, b"a: 2\n")
    assert not (folder / "pipelines/extra").exists()


@pytest.mark.parametrize("folder", [".", "mine", "note.txt"])
def test_a_folder_that_is_no_workspace_is_refused_untouched(source, folder):
    (source / "mine/pipelines").mkdir(parents=True)
    (source / "mine/pipelines/own.py").write_text("own")
    (source / "note.txt").write_text("own")
    (source / "params.yaml").write_text("own")
    before = tree_hashes(source, ".")
    done = run_demo(source, "--folder", folder)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ParamsError: --folder {(source / folder).resolve()}: expected a new or empty folder")
    assert {name: value for name, value in tree_hashes(source, ".").items() if "__pycache__" not in name} == before


def test_an_empty_folder_and_an_interrupted_copy_are_gone_on_with(source, monkeypatch):
    folder = source / "other"
    folder.mkdir()
    demo.check_folder(source, folder)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo, "_mirror", interrupt)
        with pytest.raises(KeyboardInterrupt):
            demo.make_workspace(source, folder, b"a: 1\n")
    demo.check_folder(source, folder)


def test_dvc_ignores_the_demo_and_the_environment_but_no_class_of_that_name(source):
    (source / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    names = [
        "demo/data/x",
        ".venv/x",
        "pipelines/__pycache__/x",
        "data/raw/folder/demo/a.png",
        "data/raw/folder/.venv/a",
    ]
    command = [sys.executable, "-m", "dvc", "check-ignore", *names]
    done = subprocess.run(command, cwd=source, env=dvc.environment(), capture_output=True, text=True, check=False)
    assert done.stdout.split() == names[:3], done.stderr


def test_make_clean_in_an_unpacked_source_archive(source):
    if not shutil.which("make"):
        pytest.skip("no make on this machine: the test runs make clean")
    for name in ("demo", "tests/__pycache__", "pipelines/__pycache__"):
        (source / name).mkdir(parents=True)
    command = ["make", "-f", str(ROOT / "Makefile"), "clean"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path for path in source.rglob("*") if path.name in ("demo", "__pycache__")] == []


def test_durations_are_those_after_the_start(tmp_path):
    log = tmp_path / demo.DURATIONS
    assert demo.durations(tmp_path) == []
    log.parent.mkdir(parents=True)
    log.write_text(json.dumps({"stage": "old", "seconds": 9}) + "\n")
    since = log.stat().st_size
    with log.open("a") as handle:
        handle.write(json.dumps({"stage": "prepare", "seconds": 1.5}) + '\n{"stage": "to')
    assert demo.durations(tmp_path, since) == [("prepare", 1.5)]


def test_a_failed_stage_is_one_line_and_exit_1(source):
    demo.make_workspace(source, source / "demo", DEFAULT_PARAMS.read_bytes())
    (source / "demo/orders").mkdir()
    (source / "demo/orders/side").write_text("exit 3")
    done = run_demo(source)
    assert done.returncode == 1
    assert done.stderr.strip() == "StageFailedError: stage side exited with 3: DataError: side: told to fail"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_demo_leaves_no_process(source, number, code):
    demo.make_workspace(source, source / "demo", DEFAULT_PARAMS.read_bytes())
    (source / "demo/orders").mkdir()
    (source / "demo/orders/raw").write_text("sleep 100")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.demo"],
        cwd=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "begins" in line:
            break
    started = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert time.monotonic() - started < 30
    process.stdout.close()
    workers = [path for path in Path("/proc").glob("[0-9]*/cwd") if _link(path) == str(source / "demo")]
    assert workers == []


def _link(path: Path) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 (a Path would drop the mark of a deleted folder)
    except OSError:
        return ""
