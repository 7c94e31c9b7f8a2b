"""Stage `phantom_pool`: unlabeled phantom images of site A, of no patient of the dataset, in the synthetic layout."""

from __future__ import annotations

import numpy as np

from pipelines.datasets.images import resize_image
from pipelines.datasets.phantom.emission import make_images
from pipelines.runtime.artifacts import save_array, write_csv
from pipelines.runtime.randomness import derive
from pipelines.runtime.stage import Run, Stage, run_stage


def run(run: Run) -> None:
    """The stage's body: images.npy (M, H, W) uint8 and samples.csv, M = phantom_images of the scale."""
    phantom, scale = run.params.phantom, run.params.scale
    # a seed of its own: when the dataset is the phantom too, no patient of its parts may come back as "unlabeled"
    seed = derive(phantom.seed, "phantom_pool")
    progress = run.progress(scale.phantom_images)
    images: list[np.ndarray] = []
    rows: list[dict[str, object]] = []
    for made in make_images(seed, scale.phantom_images, tuple(phantom.classes)):
        row = len(images)
        images.append(resize_image(made.image, scale.size, run.params.prepare.resize))
        rows.append({"sample": f"s{row:06d}", "row": row, "class": made.view.class_name, "seed": seed})
        progress.update(row + 1)
    save_array(run.out / "images.npy", np.stack(images))
    write_csv(run.out / "samples.csv", rows, ("sample", "row", "class", "seed"))


STAGE = Stage(
    name="phantom_pool",
    module="pipelines.phantom_pool",
    run=run,
    output="data/phantom_pool/{arm}",
    inputs={},
    params={"phantom": "datasets.phantom", "scale": "scales.{scale}.prepare", "prepare": "prepare"},
    arguments=("arm",),
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
