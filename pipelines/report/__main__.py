"""Stage report: one self-contained HTML page of what params selects.

`python -m pipelines.report` needs every result; with `--partial` it renders what there is and says of the rest that it
was not run.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial as bind
from pathlib import Path

from pipelines.report.gather import Selection, gather
from pipelines.report.render import curve_rows, numbers, page
from pipelines.report.table import arm_rows
from pipelines.runtime.artifacts import write_bytes, write_csv, write_json
from pipelines.runtime.stage import Run, Stage, plain, run_stage

NEEDED = ("prepared", "split")


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
    found = gather(root, run.inputs, selection_of(run), partial)
    rows = arm_rows(found, run.params.evaluate.bootstrap)
    write_bytes(run.out / "index.html", page(found, rows, partial).encode())
    write_json(run.out / "metrics.json", numbers(found, rows))
    write_csv(run.out / "curves.csv", curve_rows(found), ("series", "step", "value"))
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
        "synthetic": "data/synthetic",
        "audit": "data/audit",
        "autoencoder": "models/autoencoder",
        "diffusion": "models/diffusion",
    },
    params={
        "scale": "scale",
        "arms": "arms",
        "seeds": "seeds",
        "evaluate": "evaluate",
        "segment": "scales.{scale}.segment",
        "system": "segmenter.system",
        "label_fraction": "segmenter.label_fraction",
        "encoder": "segmenter.encoder",
        "mask_diffusion": "segmenter.mask_diffusion",
        "semi": "segmenter.semi",
        "method": "segmenter.{system}",
    },
)


def partial_stage(root: Path) -> Stage:
    """The same stage without the inputs that are not there yet."""
    there = {name: path for name, path in STAGE.inputs.items() if name in NEEDED or (root / path).is_dir()}
    return replace(STAGE, run=bind(run, partial=True), inputs=there)


if __name__ == "__main__":
    if "--partial" in sys.argv[1:]:
        raise SystemExit(run_stage(partial_stage(Path()), [word for word in sys.argv[1:] if word != "--partial"]))
    raise SystemExit(run_stage(STAGE))
