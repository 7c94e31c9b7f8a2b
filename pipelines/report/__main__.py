"""Stage report: one self-contained HTML page of what params selects.

`python -m pipelines.report` needs every result; with `--partial` it renders what there is, says of the rest that it
was not run, and names what it left out as made by other params.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial as bind

from pipelines.report.gather import gather
from pipelines.report.origin import NEEDED, ORDER, Selection
from pipelines.report.render import curve_tables, numbers, page
from pipelines.report.table import arm_rows
from pipelines.runtime.artifacts import write_bytes, write_csv, write_json
from pipelines.runtime.stage import Run, Stage, plain, run_stage


def selection_of(run: Run) -> Selection:
    """The part of params that this page is about."""
    keys = {alias: key for alias, key in STAGE.params.items() if alias not in ("scale", "arms", "seeds")}
    arms = run.params.arms
    return Selection(
        dataset=run.dataset,
        scale=run.params.scale,
        arms=(*arms.plain, *arms.synthetic, *arms.phantom),
        seeds=tuple(run.params.seeds),
        label_fraction=run.params.label_fraction,
        blocks={key: plain(getattr(run.params, alias)) for alias, key in keys.items()},
    )


def run(run: Run, *, partial: bool = False) -> None:
    """The stage's body."""
    root = run.out.parent
    folders = {name: root / STAGE.inputs[name] for name in ORDER}
    there = {name: folder for name, folder in folders.items() if not partial or folder.is_dir()}
    found = gather(root, there, selection_of(run), partial)
    rows = arm_rows(found, run.params.evaluate.bootstrap)
    write_bytes(run.out / "index.html", page(found, rows, partial).encode())
    write_json(run.out / "metrics.json", numbers(found, rows))
    curves = run.out / "curves"  # a file each: DVC draws one line through all rows of a file
    curves.mkdir()
    for name, table in curve_tables(found).items():
        write_csv(curves / f"{name}.csv", table, ("step", "value"))
    for row in rows:
        run.log(f"{row.arm} {row.mode}: Dice {row.dice.mean:.3f}" if row.dice else f"{row.arm}: not run")


STAGE = Stage(
    name="report",
    module="pipelines.report",
    run=run,
    output="report",
    inputs={
        "prepared": "data/prepared",
        "split": "data/split",
        "pool": "data/pool",
        "autoencoder": "models/autoencoder",
        "diffusion": "models/diffusion",
        "synthetic": "data/synthetic",
        "audit": "data/audit",
    },
    params={
        "scale": "scale",
        "unlabeled": "unlabeled",
        "arms": "arms",
        "seeds": "seeds",
        "evaluate": "evaluate",
        "segment": "scales.{scale}.segment",
        "system": "segmenter.system",
        "label_fraction": "segmenter.label_fraction",
        "encoder": "segmenter.encoder",
        "mask_diffusion": "segmenter.mask_diffusion",
        "semi": "segmenter.semi",
        "augment": "segmenter.augment",
        "method": "segmenter.{system}",
        # what made the inputs: compared with their manifests
        "source": "datasets.{dataset}",
        "prepare": "prepare",
        "prepare_scale": "scales.{scale}.prepare",
        "split": "split",
        "autoencoder": "scales.{scale}.autoencoder",
        "diffusion": "scales.{scale}.diffusion",
        "sample": "scales.{scale}.sample",
        "audit": "audit",
        "machine": "runtime",  # not named `runtime`, which would load torch to set threads that a page does not use
    },
)


def partial_stage() -> Stage:
    """The same stage with no inputs but those that it cannot do without; the body looks what else is there."""
    return replace(STAGE, run=bind(run, partial=True), inputs={name: STAGE.inputs[name] for name in NEEDED})


if __name__ == "__main__":
    if "--partial" in sys.argv[1:]:
        raise SystemExit(run_stage(partial_stage(), [word for word in sys.argv[1:] if word != "--partial"]))
    raise SystemExit(run_stage(STAGE))
