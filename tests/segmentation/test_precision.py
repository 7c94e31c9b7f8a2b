"""`runtime.precision: bf16`: training steps run under autocast; augmentations, damaged masks, scores in float32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from pipelines.datasets.case import load_prepared
from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import load_tensors, read_csv
from pipelines.runtime.stage import run_stage
from pipelines.runtime.trainer import Step
from segmentation.batches import Pool, Pools
from segmentation.evaluate import stage_of
from segmentation.system import load_system
from segmentation.train import make_losses
from segmentation.validation import score, validation_rows
from tests.segmentation.test_evaluate import make_data, make_segmenter
from tests.segmentation.test_train import make_world, run
from tests.segmentation.test_validation import world
from tests.support.workspaces import smoke_params


@pytest.fixture(autouse=True)
def fresh_process_state() -> Iterator[None]:
    """Accelerate keeps one precision per process, as it should; a test process has had others before."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def in_bf16(tree: dict[str, Any]) -> None:
    tree["runtime"]["precision"] = "bf16"


@pytest.mark.parametrize(
    ("system", "semi"),
    [("crossdiff", "mean_teacher"), ("unet", "fixmatch"), ("unet", "unimatch"), ("unet", "bcp")],
)
def test_a_training_in_bf16_ends_with_finite_weights(system: str, semi: str, tmp_path: Path) -> None:
    def edit(tree: dict[str, Any]) -> None:
        in_bf16(tree)
        tree["segmenter"]["system"] = system
        tree["segmenter"][system]["semi"] = semi

    folder = run(make_world(tmp_path, edit), "both")
    assert all(math.isfinite(float(row["total"])) for row in read_csv(folder / "metrics.csv"))
    weights = load_tensors(folder / "weights.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}


def test_validation_in_a_bf16_training_is_what_the_saved_model_gives_in_float32(tmp_path: Path) -> None:
    def edit(tree: dict[str, Any]) -> None:
        in_bf16(tree)
        tree["segmenter"]["system"] = "unet"

    root = world(tmp_path, 3, edit)
    folder = run(root, "supervised")
    prepared = load_prepared(root / "data" / "prepared")
    rows = validation_rows(prepared, root / "data" / "split")
    names = [prepared.cases[row]["case"] for row in rows]
    found = score(load_system(folder), np.asarray(prepared.images[rows]), np.asarray(prepared.labels[rows]), names, 1)
    last = read_csv(folder / "metrics.csv")[-1]
    assert {name: repr(value) for name, value in found.items()} == {name: last[name] for name in found}


def test_scores_do_not_depend_on_the_precision(tmp_path: Path) -> None:
    make_data(tmp_path)
    (tmp_path / "params.yaml").write_bytes(smoke_params())
    make_segmenter(tmp_path, "supervised")
    found = []
    for edit in (None, in_bf16):
        (tmp_path / "params.yaml").write_bytes(smoke_params(edit))
        assert run_stage(stage_of("supervised"), ["--arm", "supervised", "--seed", "0"], root=tmp_path) == 0
        found.append((tmp_path / "results" / "supervised-0" / "per_case.csv").read_bytes())
    assert found[0] == found[1]


def test_autocast_does_not_reach_the_augmentations(tmp_path: Path) -> None:
    prepared = load_prepared(make_world(tmp_path) / "data" / "prepared")
    names = [row["case"] for row in prepared.cases]
    pools = Pools(Pool(prepared.images, range(8), names[:8]), prepared.labels, {}, 1, 1.0)
    batches = []

    class Listening:
        def losses(self, batch: Any, *_: Any) -> dict[str, torch.Tensor]:
            batches.append(batch)
            return {"total": torch.zeros(())}

    settings = load_params(tmp_path / "params.yaml").scales.smoke.segment
    losses = make_losses(Listening(), pools, settings, "strong")  # type: ignore[arg-type]
    step = Step(0, 0.0, 0, torch.device("cpu"))
    losses(step, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses(step, None)
    plain, cast = batches
    assert cast.images.dtype == torch.float32
    assert np.array_equal(plain.images.numpy(), cast.images.numpy())
