"""A stage's life, on a stage that counts: publish, verify, lock, resume keys, exit codes."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import read_manifest, verify_folder, write_json
from pipelines.runtime.errors import ArtifactError, DataError, LockedError
from pipelines.runtime.process import StopRequested, hold_lock
from pipelines.runtime.stage import Stage, execute, parse_arguments, publish, run_stage

ROOT = Path(__file__).resolve().parents[3]


def first_body(run):
    write_json(run.out / "numbers.json", [run.params.split.seed, run.dataset])


def second_body(run):
    numbers = json.loads((run.inputs["first"] / "numbers.json").read_text())
    write_json(run.out / "sum.json", {"numbers": numbers, "arm": run.arguments["arm"]})


FIRST = Stage("first", "pipelines.wiring", first_body, "data/first", {}, {"split": "split"})
SECOND = Stage(
    "second", "pipelines.wiring", second_body, "models/{arm}", {"first": "data/first"}, {}, arguments=("arm",)
)


@pytest.fixture
def root(tmp_path):
    shutil.copy(ROOT / "pipelines" / "default.yaml", tmp_path / "params.yaml")
    return tmp_path


@pytest.fixture
def params(root):
    return load_params(root / "params.yaml")


def test_output_is_published_with_the_facts_that_made_it(root, params):
    execute(FIRST, params, root, {})
    execute(SECOND, params, root, {"arm": "both"})
    manifest = verify_folder(root / "models" / "both")
    assert manifest.facts["stage"] == "second-both"
    assert manifest.facts["dataset"] == "phantom"
    assert manifest.facts["inputs"] == {"first": read_manifest(root / "data" / "first").sha256}
    assert read_manifest(root / "data" / "first").facts["params"]["split"]["seed"] == params.split.seed
    assert [p.name for p in (root / "data").iterdir()] == ["first"]


def test_a_second_run_gives_the_same_bytes(root, params):
    execute(FIRST, params, root, {})
    before = read_manifest(root / "data" / "first").sha256
    execute(FIRST, params, root, {})
    assert read_manifest(root / "data" / "first").sha256 == before


def test_altered_input_stops_the_stage_before_any_work(root, params):
    execute(FIRST, params, root, {})
    (root / "data" / "first" / "numbers.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"numbers\.json: expected sha256"):
        execute(SECOND, params, root, {"arm": "both"})
    assert not (root / "models").exists()


def test_inputs_of_different_makings_are_refused(root, params):
    """An audit of other samples than those at hand must not let them pass."""
    execute(FIRST, params, root, {})
    execute(SECOND, params, root, {"arm": "both"})
    third = Stage("third", "pipelines.wiring", first_body, "data/third", {"first": "data/first", "both": "models/both"},
                  {"split": "split"})  # fmt: skip
    execute(third, params, root, {})
    moved = params.model_copy(update={"split": params.split.model_copy(update={"seed": 99})})
    execute(FIRST, moved, root, {})
    with pytest.raises(ArtifactError, match=r"models/both: expected to be made from .*data/first as it is now"):
        execute(third, params, root, {})


def test_input_of_another_dataset_is_refused(root, params):
    execute(FIRST, params, root, {})
    other = params.model_copy(update={"dataset": "busi"})
    with pytest.raises(ArtifactError, match="expected dataset 'busi', found 'phantom'"):
        execute(SECOND, other, root, {"arm": "both"})


def test_a_failing_body_publishes_nothing_and_keeps_the_old_output(root, params):
    execute(FIRST, params, root, {})
    before = (root / "data" / "first" / "numbers.json").read_bytes()

    def body(run):
        write_json(run.out / "half.json", 1)
        raise DataError("images/a.png: expected pixels, found none; replace it")

    broken = Stage("first", "pipelines.wiring", body, "data/first", {}, {})
    with pytest.raises(DataError):
        execute(broken, params, root, {})
    assert (root / "data" / "first" / "numbers.json").read_bytes() == before
    assert not (root / "data" / "first" / "half.json").exists()
    execute(FIRST, params, root, {})
    assert [p.name for p in (root / "data").iterdir()] == ["first"]


def test_exit_codes_and_one_line_errors(root, capsys, monkeypatch):
    monkeypatch.setattr("pipelines.runtime.stage.die_with_parent", lambda: None)
    assert run_stage(FIRST, [], root=root) == 0
    with hold_lock(root / ".state" / "locks" / "data-first.lock", "first"):
        assert run_stage(FIRST, [], root=root) == 75
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "held by process" in error

    tree = yaml.safe_load((root / "params.yaml").read_text())
    tree["sclae"] = "demo"
    (root / "params.yaml").write_text(yaml.safe_dump(tree))
    assert run_stage(FIRST, [], root=root) == 1
    assert "nearest known one is 'scale'" in capsys.readouterr().err

    def stopping(run):
        run.stop.number = 15
        run.stop.check()

    (root / "params.yaml").unlink()
    shutil.copy(ROOT / "pipelines" / "default.yaml", root / "params.yaml")
    assert run_stage(Stage("s", "pipelines.wiring", stopping, "data/s", {}, {}), [], root=root) == 143


def test_a_refusing_disk_is_one_line_with_the_path(root, capsys, monkeypatch):
    monkeypatch.setattr("pipelines.runtime.stage.die_with_parent", lambda: None)
    (root / "data").write_text("a file where a folder belongs")
    assert run_stage(FIRST, [], root=root) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "data" in error
    assert "run the same command" in error


def test_lock_names_the_holder_and_is_free_afterwards(tmp_path):
    path = tmp_path / "locks" / "x.lock"
    with hold_lock(path, "x"), pytest.raises(LockedError, match=path.read_text().strip()), hold_lock(path, "x"):
        pass
    with hold_lock(path, "x"):
        assert path.exists()


def test_other_ranks_leave_no_output(root, params, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    execute(FIRST, params, root, {})
    assert not (root / "data").exists()


def test_publish_replaces_a_folder(tmp_path):
    for name, text in ((".out.partial", "new"), ("out", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(text)
    publish(tmp_path / ".out.partial", tmp_path / "out")
    assert (tmp_path / "out" / "a").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_arguments_are_required(capsys):
    assert parse_arguments(SECOND, ["--arm", "both"]) == {"arm": "both"}
    with pytest.raises(SystemExit):
        parse_arguments(SECOND, [])
    assert "--arm" in capsys.readouterr().err


def test_stop_is_not_swallowed_by_except_exception():
    assert not issubclass(StopRequested, Exception)
