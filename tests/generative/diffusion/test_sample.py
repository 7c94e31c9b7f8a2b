"""The stage sample: an image is a function of (seed, id)."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.diffusion.folder import load_pipeline
from generative.diffusion.pipeline import UltrasoundPipeline
from generative.diffusion.sample import STAGE, classes_in_order, draw_samples, noise_of, shard
from pipelines.params.generator import SampleParams
from pipelines.runtime.artifacts import load_array, read_csv, write_manifest
from pipelines.runtime.errors import ArtifactError, DataError, ParamsError
from tests.support.generator import make_workspace, run_stages
from tests.support.workspaces import tree_hashes

PARAMS = SampleParams(count=8, batch=8, steps=4, guidance=1.5, seed=0)
LABELS = classes_in_order([7, 6], 8)


@pytest.fixture(scope="module")
def pipeline(generator_root: Path) -> UltrasoundPipeline:
    return load_pipeline(generator_root / "models" / "diffusion")


def apart(a: np.ndarray, b: np.ndarray) -> int:
    """Largest difference in gray levels."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_batch_size_changes_no_image(pipeline: UltrasoundPipeline, guidance: float) -> None:
    params = PARAMS.model_copy(update={"guidance": guidance})
    images = {
        batch: draw_samples(pipeline, range(8), LABELS, params.model_copy(update={"batch": batch}))
        for batch in (1, 3, 8)
    }
    assert images[1].shape == (8, 32, 32)
    assert images[1].dtype == np.uint8
    assert apart(images[1], images[3]) <= 1
    assert apart(images[1], images[8]) <= 1
    assert len({image.tobytes() for image in images[8]}) == 8  # and the images do differ from each other


def test_ids_may_be_drawn_in_any_subset_and_order(pipeline: UltrasoundPipeline) -> None:
    whole = draw_samples(pipeline, range(8), LABELS, PARAMS)
    ids = [5, 2, 7]
    assert apart(draw_samples(pipeline, ids, [LABELS[i] for i in ids], PARAMS), whole[ids]) <= 1


def test_shards_of_two_processes_make_the_whole(pipeline: UltrasoundPipeline) -> None:
    whole = draw_samples(pipeline, range(5), LABELS[:5], PARAMS)
    shards = [shard(range(5), rank, 2) for rank in (0, 1)]
    assert shards == [[0, 2, 4], [1, 3, 4]]  # the last id is drawn twice, so that both have equally many
    parts = [draw_samples(pipeline, ids, [LABELS[i] for i in ids], PARAMS) for ids in shards]
    together = np.stack(parts, axis=1).reshape(-1, 32, 32)[:5]
    assert apart(together, whole) <= 1


def test_noise_is_standard_and_a_function_of_seed_and_id(pipeline: UltrasoundPipeline) -> None:
    noise = noise_of(pipeline, range(64), 0)
    assert noise.shape == (64, 4, 8, 8)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.03)
    assert noise.std().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(noise_of(pipeline, [9], 0)[0], noise[9])
    assert not torch.equal(noise_of(pipeline, [9], 1)[0], noise[9])


def test_every_prefix_has_the_class_frequencies_of_train() -> None:
    counts = [56, 27, 17]
    order = classes_in_order(counts, 300)
    assert order[:100].count(0) == 56
    for n in range(1, 301):
        given = Counter(order[:n])
        assert all(abs(given[k] - n * counts[k] / 100) <= 1 for k in range(3)), n
    assert classes_in_order(counts, 10) == order[:10]  # more samples later change no class
    assert classes_in_order([1, 1], 4) == [0, 1, 0, 1]
    assert set(classes_in_order([3, 0], 5)) == {0}
    with pytest.raises(DataError, match="found none"):
        classes_in_order([0, 0], 3)


def test_stage_writes_one_row_per_image(generator_root: Path) -> None:
    folder = generator_root / "data" / "synthetic"
    images, rows = load_array(folder / "images.npy"), read_csv(folder / "samples.csv")
    assert images.shape == (10, 32, 32)
    assert images.dtype == np.uint8
    assert [row["sample"] for row in rows] == [f"s{i:06d}" for i in range(10)]
    assert [row["row"] for row in rows] == [str(i) for i in range(10)]
    assert {row["class"] for row in rows} == {"benign", "malignant"}
    assert len({row["seed"] for row in rows}) == 10


def test_the_same_folder_gives_the_same_bytes(generator_root: Path) -> None:
    before = tree_hashes(generator_root, "data/synthetic")
    run_stages(generator_root, STAGE)
    assert tree_hashes(generator_root, "data/synthetic") == before


def test_steps_that_do_not_divide_the_schedule_are_refused(pipeline: UltrasoundPipeline) -> None:
    with pytest.raises(ParamsError, match=r"divisor of diffusion.T = 1000, found 7"):
        draw_samples(pipeline, [0], [0], PARAMS.model_copy(update={"steps": 7}))


@pytest.mark.parametrize("name", ["latents_mean", "latents_std"])
def test_without_measured_scaling_sampling_is_refused(generator_root: Path, tmp_path: Path, name: str) -> None:
    root = make_workspace(tmp_path)
    source, folder = generator_root / "models" / "diffusion", root / "models" / "diffusion"
    for path in source.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(source)).write_bytes(path.read_bytes())
    config = json.loads((folder / "vae" / "config.json").read_text())
    del config[name]
    (folder / "vae" / "config.json").write_text(json.dumps(config))
    write_manifest(folder, dataset="phantom")
    with pytest.raises(ArtifactError, match=name):
        run_stages(root, STAGE)
    assert not (root / "data" / "synthetic").exists()
