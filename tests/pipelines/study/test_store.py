"""The folder of one call: links, seconds, reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import sha256_file, write_manifest
from pipelines.study import store
from pipelines.study.graph import Call
from pipelines.study.hardware import cpu_model, describe_hardware, gpu_model
from tests.support.workspaces import DEFAULT_PARAMS


def test_a_root_has_params_and_links_that_survive_a_move(tmp_path: Path) -> None:
    raw, folder = tmp_path / "raw", tmp_path / "study"
    (tmp_path / "published").mkdir()
    raw.mkdir()
    (raw / "busi").symlink_to(tmp_path / "published")
    made = folder / "store" / "prepare-1" / "data" / "prepared"
    made.mkdir(parents=True)
    (made / "a").write_text("a")
    params = load_params(DEFAULT_PARAMS)
    call = Call(
        "split-2",
        "split",
        ("m",),
        "data/split",
        {"data/prepared": "prepare-1"},
        ("busi",),
        "k",
        params.model_dump(mode="json"),
    )
    for _ in range(2):  # again after an interruption
        root = store.open_root(call, folder, {"prepare-1": "data/prepared"}, raw)
    assert load_params(root / "params.yaml") == params
    assert (root / "data/raw/busi").readlink() == tmp_path / "published"
    assert (root / "data/prepared").readlink() == Path("../../prepare-1/data/prepared")
    folder.rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "store" / "split-2" / "data/prepared/a").read_text() == "a"


def test_done_means_every_file_is_as_the_manifest_says(tmp_path: Path) -> None:
    assert not store.is_done(tmp_path, "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("a")
    assert not store.is_done(tmp_path, "out")
    write_manifest(tmp_path / "out", dataset="busi")
    assert store.is_done(tmp_path, "out")
    (tmp_path / "out" / "a").write_text("b")
    assert not store.is_done(tmp_path, "out")


def test_what_was_made_from_other_inputs_than_those_that_are_there_is_not_done(tmp_path: Path) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    write_manifest(tmp_path / "in", dataset="busi")
    write_manifest(tmp_path / "out", inputs={"prepared": sha256_file(tmp_path / "in" / "manifest.json")})
    assert store.is_done(tmp_path, "out", ["in"])
    (tmp_path / "in" / "value").write_text("made anew")
    write_manifest(tmp_path / "in", dataset="busi")
    assert not store.is_done(tmp_path, "out", ["in"])
    assert store.is_done(tmp_path, "out", ["in", "results/x"])  # as report, which notes fewer than it reads
    (tmp_path / "in" / "manifest.json").unlink()
    assert store.is_done(tmp_path, "out", ["in"])  # removed to make room


def test_a_damaged_record_counts_as_an_attempt_that_nobody_measured(tmp_path: Path) -> None:
    store.note_start(tmp_path, {})
    (tmp_path / "seconds.json").write_text("{")
    store.note_end(tmp_path, 2.0, 1.0, done=True)
    found = store.read_seconds(tmp_path)
    assert (found["wall"], found["unmeasured"], found["open"]) == (2.0, 1, False)
    (tmp_path / "failed.json").write_text("{")
    assert "log.txt" in str(store.read_failure(tmp_path))


def test_seconds_add_up_and_a_lost_attempt_is_counted(tmp_path: Path) -> None:
    store.note_start(tmp_path, {"cpu": "x"})
    store.note_end(tmp_path, 10.0, 4.0, done=False)
    store.note_start(tmp_path, {"cpu": "x"})  # killed with the study: no end
    store.note_start(tmp_path, {"cpu": "y"})
    store.note_end(tmp_path, 2.5, 1.0, done=True)
    facts = {"unmeasured": 1, "open": False, "done": True, "hardware": {"cpu": "y"}}
    assert store.read_seconds(tmp_path) == {"wall": 12.5, "cpu": 5.0, **facts}


def test_what_is_made_again_after_it_was_done_is_counted_anew(tmp_path: Path) -> None:
    store.note_start(tmp_path, {})
    store.note_start(tmp_path, {})
    store.note_end(tmp_path, 10.0, 4.0, done=True)
    store.note_start(tmp_path, {})  # its output has been lost
    store.note_end(tmp_path, 3.0, 1.0, done=False)
    store.note_start(tmp_path, {})
    store.note_end(tmp_path, 8.0, 3.0, done=True)
    found = store.read_seconds(tmp_path)
    assert (found["wall"], found["cpu"], found["unmeasured"]) == (11.0, 4.0, 0)


def test_a_new_attempt_forgets_the_failure(tmp_path: Path) -> None:
    assert store.read_failure(tmp_path) is None
    store.note_failure(tmp_path, 1, "split: error: x")
    assert store.read_failure(tmp_path) == "split: error: x"
    store.note_start(tmp_path, {})
    assert store.read_failure(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("a\nsplit: error: b\nc\n", 1, "split: error: b"),
        ("a\n 10%\r 20%\r\n", 1, "20%"),
        ("", 1, "it said nothing"),
        ("a\n", -9, "ended by signal 9: a"),
    ],
)
def test_the_line_that_says_most(tmp_path: Path, text: str, code: int, said: str) -> None:
    (tmp_path / "log.txt").write_text("older: error: x\n" + text)
    assert store.last_error(tmp_path, code, len("older: error: x\n")) == said


def test_hardware_is_named(tmp_path: Path) -> None:
    assert set(describe_hardware()) == {"cpu", "cores", "gpu"}
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Toy 9000\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Toy 9000"
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "information").write_text("Model: \t\t Toy GPU\nIRQ: 1\n")
    assert gpu_model(tmp_path) == "Toy GPU"
    assert gpu_model(tmp_path / "none") == ""
