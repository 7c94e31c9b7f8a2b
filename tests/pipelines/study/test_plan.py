"""Frozen sources, the plan on disk, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.runtime.errors import DataError, ParamsError
from pipelines.study.origin import base_file, code_hash, commit_of, freeze
from pipelines.study.plan import (
    MARK,
    asked_hash,
    changes,
    check_root,
    last_origin,
    make_plan,
    open_folder,
    preview_plan,
    read_plan,
    study_folder,
    study_hash,
)
from pipelines.study.spec import expand_jobs, load_study
from tests.support.study_world import make_project, write_study


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def test_sources_are_copied_once_per_state(project: Path, tmp_path: Path) -> None:
    first = freeze(project, tmp_path / "out")
    (project / "segmentation" / "__pycache__").mkdir()
    (project / "segmentation" / "__pycache__" / "work.pyc").write_text("x")
    assert freeze(project, tmp_path / "out") == first
    assert first.name == code_hash(project) == code_hash(first)
    (project / "segmentation" / "work.py").write_text("other = 1\n")
    second = freeze(project, tmp_path / "out")
    assert (second / "segmentation" / "work.py").read_text() == "other = 1\n"
    assert (first / "segmentation" / "work.py").read_text() != "other = 1\n"
    assert sorted(path.name for path in (tmp_path / "out" / "code").iterdir()) == sorted([first.name, second.name])


def test_the_plan_is_written_and_names_every_job(project: Path, tmp_path: Path) -> None:
    path = write_study(project)
    study = load_study(path)
    jobs = expand_jobs(study, path)
    plan = make_plan(study, jobs, path, tmp_path / "out", project)
    found = read_plan(tmp_path / "out")
    assert found["jobs"] == {job.id: list(plan.jobs[job.id]) for job in jobs}
    assert found["study"] == asked_hash(study)
    assert list(found["calls"]) == sorted(plan.calls)
    origin = last_origin(tmp_path / "out")
    assert (origin.code, (tmp_path / "out" / "base" / f"{origin.base}.yaml").is_file()) == (plan.code.name, True)
    (project / "dvc.yaml").write_text("stages: {}\n")
    (project / "params.yaml").write_text("x: 1\n")
    again = make_plan(study, jobs, path, tmp_path / "out", project, frozen=True)
    assert again.calls == plan.calls


def test_without_a_run_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    assert read_plan(tmp_path) == {"jobs": {}, "calls": {}}
    with pytest.raises(ParamsError, match="leave out --frozen"):
        last_origin(tmp_path)


def test_the_phantom_is_never_set_beside_real_images(project: Path, tmp_path: Path) -> None:
    axes = {"dataset": ["phantom", "busi"], "arm": ["real"], "seed": [0]}
    path = write_study(project, grids=[{"axes": axes}])
    study = load_study(path)
    with pytest.raises(ParamsError, match="write two studies"):
        make_plan(study, expand_jobs(study, path), path, tmp_path / "out", project)


def test_raw_data_that_is_not_there_is_said_before_anything_runs(project: Path, tmp_path: Path) -> None:
    path = write_study(project, set={"dataset": "bus_bra"})
    study = load_study(path)
    with pytest.raises(DataError, match=r"study.yaml: grids.0 \(arm=supervised seed=0\): .*data/raw/bus_bra: expected"):
        make_plan(study, expand_jobs(study, path), path, tmp_path / "out", project)


def test_the_base_lies_beside_the_study_or_in_the_root(project: Path, tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path))
    assert base_file(study, tmp_path / "study.yaml", project) == project / "params.yaml"
    study = load_study(write_study(tmp_path, base="my.yaml"))
    assert base_file(study, tmp_path / "study.yaml", project) == tmp_path / "my.yaml"


def test_folders(project: Path, tmp_path: Path) -> None:
    study = load_study(write_study(tmp_path))
    assert study_folder(study, None, project) == project / "studies" / "toy"
    with pytest.raises(ParamsError, match="found other files"):
        study_folder(study, project, project)
    (tmp_path / "mine" / "code").mkdir(parents=True)
    with pytest.raises(ParamsError, match="found other files"):
        study_folder(study, tmp_path / "mine", project)
    open_folder(tmp_path / "mine")
    assert (tmp_path / "mine" / MARK).is_file()
    assert study_folder(study, tmp_path / "mine", project) == tmp_path / "mine"
    with pytest.raises(ParamsError, match="run in the project's root"):
        check_root(tmp_path)
    with pytest.raises(DataError, match="run in the project's root"):
        freeze(tmp_path / "none", tmp_path / "out")


def test_the_hash_of_a_study_is_that_of_its_content(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    before = study_hash(load_study(path))
    path.write_text("# a comment\n" + path.read_text())
    assert study_hash(load_study(path)) == before
    asked = asked_hash(load_study(path))
    other = load_study(write_study(tmp_path, bootstrap=100))
    assert study_hash(other) != before
    assert asked_hash(other) == asked
    assert asked_hash(load_study(write_study(tmp_path, set={"split.seed": 2}))) != asked


def test_a_preview_is_the_plan_and_writes_nothing(project: Path, tmp_path: Path) -> None:
    path = write_study(project)
    study = load_study(path)
    jobs = expand_jobs(study, path)
    seen = preview_plan(study, jobs, path, tmp_path / "out", project)
    assert not (tmp_path / "out").exists()
    open_folder(tmp_path / "out")
    plan = make_plan(study, jobs, path, tmp_path / "out", project)
    assert (seen.jobs, seen.calls) == (plan.jobs, plan.calls)
    (project / "segmentation" / "work.py").write_text("other = 1\n")
    assert preview_plan(study, jobs, path, tmp_path / "out", project, frozen=True).calls == plan.calls
    assert not preview_plan(study, jobs, path, tmp_path / "out", project).calls.keys() & plan.calls.keys()


def test_what_has_changed_since_the_run_is_said(project: Path, tmp_path: Path) -> None:
    path = write_study(project)
    study = load_study(path)
    assert changes(study, path, read_plan(tmp_path / "out"), project) == []
    open_folder(tmp_path / "out")
    make_plan(study, expand_jobs(study, path), path, tmp_path / "out", project)
    plan = read_plan(tmp_path / "out")
    (project / "segmentation" / ".work.py.swp").write_text("x")
    assert changes(load_study(write_study(project, bootstrap=100)), path, plan, project) == []
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "# more\n")
    assert [change.split(" have ")[0] for change in changes(study, path, plan, project)] == ["the base params"]
    (project / "segmentation" / "work.py").write_text("other = 1\n")
    other = load_study(write_study(project, set={"split.seed": 2}))
    assert len(changes(other, path, plan, project)) == 3


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "x").mkdir()
    assert commit_of(tmp_path / "x") == "unknown"
