"""The Prefect flow on a trivial workspace: outcomes, blocking, retries, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.flows import dvc
from pipelines.runtime.process import hold_lock

FIRST = ["raw", "train@real-0", "train@real-1", "side", "report"]


@pytest.fixture(scope="module", autouse=True)
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One temporary server and database for this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        from prefect.testing.utilities import prefect_test_harness

        with prefect_test_harness(server_startup_timeout=120):
            yield


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The flow module, waiting no time between tries."""
    from pipelines.flows import flow

    monkeypatch.setattr(flow, "reproduce", flow.reproduce.with_options(retry_delay_seconds=0))
    return flow


@pytest.fixture
def run(flow: Any, trivial: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`run(**parameters)` -> (final state, {stage: outcome})."""
    monkeypatch.chdir(trivial)
    published: list[Any] = []
    monkeypatch.setattr(flow, "_publish", lambda results: published.extend(results))

    def call(**parameters: Any) -> tuple[Any, dict[str, str]]:
        published.clear()
        state = flow.pipeline(**parameters, return_state=True)
        return state, {result.stage: result.outcome for result in published}

    return call


def test_stages_run_in_order_and_then_cost_no_call(run, trivial, monkeypatch):
    state, outcomes = run()
    assert state.is_completed()
    assert state.message == "5 stages up to date"
    assert sorted(outcomes) == sorted(FIRST)
    assert set(outcomes.values()) == {"ran"}
    assert next(iter(outcomes)) == "raw"
    assert list(outcomes)[-1] == "report"
    (trivial / "out/side/result.txt").unlink()
    asked: list[str] = []
    real = dvc.repro
    monkeypatch.setattr(dvc, "repro", lambda root, stages, **rest: asked.extend(stages) or real(root, stages, **rest))
    state, outcomes = run()
    assert asked == ["side", "report"]
    assert outcomes["side"] == "restored from cache"
    assert {outcomes[stage] for stage in FIRST if stage != "side"} == {"unchanged"}


def test_targets_bring_what_they_need_alone(run):
    state, outcomes = run(targets=["train"])
    assert state.is_completed()
    assert list(outcomes) == ["raw", "train@real-0", "train@real-1"]
    state, outcomes = run(targets=["trian"])
    assert state.is_failed()
    assert "did you mean 'train'?" in state.message
    assert outcomes == {}


def test_a_failed_stage_blocks_those_below_it_alone(run, trivial):
    (trivial / "orders/side").write_text("exit 3 once")  # would succeed if it were tried again
    state, outcomes = run()
    assert state.is_failed()
    assert "1 of 5 stages failed: StageFailedError: stage side exited with 3: DataError: side: told" in state.message
    assert outcomes == {**dict.fromkeys(FIRST[:3], "ran"), "side": "failed", "report": "blocked"}


def test_a_lock_error_is_tried_again(run, trivial):
    (trivial / "orders/side").write_text("exit 75 once")
    state, outcomes = run()
    assert state.is_completed()
    assert outcomes["side"] == "ran"


def test_a_stage_past_its_deadline_is_ended(run, trivial, monkeypatch):
    monkeypatch.setattr(dvc, "GRACE_S", 1.0)
    (trivial / "orders/raw").write_text("sleep 60")
    state, outcomes = run(targets=["raw"], stage_deadline_s=3.0)
    assert state.is_failed()
    assert "DvcTimeoutError" in state.message
    assert outcomes == {"raw": "failed"}


def test_refused_params_are_named_before_the_first_task(run, trivial):
    params = trivial / "params.yaml"
    params.write_text(params.read_text().replace("dataset:", "datasett:", 1))
    state, outcomes = run()
    assert state.is_failed()
    assert "datasett: unknown key; the nearest known one is 'dataset'" in state.message
    assert outcomes == {}
    assert not (trivial / "out").exists()


def test_a_damaged_lock_file_is_named_before_the_first_task(run, trivial):
    (trivial / "dvc.lock").write_text("schema: '2.0'\nstages:\n  raw:\n    cmd: 'x")
    state, outcomes = run()
    assert state.is_failed()
    assert "git checkout dvc.lock" in state.message
    assert outcomes == {}


def test_one_flow_per_workspace(run, trivial):
    with hold_lock(trivial / ".state/locks/flow.lock", "first"):
        state, outcomes = run()
    assert state.is_failed()
    assert "LockedError: this workspace's flow is held by process" in state.message
    assert outcomes == {}


def test_the_stage_table_is_an_artifact(flow, trivial, monkeypatch):
    from prefect.client.orchestration import get_client

    monkeypatch.chdir(trivial)
    flow.pipeline(targets=["raw"])
    with get_client(sync_client=True) as client:
        replies = client.request("POST", "/artifacts/latest/filter", json={}).json()
    table = next(reply["data"] for reply in replies if reply["key"] == "stages")
    assert '"stage": "raw"' in table
    assert '"outcome": "ran"' in table
