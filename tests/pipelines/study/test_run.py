"""Real runs of a made-up project: each call once, killed anywhere, failing, edited, moved."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.runtime.process import hold_lock
from pipelines.study import store
from pipelines.study.__main__ import FROZEN, main
from pipelines.study.graph import Call
from pipelines.study.plan import open_folder
from tests.support.study_world import events, make_project, run_study, started_study, wait_for, write_study
from tests.support.workspaces import processes_in, wait_until_gone

pytestmark = pytest.mark.e2e


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def stages(names: list[str]) -> dict[str, int]:
    return dict(Counter(name.rpartition("-")[0] for name in names))


def test_two_workers_run_each_call_once_and_the_table_has_its_numbers(project: Path) -> None:
    study = write_study(project, reference={"arm": "supervised"})
    code, printed = run_study(project, "run", str(study), "--workers", "2")
    assert code == 0, printed
    expected = {"prepare": 1, "split": 1, "segment": 4, "evaluate": 4}
    assert stages(events(project, "begin")) == stages(events(project, "end")) == expected
    assert "4 jobs, 10 stage calls" in printed
    assert "4 of 4 jobs are done; 10 calls ran" in printed
    folder = project / "studies" / "toy"
    for link in (path for path in folder.rglob("*") if path.is_symlink()):
        assert link.parts[-2] == "raw" or not link.readlink().is_absolute()

    code, printed = run_study(project, "run", str(study), "--workers", "2")
    assert (code, len(events(project, "begin"))) == (0, 10)
    assert "0 of 10 calls are to be run" in printed

    moved = project / "elsewhere"
    folder.rename(moved)
    assert run_study(project, "status", str(study), "--folder", str(moved))[1].endswith("\n4 done\n")
    code, printed = run_study(project, "table", str(study), "--folder", str(moved))
    assert code == 0, printed
    rows = json.loads((moved / "table.json").read_text())["rows"]
    assert [row["axes"] for row in rows] == [{"arm": "supervised"}, {"arm": "real"}]
    assert [row["metrics"]["dice"]["mean"] for row in rows] == [0.5625, 0.8125]
    assert rows[1]["gain"]["dice"]["mean"] == 0.25
    assert rows[0]["training"]["devices"] == ["cpu"]


def test_a_killed_run_goes_on_and_runs_no_call_twice(project: Path) -> None:
    study = write_study(project)
    (project / "orders" / "segment").write_text("sleep 60")
    store = project / "studies" / "toy" / "store"
    with started_study(project, "run", str(study), "--workers", "2") as process:
        wait_for(project, "begin", "segment", 2)
        children = set().union(*(processes_in(root) for root in store.iterdir()))
        assert len(children) == 2
        process.kill()
    assert wait_until_gone(children, 10) == set()
    assert stages(events(project, "end")) == {"prepare": 1, "split": 1}

    (project / "orders" / "segment").unlink()
    code, printed = run_study(project, "run", str(study), "--workers", "2")
    assert code == 0, printed
    assert set(Counter(events(project, "end")).values()) == {1}
    begun = Counter(events(project, "begin"))
    assert sorted(name.rpartition("-")[0] for name, times in begun.items() if times > 1) == ["segment", "segment"]
    for name, times in begun.items():
        if name.startswith("segment-"):
            found = json.loads((store / name / "seconds.json").read_text())
            assert (found["unmeasured"], found["open"]) == (times - 1, False)


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_children_with_a_checkpoint(project: Path, number: int, expected: int) -> None:
    study = write_study(project)
    (project / "orders" / "segment").write_text("sleep 60")
    with started_study(project, "run", str(study), "--workers", "2") as process:
        wait_for(project, "begin", "segment", 2)
        process.send_signal(number)
        printed = process.communicate(timeout=40)[0]  # the stages would sleep for 60 s
    assert process.returncode == expected
    assert "a second signal ends them at once" in printed
    assert "the same command goes on from here" in printed
    assert len(events(project, "checkpoint")) == 2
    assert not list((project / "studies").rglob("failed.json"))
    (project / "orders" / "segment").unlink()
    code, printed = run_study(project, "run", str(study))
    assert code == 0, printed
    assert sorted(events(project, "resume")) == sorted(events(project, "checkpoint"))


def test_an_error_of_the_scheduler_ends_the_children_with_a_checkpoint(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(project)
    (project / "orders" / "segment").write_text("sleep 60")
    begin = store.open_root

    def no_space(call: Call, *rest: Any) -> Path:
        if call.stage != "segment" or not list((project / "studies" / "toy" / "store").glob("segment-*")):
            return begin(call, *rest)
        wait_for(project, "begin", "segment")
        raise OSError(28, "No space left on device", "params.yaml")

    monkeypatch.setattr(store, "open_root", no_space)
    code, printed = run_study(project, "run", str(study), "--workers", "2")
    assert (code, "params.yaml: No space left on device" in printed) == (1, True), printed
    assert len(events(project, "checkpoint")) == 1


def test_a_run_whose_reader_has_gone_goes_on(project: Path) -> None:
    study = write_study(project, grids=[{"axes": {"arm": ["supervised"], "seed": [0]}}])
    (project / "orders" / "prepare").write_text("sleep 1")
    with started_study(project, "run", str(study)) as process:
        wait_for(project, "begin", "prepare")
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=120)
    assert process.returncode == 0
    assert len(events(project, "end")) == 4


def test_a_stage_whose_place_is_in_use_is_tried_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_study(project, grids=[{"axes": {"arm": ["supervised"], "seed": [0]}}], targets=["split"])
    (project / "orders" / "split").write_text("once 75")
    monkeypatch.setattr("pipelines.study.run.REST_S", 0.05)
    code, printed = run_study(project, "run", str(study))
    assert (code, printed.count("in use by another process")) == (0, 1), printed
    assert stages(events(project, "begin")) == {"prepare": 1, "split": 2}
    shutil.rmtree(project / "studies")
    (project / "orders" / "split").write_text("once 75")
    monkeypatch.setattr("pipelines.study.run.PATIENCE_S", -1.0)
    assert run_study(project, "run", str(study))[0] == 1


def test_a_preview_names_what_a_run_would_do(project: Path) -> None:
    study = write_study(project, grids=[{"axes": {"arm": ["supervised"], "seed": [0]}}])
    code, printed = run_study(project, "run", str(study), "--dry-run")
    assert code == 0
    assert printed.splitlines() == [
        "study: 4 of 4 calls are to be run",
        "study:     arm=supervised seed=0: prepare, split, segment, evaluate",
    ]
    assert not (project / "studies").exists()
    assert run_study(project, "run", str(study))[0] == 0
    write_study(project, grids=[{"axes": {"arm": ["supervised"], "seed": [0, 1]}}])
    assert run_study(project, "run", str(study), "--dry-run")[1].splitlines() == [
        "study: 2 of 6 calls are to be run",
        "study:     arm=supervised seed=1: segment, evaluate",
    ]
    assert len(events(project, "begin")) == 4


def test_frozen_sources_that_are_gone_are_an_error_and_no_loop(project: Path) -> None:
    study = write_study(project, grids=[{"axes": {"arm": ["supervised"], "seed": [0]}}], targets=["prepare"])
    assert run_study(project, "run", str(study))[0] == 0
    (code,) = (project / "studies" / "toy" / "code").iterdir()  # the made-up project has no pipelines.study
    code_of_run, printed = run_study(project, "run", str(study), "--frozen")
    assert (code_of_run, "leave out --frozen" in printed) == (1, True), printed
    (code / "pipelines" / "study").mkdir()
    (code / "pipelines" / "study" / "__main__.py").write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FROZEN, "1")  # it has been stepped into once and did not arrive
        assert run_study(project, "run", str(study), "--frozen")[0] == 1
        assert FROZEN not in os.environ


def test_what_was_made_from_lost_bytes_is_made_again(project: Path) -> None:
    study = write_study(project, grids=[{"axes": {"arm": ["supervised"], "seed": [0]}}])
    assert run_study(project, "run", str(study))[0] == 0
    store = project / "studies" / "toy" / "store"
    for stage in ("prepare", "segment", "evaluate"):
        shutil.rmtree(next(store.glob(f"{stage}-*")))
    (project / "orders" / "salt").write_text("other bytes this time")
    code, printed = run_study(project, "run", str(study))
    assert code == 0, printed
    assert "3 of 4 calls are to be run" in printed
    assert stages(events(project, "end")) == {"prepare": 2, "split": 2, "segment": 2, "evaluate": 2}
    assert "0 of 4 calls are to be run" in run_study(project, "run", str(study))[1]


def test_a_result_of_other_bytes_than_are_there_now_is_made_again_in_the_same_run(project: Path) -> None:
    study = write_study(project, grids=[{"axes": {"arm": ["supervised"], "seed": [0]}}])
    assert run_study(project, "run", str(study))[0] == 0
    store = project / "studies" / "toy" / "store"
    shutil.rmtree(next(store.glob("segment-*")))
    (project / "orders" / "salt").write_text("other bytes this time")
    views = {"one": {"evaluate.views": 1}, "three": {"evaluate.views": 3}}
    write_study(project, grids=[{"axes": {"views": views, "arm": ["supervised"], "seed": [0]}}])
    code, printed = run_study(project, "run", str(study))
    assert code == 0, printed
    assert "2 of 5 calls are to be run" in printed
    assert stages(events(project, "end")) == {"prepare": 1, "split": 1, "segment": 2, "evaluate": 3}
    assert "0 of 5 calls are to be run" in run_study(project, "run", str(study))[1]


def test_a_failed_call_sinks_what_needs_it_and_no_more(project: Path) -> None:
    study = write_study(project, grids=[{"axes": {"arm": ["both", "supervised"], "seed": [0]}}])
    (project / "orders" / "segment_synthetic").write_text("fail data/audit/verdict.json: expected pass, found fail: x")
    code, printed = run_study(project, "run", str(study))
    assert code == 1, printed
    assert "segment_synthetic: error: data/audit/verdict.json: expected pass, found fail: x" in printed
    assert "    without it: arm=both seed=0\n" in printed
    assert "1 of 2 jobs are done" in printed
    assert stages(events(project, "end")) == {"prepare": 1, "split": 1, "audit": 1, "segment": 1, "evaluate": 1}
    status = run_study(project, "status", str(study))[1].splitlines()
    assert status[0].startswith("arm=both seed=0: failed: segment_synthetic-")
    assert status[1:] == ["arm=supervised seed=0: done", "1 done, 1 failed"]
    table = run_study(project, "table", str(study))[1]
    assert "| both | not run |" in table
    assert "found fail: x" in table

    (project / "orders" / "segment_synthetic").unlink()
    code, printed = run_study(project, "run", str(study))
    assert (code, "2 calls ran" in printed) == (0, True), printed


def test_what_is_lost_is_made_again_only_where_something_needs_it(project: Path) -> None:
    study = write_study(project, grids=[{"axes": {"arm": ["supervised"], "seed": [0]}}])
    assert run_study(project, "run", str(study))[0] == 0
    store = project / "studies" / "toy" / "store"
    (segmenter,) = store.glob("segment-*")
    shutil.rmtree(segmenter)
    assert "0 of 4 calls are to be run" in run_study(project, "run", str(study))[1]
    (results,) = store.glob("evaluate-*")
    shutil.rmtree(results)
    code, printed = run_study(project, "run", str(study))
    assert (code, "2 of 4 calls are to be run" in printed) == (0, True), printed


def test_an_edit_of_the_sources_makes_new_calls_for_what_it_touches(project: Path) -> None:
    study = write_study(
        project, grids=[{"axes": {"arm": ["supervised"], "seed": [0]}}], set={"segmenter.system": "unet"}
    )
    assert run_study(project, "run", str(study))[0] == 0
    (project / "segmentation" / "systems" / "crossdiff.py").write_text("other = 1\n")
    assert run_study(project, "run", str(study))[0] == 0
    assert len(events(project, "end")) == 4
    (project / "segmentation" / "systems" / "unet.py").write_text("other = 1\n")
    assert "the sources have changed" in run_study(project, "status", str(study))[1]
    assert run_study(project, "run", str(study))[0] == 0
    assert stages(events(project, "end")) == {"prepare": 1, "split": 1, "segment": 2, "evaluate": 2}
    assert len(list((project / "studies" / "toy" / "store").iterdir())) == 6


def test_edits_during_a_run_change_nothing_in_it(project: Path) -> None:
    study = write_study(project, grids=[{"axes": {"arm": ["supervised"], "seed": [0]}}])
    (project / "orders" / "prepare").write_text("sleep 1")
    with started_study(project, "run", str(study)) as process:
        wait_for(project, "begin", "prepare")
        (project / "segmentation" / "work.py").write_text("raise SystemExit(1)\n")
        printed = process.communicate(timeout=300)[0]
    assert process.returncode == 0, printed


def test_a_second_run_of_the_folder_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(project)
    open_folder(project / "studies" / "toy")
    with hold_lock(project / "studies" / "toy" / "run.lock", "first"):
        assert main(["run", str(study)], project) == 75
    assert f"held by process {os.getpid()}" in capsys.readouterr().err
    assert events(project, "begin") == []
