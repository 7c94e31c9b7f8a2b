"""Two foreground classes, from a folder with one mask folder per class to scores per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines import pool, prepare, split
from pipelines.datasets.case import load_prepared
from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import read_csv, read_json
from pipelines.runtime.stage import execute
from segmentation import evaluate, train
from tests.support.scenes import scene
from tests.support.workspaces import smoke_params

pytestmark = pytest.mark.filterwarnings("ignore:.timm-. encoders are deprecated")

COUNT, SIDE = 40, 64
ARGUMENTS = {"arm": "supervised", "seed": "0"}


def write_images(root: Path) -> None:
    """A bright nodule in each image, and a dark cyst in three of four, each of its own place and size."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(COUNT):
        (top, left), size = rng.integers(4, 20, 2), rng.integers(8, 14)
        nodule = (y - rng.integers(38, 50)) ** 2 + (x - rng.integers(14, 50)) ** 2 < rng.integers(7, 11) ** 2
        cyst = (y >= top) & (y < top + size) & (x >= left) & (x < left + size) & bool(number % 4)
        image = np.where(nodule, 240, np.where(cyst & ~nodule, 10, scene(number, SIDE, SIDE) // 2 + 60))
        for folder, pixels in (("images", image), ("masks/0", 255 * nodule), ("masks/1", 255 * (cyst & ~nodule))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{number:02d}.png")


def make(root: Path, system: str, steps: int) -> None:
    """Everything from data/raw/two to results/supervised-0."""

    def edit(tree: dict[str, Any]) -> None:
        tree["dataset"] = "two"
        tree["datasets"]["two"] = {"adapter": "folder", "foreground": ["nodule", "cyst"], "masks": "binary"}
        tree["arms"] = {"plain": ["supervised"], "synthetic": [], "phantom": []}
        tree["segmenter"].update(system=system, label_fraction=1.0)
        tree["segmenter"]["encoder"] = {"name": "tu-tf_efficientnet_lite0", "weights": "none", "norm": "bn"}
        tree["scales"]["smoke"]["segment"].update(total_steps=steps, batch_labeled=8, lr=5.0e-3, checkpoint_every=steps)

    (root / "params.yaml").write_bytes(smoke_params(edit))
    write_images(root / "data" / "raw" / "two")
    params = load_params(root / "params.yaml")
    for stage in (prepare.STAGE, split.STAGE, pool.STAGE):
        execute(stage, params, root, {})
    for module in (train, evaluate):
        execute(module.stage_of("supervised"), params, root, ARGUMENTS)


@pytest.mark.slow
def test_each_class_is_learned_and_scored(tmp_path: Path) -> None:
    make(tmp_path, "unet", 60)
    prepared = load_prepared(tmp_path / "data" / "prepared")
    assert prepared.dataset["foreground"] == ["nodule", "cyst"]
    assert set(np.unique(prepared.labels)) == {0, 1, 2}
    folder = tmp_path / "results" / "supervised-0"
    rows = [row for row in read_csv(folder / "per_case.csv") if row["mode"] == "direct"]
    tested = {row["case"] for row in rows}
    assert len(rows) == 2 * len(tested)
    without = {case for case in tested if not int(case) % 4}
    assert 0 < len(without) < len(tested)
    assert {row["case"] for row in rows if row["foreground"] == "cyst" and float(row["target_area"]) == 0} == without
    scores = read_json(folder / "metrics.json")["modes"]["direct"]
    for name, images in (("nodule", len(tested)), ("cyst", len(tested - without))):
        dice = scores[name]["lesion"]["dice"]
        own = [float(row["dice"]) for row in rows if row["foreground"] == name and float(row["target_area"]) > 0]
        assert (dice["n"], dice["mean"]) == (images, pytest.approx(np.mean(own)))
        assert dice["mean"] > 0.75, name  # a bright disc and a dark square: exchanged or merged classes would score 0
    assert scores["cyst"]["lesion_free"]["images"] == len(without)


@pytest.mark.slow
def test_the_diffusion_segmenter_takes_two_classes_too(tmp_path: Path) -> None:
    make(tmp_path, "crossdiff", 4)
    modes = read_json(tmp_path / "results" / "supervised-0" / "metrics.json")["modes"]
    assert {name for scores in modes.values() for name in scores} == {"nodule", "cyst"}
