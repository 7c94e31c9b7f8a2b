"""The benchmark runs, with every system in its table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.segmenters import main
from benchmarks.segmenters_table import ARRAYS, BATCH, PREDICTION, READY
from benchmarks.segmenters_work import compile_parts
from pipelines.runtime.artifacts import read_json
from segmentation.system import SYSTEMS


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The benchmark sets the number of threads for its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_table_holds_every_system(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "benchmark.json"
    main(["--size", "32", "--scale", "smoke", "--device", "cpu", "--repeats", "1", "--json", str(path)])
    shown, found = capsys.readouterr().out, read_json(path)
    for system in SYSTEMS:
        rows = [row for row in found["rows"] if row["system"] == system]
        assert [row["work"] for row in rows[:3]] == [ARRAYS, READY, BATCH]
        assert {row["images"] for row in rows if row["work"] == PREDICTION} == {1, 16}
        assert f"| {system} | {ARRAYS} |" in shown
        step, *_, last = rows
        assert step["images"] == 8  # four labeled and four unlabeled, each counted once
        # forward and backward of both halves, and the teacher, cost more than a prediction without samples
        assert step["flops"] / step["images"] > 2 * last["flops"] / last["images"] / (1 + 3 * last["seeds"])
        assert last["parameters"] <= step["parameters"]
    assert all(len(row["seconds"]) == 1 and row["seconds"][0] > 0 for row in found["rows"])
    assert all(row["memory"] is None for row in found["rows"])
    by_seeds = {row["seeds"]: row for row in found["rows"] if row["system"] == "crossdiff" and row["images"] == 16}
    assert 1 in by_seeds
    assert by_seeds[max(by_seeds)]["flops"] > by_seeds[1]["flops"]
    unet = [row for row in found["rows"] if row["system"] == "unet" and row["parameters"]]
    assert len({row["parameters"] for row in unet}) == 1  # it has no part for training alone
    assert {target["verdict"] for target in found["targets"]} == {"shown for comparison"}


@pytest.mark.parametrize(
    "arguments", [["--size", "40"], ["--size", "0"], ["--repeats", "0"], ["--systems", "vnet"]], ids=" ".join
)
def test_bad_arguments_are_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_parts_are_compiled_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of a state stay; what a part computes goes through the compiler."""
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    names, seen = list(module.state_dict()), []
    monkeypatch.setattr(nn.Module, "compile", lambda part: seen.append(part))
    compile_parts(module)
    assert seen == [module[0], module[1]]
    assert list(module.state_dict()) == names
