"""The stage diffusion: latents, conditions, the curve, and the folder."""

import json
from pathlib import Path

import pytest
import torch

from generative.autoencoder.encode import STAGE as ENCODE
from generative.autoencoder.model import load_autoencoder
from generative.autoencoder.train import STAGE as AUTOENCODER
from generative.diffusion.sample import STAGE as SAMPLE
from generative.diffusion.train import STAGE, Latents, load_latents
from pipelines.runtime.artifacts import load_tensors, read_csv, verify_folder, write_csv, write_manifest
from pipelines.runtime.errors import ArtifactError
from tests.support.generator import make_workspace, run_stages, taint
from tests.support.workspaces import tree_hashes

CPU = torch.device("cpu")


def test_latents_are_scaled_to_the_units_of_the_schedule(generator_root: Path) -> None:
    vae = load_autoencoder(generator_root / "models" / "autoencoder")
    latents = load_latents(generator_root / "data" / "latents", vae, CPU)
    n = len(latents.cases)
    assert latents.mean.shape == latents.std.shape == (2, n, 4, 8, 8)
    rows = torch.arange(n)
    noise = torch.randn((n, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    x_0 = latents.draw(rows, torch.zeros(n).long(), noise)
    assert x_0.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert (x_0.std(dim=(0, 2, 3)) - 1).abs().max() < 0.1
    # decoded with the inverse scaling, a drawn mean is the encoder's own mean again
    raw = load_tensors(generator_root / "data" / "latents" / "moments.safetensors")
    m, s = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    mean = latents.draw(rows, torch.ones(n).long(), torch.zeros_like(noise))
    torch.testing.assert_close(mean * s.view(1, -1, 1, 1) + m.view(1, -1, 1, 1), raw["mean_flipped"])


def test_a_draw_is_mean_plus_deviation_times_noise() -> None:
    mean = torch.tensor([1.0, 2.0, 10.0, 20.0]).view(2, 2, 1, 1, 1)
    latents = Latents(mean, torch.full_like(mean, 0.5), torch.tensor([0, 1]), ["a", "b"], ["x", "y"])
    drawn = latents.draw(torch.tensor([1, 0]), torch.tensor([0, 1]), torch.full((2, 1, 1, 1), 2.0))
    assert drawn.flatten().tolist() == [3.0, 11.0]
    assert latents.class_counts() == [1, 1]


def test_an_unknown_class_is_the_null_class(generator_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "latents"
    folder.mkdir()
    source = generator_root / "data" / "latents"
    (folder / "moments.safetensors").write_bytes((source / "moments.safetensors").read_bytes())
    rows = read_csv(source / "latents.csv")
    rows[0]["class"] = ""
    write_csv(folder / "latents.csv", rows, ["case", "row", "class"])
    latents = load_latents(folder, load_autoencoder(generator_root / "models" / "autoencoder"), CPU)
    assert latents.labels[0] == 2
    assert sum(latents.class_counts()) == len(rows) - 1


def test_folder_holds_all_that_sampling_needs(generator_root: Path) -> None:
    folder = generator_root / "models" / "diffusion"
    assert set(verify_folder(folder).files) == {
        "metrics.csv",
        "model_index.json",
        "pipeline.py",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    }
    index = json.loads((folder / "model_index.json").read_text())
    train_classes = [row["class"] for row in read_csv(generator_root / "data" / "latents" / "latents.csv")]
    assert index["class_names"] == ["benign", "malignant"]
    assert index["class_counts"] == [train_classes.count("benign"), train_classes.count("malignant")]
    schedule = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    expected = {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "clip_sample": False,
    }
    assert expected.items() <= schedule.items()


def test_the_autoencoder_inside_is_the_published_one_and_no_path_is_written(generator_root: Path) -> None:
    models = generator_root / "models"
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (models / "diffusion" / "vae" / name).read_bytes() == (models / "autoencoder" / name).read_bytes()
    for path in (models / "diffusion").rglob("*"):
        if path.is_file():
            assert str(generator_root).encode() not in path.read_bytes(), path


def test_first_loss_is_near_one(generator_root: Path) -> None:
    totals = [float(row["total"]) for row in read_csv(generator_root / "models" / "diffusion" / "metrics.csv")]
    assert all(0.5 < total < 2.0 for total in totals)


@pytest.mark.parametrize("classes", [(), ("lesion",)])
def test_without_two_classes_the_whole_way_is_unconditional(tmp_path: Path, classes: tuple[str, ...]) -> None:
    root = make_workspace(tmp_path, classes=classes)
    run_stages(root, AUTOENCODER, ENCODE, STAGE, SAMPLE)
    config = json.loads((root / "models" / "diffusion" / "unet" / "config.json").read_text())
    assert config["num_class_embeds"] is None
    assert {row["class"] for row in read_csv(root / "data" / "synthetic" / "samples.csv")} == {""}


def test_no_pixel_outside_train_changes_a_model_or_a_sample(tmp_path: Path) -> None:
    roots = [make_workspace(tmp_path / name) for name in ("clean", "tainted")]
    taint(roots[1])
    for root in roots:
        run_stages(root, AUTOENCODER, ENCODE, STAGE, SAMPLE)
    clean, tainted = (tree_hashes(root, "models", "data/latents", "data/synthetic") for root in roots)
    assert len(clean) > 10
    for name, digest in clean.items():
        if not name.endswith("manifest.json"):  # it names the inputs' hashes, which the taint changes
            assert tainted[name] == digest, name


def test_moments_of_another_autoencoder_are_refused(generator_root: Path, tmp_path: Path) -> None:
    root = make_workspace(tmp_path, lambda tree: tree["scales"]["smoke"]["autoencoder"].update(latent_channels=3))
    run_stages(root, AUTOENCODER)
    latents = root / "data" / "latents"
    latents.mkdir()
    for name in ("moments.safetensors", "latents.csv"):
        (latents / name).write_bytes((generator_root / "data" / "latents" / name).read_bytes())
    write_manifest(latents, dataset="phantom")
    with pytest.raises(ArtifactError, match="expected 3 channels, found 4"):
        run_stages(root, STAGE)
