"""The stage encode: moments of train rows only, in scale, or no latents at all."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.autoencoder.encode import STAGE
from generative.autoencoder.model import load_autoencoder, posterior_moments, scaling_of
from generative.autoencoder.train import STAGE as AUTOENCODER
from generative.diffusion.train import load_latents
from pipelines.runtime.artifacts import load_tensors, read_csv, read_metadata, write_manifest
from pipelines.runtime.errors import ArtifactError, NumericsError
from tests.support.generator import make_pool, make_workspace, run_stages, speckle, taint
from tests.support.workspaces import tree_hashes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_workspace(tmp_path_factory.mktemp("encode"))
    run_stages(root, AUTOENCODER, STAGE)
    return root


def rewrite_config(root: Path, **values: object) -> None:
    folder = root / "models" / "autoencoder"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    write_manifest(folder, dataset="phantom")


def test_moments_are_the_posteriors_of_the_train_rows_in_order(root: Path) -> None:
    rows = read_csv(root / "data" / "latents" / "latents.csv")
    train = [row for row in range(20) if row % 5 < 3]
    assert [int(row["row"]) for row in rows] == train
    assert [row["case"] for row in rows] == [f"case-{row:03d}" for row in train]
    assert [row["class"] for row in rows] == [("benign", "malignant")[row % 2] for row in train]
    tensors = load_tensors(root / "data" / "latents" / "moments.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == dict.fromkeys(
        ("mean", "mean_flipped", "std", "std_flipped"), (12, 4, 8, 8)
    )
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    images = np.load(root / "data" / "prepared" / "images.npy")[train]
    vae = load_autoencoder(root / "models" / "autoencoder")
    mean, std = posterior_moments(vae, images)
    torch.testing.assert_close(tensors["mean"], mean)
    torch.testing.assert_close(tensors["std"], std)
    mirrored, _ = posterior_moments(vae, np.ascontiguousarray(images[:, :, ::-1]))
    torch.testing.assert_close(tensors["mean_flipped"], mirrored, rtol=1e-4, atol=1e-5)


def test_class_names_travel_with_the_moments(root: Path) -> None:
    metadata = read_metadata(root / "data" / "latents" / "moments.safetensors")
    assert json.loads(metadata["classes"]) == ["benign", "malignant"]


def test_contradicting_classes_condition_nothing(tmp_path: Path) -> None:
    root = make_workspace(tmp_path, flags={0: "class_conflict", 1: "color;duplicate;class_conflict", 5: "duplicate"})
    run_stages(root, AUTOENCODER, STAGE)
    folder = root / "data" / "latents"
    named = {row["case"]: row["class"] for row in read_csv(folder / "latents.csv")}
    assert [named[f"case-{row:03d}"] for row in (0, 1, 2, 5)] == ["", "", "benign", "malignant"]
    latents = load_latents(folder, load_autoencoder(root / "models" / "autoencoder"), torch.device("cpu"))
    assert latents.labels[:3].tolist() == [2, 2, 0]  # 2: the null class of two
    assert latents.class_counts() == [5, 5]


def test_images_of_the_pool_join_under_the_null_class(tmp_path: Path) -> None:
    root, more = make_workspace(tmp_path), speckle(3, 32, seed=5)
    make_pool(root, more)  # of class `malignant` in their own dataset
    run_stages(root, AUTOENCODER, STAGE)
    folder = root / "data" / "latents"
    rows = read_csv(folder / "latents.csv")
    assert [(row["case"], row["row"], row["class"]) for row in rows[12:]] == [
        (f"other/image-{row:03d}", str(row), "") for row in range(3)
    ]
    vae = load_autoencoder(root / "models" / "autoencoder")
    tensors = load_tensors(folder / "moments.safetensors")
    assert tensors["mean"].shape == (15, 4, 8, 8)
    torch.testing.assert_close(tensors["mean"][12:], posterior_moments(vae, more)[0], rtol=1e-4, atol=1e-5)
    latents = load_latents(folder, vae, torch.device("cpu"))
    assert latents.labels[12:].tolist() == [2, 2, 2]  # 2: the null class of two
    assert latents.class_counts() == [6, 6]


def test_scaled_latents_have_mean_zero_and_deviation_one(root: Path) -> None:
    tensors = load_tensors(root / "data" / "latents" / "moments.safetensors")
    m, s = scaling_of(load_autoencoder(root / "models" / "autoencoder"))
    z = tensors["mean"] + tensors["std"] * torch.randn(tensors["std"].shape, generator=torch.Generator().manual_seed(0))
    z = (z - m) / s
    assert z.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert (z.std(dim=(0, 2, 3)) - 1).abs().max() < 0.1


def test_no_pixel_outside_train_changes_a_byte(root: Path, tmp_path: Path) -> None:
    other = make_workspace(tmp_path / "tainted")
    taint(other)
    run_stages(other, AUTOENCODER, STAGE)
    for name in ("moments.safetensors", "latents.csv"):
        assert (
            tree_hashes(root, "data/latents")[f"data/latents/{name}"]
            == (tree_hashes(other, "data/latents")[f"data/latents/{name}"])
        )


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_a_scale_that_does_not_fit_is_refused_before_any_training(tmp_path: Path, factor: float) -> None:
    root = make_workspace(tmp_path)
    run_stages(root, AUTOENCODER)
    _, s = scaling_of(load_autoencoder(root / "models" / "autoencoder"))
    rewrite_config(root, latents_std=[value * factor for value in s.flatten().tolist()])
    with pytest.raises(NumericsError, match=r"between 0.8 and 1.25"):
        run_stages(root, STAGE)
    assert not (root / "data" / "latents").exists()


@pytest.mark.parametrize("name", ["latents_mean", "latents_std"])
def test_an_unmeasured_scale_is_refused(tmp_path: Path, name: str) -> None:
    root = make_workspace(tmp_path)
    run_stages(root, AUTOENCODER)
    rewrite_config(root, **{name: None})
    with pytest.raises(ArtifactError, match=name):
        run_stages(root, STAGE)
