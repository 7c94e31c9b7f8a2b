"""The stage autoencoder: what it reads, what it leaves, and how its loss runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from generative.autoencoder.model import load_autoencoder, posterior_moments, scaling_of
from generative.autoencoder.train import STAGE, fresh_autoencoder, perceptual_features
from generative.quality import loss_ratio
from pipelines.params.generator import AutoencoderParams
from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import read_csv, read_metadata, verify_folder, write_csv, write_manifest
from pipelines.runtime.errors import DataError, ParamsError
from tests.support.generator import make_pool, make_workspace, run_stages, speckle, taint
from tests.support.workspaces import tree_hashes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_workspace(tmp_path_factory.mktemp("autoencoder"))
    run_stages(root, STAGE)
    return root


def params_of(root: Path) -> AutoencoderParams:
    return load_params(root / "params.yaml").scales.smoke.autoencoder


def test_folder_is_a_diffusers_autoencoder_with_its_curve(root: Path) -> None:
    folder = root / "models" / "autoencoder"
    assert set(verify_folder(folder).files) == {"config.json", "diffusion_pytorch_model.safetensors", "metrics.csv"}
    assert json.loads((folder / "config.json").read_text())["_class_name"] == "AutoencoderKL"
    assert {"step", "lr", "total", "l1", "kl_element"} <= set(read_csv(folder / "metrics.csv")[0])


def test_loss_falls(root: Path) -> None:
    totals = [float(row["total"]) for row in read_csv(root / "models" / "autoencoder" / "metrics.csv")]
    assert loss_ratio(totals) < 1.0


def test_measured_scaling_is_that_of_the_train_rows(root: Path) -> None:
    vae = load_autoencoder(root / "models" / "autoencoder")
    images = np.load(root / "data" / "prepared" / "images.npy")
    train = [row for row in range(len(images)) if row % 5 < 3]  # as make_prepared splits
    mean, std = posterior_moments(vae, images[train])
    z = mean + std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    m, s = scaling_of(vae)
    scaled = (z - m) / s
    assert scaled.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert (scaled.std(dim=(0, 2, 3)) - 1.0).abs().max() < 0.1


def test_no_pixel_outside_train_changes_a_byte(root: Path, tmp_path: Path) -> None:
    """Taint: other noise in every val and test row (and its manifest made again) leaves the output as it was."""
    other = make_workspace(tmp_path / "tainted")
    taint(other)
    run_stages(other, STAGE)
    ours, theirs = (tree_hashes(r / "models", "autoencoder") for r in (root, other))
    assert {k: v for k, v in ours.items() if "manifest" not in k} == {
        k: v for k, v in theirs.items() if "manifest" not in k
    }


def test_a_train_pixel_changes_the_weights(root: Path, tmp_path: Path) -> None:
    other = make_workspace(tmp_path / "tainted")
    taint(other, part="train")
    run_stages(other, STAGE)
    name = "models/autoencoder/diffusion_pytorch_model.safetensors"
    assert (root / name).read_bytes() != (other / name).read_bytes()


def test_images_of_the_pool_are_learned_from(root: Path, tmp_path: Path) -> None:
    other = make_workspace(tmp_path / "pool")
    make_pool(other, speckle(3, 32, seed=5))
    run_stages(other, STAGE)
    name = "models/autoencoder/diffusion_pytorch_model.safetensors"
    assert (root / name).read_bytes() != (other / name).read_bytes()


def test_first_weights_depend_on_the_seed_alone(root: Path) -> None:
    params = params_of(root)
    torch.manual_seed(1)
    first = fresh_autoencoder(params, 32).state_dict()
    torch.manual_seed(2)
    second = fresh_autoencoder(params, 32).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = fresh_autoencoder(params.model_copy(update={"seed": 1}), 32).state_dict()
    assert not torch.equal(first["encoder.conv_in.weight"], other["encoder.conv_in.weight"])


def test_weight_zero_loads_no_feature_network(root: Path) -> None:
    assert perceptual_features(params_of(root), torch.device("cpu")) is None


def test_perceptual_weight_is_used_and_logged(tmp_path: Path) -> None:
    def edit(tree: dict) -> None:
        tree["scales"]["smoke"]["autoencoder"] |= {"perceptual_weight": 0.2, "total_steps": 2, "batch": 2}

    root = make_workspace(tmp_path, edit)
    run_stages(root, STAGE)
    (row,) = read_csv(root / "models" / "autoencoder" / "metrics.csv")
    assert float(row["perceptual"]) > 0.0
    assert float(row["total"]) > float(row["l1"]) + 0.2 * 0.99 * float(row["perceptual"])


def test_weights_are_plain_safetensors(root: Path) -> None:
    path = root / "models" / "autoencoder" / "diffusion_pytorch_model.safetensors"
    assert all(tensor.dtype == torch.float32 for tensor in load_file(path).values())
    assert read_metadata(path) == {"format": "pt"}


def test_no_train_case_and_an_odd_size_are_named(tmp_path: Path) -> None:
    root = make_workspace(tmp_path / "odd", size=34)
    with pytest.raises(ParamsError, match="divide the image by 4"):
        run_stages(root, STAGE)
    empty = make_workspace(tmp_path / "empty")
    split = empty / "data" / "split"
    rows = [row | {"part": "test"} for row in read_csv(split / "split.csv")]
    write_csv(split / "split.csv", rows, ["case", "part", "group"])
    write_manifest(split, dataset="phantom")
    with pytest.raises(DataError, match="expected train cases"):
        run_stages(empty, STAGE)
    assert not (empty / "models").exists() or not (empty / "models" / "autoencoder").exists()
