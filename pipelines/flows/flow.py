"""The pipeline as a Prefect flow: one task per DVC stage, in the order of the graph.

Prefect owns when, where and what is seen; DVC alone owns caching, so no result is cached or kept here. This module
imports prefect when it is imported: set its environment first (`pipelines.flows.settings`). No postponed annotations
here: a served run cannot resolve them.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import Task

from pipelines.check import require_whole_lock_file
from pipelines.flows import dvc
from pipelines.params.loader import load_params
from pipelines.runtime.errors import LockedError, SonoSynthError
from pipelines.runtime.process import hold_lock

BLOCKED = "blocked"
FAILED = "failed"
LOCK_RETRIES = 6
LOCK_RETRY_DELAY_S = 10


@dataclass(frozen=True)
class StageResult:
    """One line of the summary. outcome: a dvc.Outcome, `failed`, or `blocked` by a failed stage above."""

    stage: str
    outcome: str
    seconds: float
    note: str = ""


def only_lock_errors(_task: "Task[..., Any]", _run: TaskRun, state: "State[Any]") -> bool:
    """A lock is freed sooner or later; a failed training would only fail again."""
    return isinstance(state.data, LockedError)


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=LOCK_RETRIES,
    retry_delay_seconds=LOCK_RETRY_DELAY_S,
    retry_condition_fn=only_lock_errors,
)
def reproduce(stage: str, root: Path, unchanged: bool, blocked_by: str, deadline_s: float | None) -> Any:
    """Bring one stage up to date with `dvc repro STAGE`; its lines go to the run's log.

    unchanged: already known, so dvc is not called. blocked_by: a failed stage above, or "".
    """
    if blocked_by:
        return Cancelled(name="Blocked", message=f"blocked by {blocked_by}")
    if unchanged:
        return Completed(name="Unchanged", message="dvc status names no change", data=dvc.Outcome.UNCHANGED)
    try:
        outcomes = dvc.repro(root, [stage], on_line=get_run_logger().info, deadline_s=deadline_s)
    except SonoSynthError as error:
        return Failed(message=f"{type(error).__name__}: {error}", data=error)
    outcome = outcomes.get(stage, dvc.Outcome.UNCHANGED)
    names = {dvc.Outcome.UNCHANGED: "Unchanged", dvc.Outcome.RESTORED: "Restored"}
    return Completed(name=names.get(outcome, "Completed"), message=str(outcome), data=outcome)


@flow(name="sonosynth", persist_result=False)
def pipeline(targets: list[str] | None = None, stage_deadline_s: float | None = None) -> Any:
    """Reproduce the workspace in the current folder, stage by stage.

    targets: stage names (`segment`, `segment@both-0`) with all that they need; None: all stages. stage_deadline_s: a
    stage that takes longer is ended, its resume state kept. A failed stage blocks those below it and no others.
    """
    try:
        results = _reproduce_all(Path.cwd(), targets or [], stage_deadline_s)
    except SonoSynthError as error:
        return Failed(message=f"{type(error).__name__}: {error}", data=error)
    failed = [result for result in results if result.outcome == FAILED]
    if failed:
        message = f"{len(failed)} of {len(results)} stages failed: " + "; ".join(result.note for result in failed)
        return Failed(message=message, data=SonoSynthError(message))
    return Completed(message=f"{len(results)} stages up to date")


def _reproduce_all(root: Path, targets: list[str], deadline_s: float | None) -> list[StageResult]:
    load_params(root / "params.yaml")
    require_whole_lock_file(root)
    with hold_lock(root / ".state" / "locks" / "flow.lock", "this workspace's flow"):
        graph = dvc.graph(root)
        if targets:
            graph = graph.up_to(targets)
        changed = dvc.changed(root)
        results: dict[str, StageResult] = {}
        for stage in graph.order:
            ancestors = graph.ancestors(stage)
            # a clean stage below a changed one may change once that one has run: dvc is asked again
            unchanged = not changed & {stage, *ancestors}
            results[stage] = _run_task(stage, root, unchanged, _blocker(ancestors, results), deadline_s)
    _publish(list(results.values()))
    return list(results.values())


def _run_task(stage: str, root: Path, unchanged: bool, blocker: str, deadline_s: float | None) -> StageResult:
    started = time.monotonic()
    state = reproduce(stage, root, unchanged, blocker, deadline_s, return_state=True)
    seconds = time.monotonic() - started
    if state.is_completed():
        return StageResult(stage, str(state.result()), seconds)
    return StageResult(stage, BLOCKED if blocker else FAILED, seconds, state.message or "")


def _blocker(ancestors: set[str], results: Mapping[str, StageResult]) -> str:
    return next((name for name, result in results.items() if name in ancestors and result.outcome == FAILED), "")


def _publish(results: list[StageResult]) -> None:
    """The stage table: in the log, and as an artifact beside the run."""
    logger = get_run_logger()
    for result in results:
        logger.info("%-36s %-20s %8.1f s  %s", result.stage, result.outcome, result.seconds, result.note)
    rows = [{**vars(result), "seconds": round(result.seconds, 1)} for result in results]
    create_table_artifact(table=rows, key="stages", description="What became of each stage")
