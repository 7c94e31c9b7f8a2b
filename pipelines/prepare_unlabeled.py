"""Stages `prepare_unlabeled@<name>`: a further dataset that `unlabeled` in params.yaml names, its images alone.

The same reading and checking as `prepare`, without masks and what may be wrong with them. No duplicates are looked for:
`pool` does that between all sets.
"""

from __future__ import annotations

from pipelines.params.datasets import DatasetBlock, PhantomParams
from pipelines.prepare import prepare
from pipelines.runtime.randomness import derive
from pipelines.runtime.stage import Run, Stage, run_stage


def run(run: Run) -> None:
    """The stage's body."""
    name = run.arguments["name"]
    prepare(run, name, with_own_patients(name, run.params.source), masks=False)


def with_own_patients(name: str, block: DatasetBlock) -> DatasetBlock:
    """A phantom gets a seed of its own: no patient of a phantom dataset, of either seed, may come back as unlabeled."""
    if not isinstance(block, PhantomParams):
        return block
    return block.model_copy(update={"seed": derive(block.seed, f"unlabeled/{name}")})


STAGE = Stage(
    name="prepare_unlabeled",
    module="pipelines.prepare_unlabeled",
    run=run,
    output="data/unlabeled/{name}",
    inputs={},
    params={"source": "datasets.{name}", "prepare": "prepare", "scale": "scales.{scale}.prepare"},
    arguments=("name",),
    raw="data/raw/{name}",
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
