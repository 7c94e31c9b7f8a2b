"""Stage `prepare`: a published dataset to arrays, with every fault named first.

Reads data/raw/<dataset>, which has no manifest; publishes data/prepared. While an error of the integrity check stands,
nothing is published, what was there before stays, and the whole table is in .state/integrity-<dataset>.json.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pipelines.datasets.assemble import prepare_dataset
from pipelines.datasets.duplicates import Rule
from pipelines.datasets.integrity import policy_of
from pipelines.datasets.read import read_dataset
from pipelines.params.datasets import DatasetBlock
from pipelines.runtime.errors import DataError
from pipelines.runtime.stage import Run, Stage, run_stage


def run(run: Run) -> None:
    """The stage's body."""
    prepare(run, run.dataset, run.params.dataset)


def prepare(run: Run, name: str, block: DatasetBlock, *, masks: bool = True) -> None:
    """Read data/raw/<name> by its block of params and write its rows; `prepare_unlabeled` does so without masks."""
    settings, scale = run.params.prepare, run.params.scale
    policy = policy_of(settings.policy, strict=settings.strict)
    try:
        with tempfile.TemporaryDirectory(dir=run.out) as folder:
            work = Path(folder)
            dataset = read_dataset(name, run.raw, block, work=work, count=scale.phantom_images)
            run.log(f"{len(dataset.cases)} images of {dataset.name}; terms: {dataset.terms}")
            outcome = prepare_dataset(
                dataset,
                run.out,
                size=scale.size,
                resize=settings.resize,
                policy=policy,
                rule=Rule(**settings.duplicates.model_dump()),
                roots=(run.raw, work),
                faults=run.state / f"integrity-{name}.json",
                log=run.log,
                progress=run.progress(len(dataset.cases)).update,
                masks=masks,
            )
    except DataError:
        shutil.rmtree(run.out, ignore_errors=True)
        raise
    left_out = f", {len(outcome.excluded)} left out" if outcome.excluded else ""
    pairs = f"; {outcome.pairs} pairs of duplicates" * masks  # without masks `pool` looks for them
    run.log(f"{outcome.images} cases at {scale.size} x {scale.size}{left_out}{pairs}")


STAGE = Stage(
    name="prepare",
    module="pipelines.prepare",
    run=run,
    output="data/prepared",
    inputs={},
    params={"dataset": "datasets.{dataset}", "prepare": "prepare", "scale": "scales.{scale}.prepare"},
    raw="data/raw/{dataset}",
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
