"""Which images are paired, which rows belong together, what state a job is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.runtime.artifacts import write_manifest
from pipelines.runtime.errors import ParamsError
from pipelines.study import store
from pipelines.study.gather import Cell, Row, Values, job_state, load_cell, paired, partner, view_of
from pipelines.study.naming import means
from pipelines.study.spec import expand_jobs, load_study
from tests.support.study_world import write_study


def values(table: list[list[float]], *cases: str) -> Values:
    return Values(tuple(("busi", "", case) for case in cases), tuple(f"g-{case}" for case in cases), np.array(table))


def test_pairs_are_the_images_of_both_in_the_first_one_s_order() -> None:
    both = paired(values([[1.0], [2.0], [3.0]], "a", "b", "c"), values([[30.0], [10.0]], "c", "a"))
    assert both is not None
    first, second, groups = both
    assert (first.tolist(), second.tolist(), groups) == ([[1.0], [3.0]], [[10.0], [30.0]], ["g-a", "g-c"])
    assert paired(values([[1.0]], "a"), values([[1.0]], "b")) is None


def row(*views: tuple[str, str], **axes: str) -> Row:
    cells = {"": {0: Cell("busi", {view: [] for view in views}, {}, [], {})}} if views else {"": {}}
    return Row(axes, (0,), cells, {})


def test_partners_agree_on_the_axes_that_both_have() -> None:
    rows = [row(set="a", arm="x"), row(set="b", arm="x"), row(set="a", arm="y"), row(set="b", arm="y", more="1")]
    assert partner(rows[0], {"arm": "y"}, rows, "test") is rows[2]
    assert partner(rows[1], {"arm": "y"}, rows, "test") is rows[3]
    assert partner(rows[0], {"set": "b"}, rows, "test") is rows[1]  # of its own arm, which nothing else names
    assert partner(rows[0], {"arm": "z"}, rows, "test") is None
    with pytest.raises(ParamsError, match=r"test: .* means several rows"):
        partner(row(arm="z"), {"arm": "y"}, rows, "test")
    assert means({"arm": "x", "mode": "refine"}, rows[0].axes)
    assert not means({"arm": "x", "more": "1"}, rows[0].axes)


def test_a_view_is_named_or_shared_or_primary() -> None:
    both, one = row(("refine", "lesion"), ("direct", "lesion")), row(("direct", "lesion"))
    assert view_of(both, {}, "lesion") == ("refine", "lesion")
    assert view_of(both, {"mode": "direct"}, "lesion") == ("direct", "lesion")
    assert view_of(both, {}, "lesion", "direct") == ("direct", "lesion")
    assert view_of(both, {"mode": "refine"}, "lesion", "direct") == ("refine", "lesion")
    assert view_of(one, {}, "lesion", "refine") == ("direct", "lesion")
    assert view_of(one, {}, "other") is None
    assert view_of(one, {"foreground": "other"}, "lesion") is None
    assert view_of(one, {"mode": "refine"}, "lesion") is None
    assert view_of(row(), {}, "lesion") is None


def test_states_of_a_job(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    job = expand_jobs(load_study(path), path)[0]
    calls: dict[str, Any] = {
        "split-1": {"output": "data/split", "inputs": {}},
        "evaluate-2": {"output": "results/x", "inputs": {"data/split": "split-1"}},
    }
    plan: dict[str, Any] = {"jobs": {}, "calls": calls}
    assert job_state(plan, job, tmp_path) == "not run"
    plan["jobs"][job.id] = ["evaluate-2"]
    assert job_state(plan, job, tmp_path) == "not run"
    store.call_folder(tmp_path, "split-1").mkdir(parents=True)
    assert job_state(plan, job, tmp_path) == "begun"
    store.note_failure(store.call_folder(tmp_path, "split-1"), 1, "split: error: x")
    assert job_state(plan, job, tmp_path) == "failed: split-1: split: error: x"
    results = store.call_folder(tmp_path, "evaluate-2") / "results/x"
    results.mkdir(parents=True)
    write_manifest(results)
    assert job_state(plan, job, tmp_path) == "done"
    with pytest.raises(ParamsError, match="add `evaluate`"):
        load_cell(plan, job, tmp_path)
