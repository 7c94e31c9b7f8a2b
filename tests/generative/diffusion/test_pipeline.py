"""The pipeline's call, and both saved folders in a fresh process that has diffusers alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from generative.diffusion.folder import load_pipeline
from generative.diffusion.pipeline import UltrasoundPipeline
from pipelines.runtime.artifacts import load_array, read_csv

# Isolated (-I): neither the project's folder nor its packages can be imported, as asserted at the end.
FRESH = """
import sys, csv, pathlib
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DModel

root, out = pathlib.Path(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
vae = AutoencoderKL.from_pretrained(root / "models" / "autoencoder")
x = torch.zeros(1, 1, 32, 32)
assert vae.decode(vae.encode(x).latent_dist.mode()).sample.shape == x.shape
assert len(vae.config.latents_mean) == len(vae.config.latents_std) == 4 and vae.config.scaling_factor == 1.0

folder = str(root / "models" / "diffusion")
UNet2DModel.from_pretrained(folder, subfolder="unet")  # each component without custom code
DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
pipeline.set_progress_bar_config(disable=True)
rows = list(csv.DictReader(open(root / "data" / "synthetic" / "samples.csv")))[:4]
images = pipeline(
    class_labels=[pipeline.config.class_names.index(row["class"]) for row in rows],
    generator=[torch.Generator().manual_seed(int(row["seed"])) for row in rows],
    num_inference_steps=4,
    guidance_scale=1.5,
).images
np.save(out, np.stack([np.asarray(image) for image in images]))
assert not {"generative", "pipelines", "segmentation"} & {name.split(".")[0] for name in sys.modules}
print("ok")
"""


def test_a_fresh_process_loads_both_folders_and_draws_the_published_samples(
    generator_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))  # diffusers copies custom code there
    out = tmp_path / "images.npy"
    done = subprocess.run(
        [sys.executable, "-I", "-c", FRESH, str(generator_root), str(out)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("ok")
    ours = load_array(generator_root / "data" / "synthetic" / "images.npy")[:4]
    assert np.abs(np.load(out).astype(int) - ours.astype(int)).max() <= 1
    assert len(read_csv(generator_root / "data" / "synthetic" / "samples.csv")) >= 4


@pytest.fixture(scope="module")
def pipeline(generator_root: Path) -> UltrasoundPipeline:
    return load_pipeline(generator_root / "models" / "diffusion")


def latents(count: int) -> torch.Tensor:
    return torch.randn((count, 4, 8, 8), generator=torch.Generator().manual_seed(0))


def test_output_types_agree(pipeline: UltrasoundPipeline) -> None:
    call = {"class_labels": [0, 1], "num_inference_steps": 4}
    tensor = pipeline(**call, latents=latents(2), output_type="pt").images
    array = pipeline(**call, latents=latents(2), output_type="np").images
    pictures = pipeline(**call, latents=latents(2)).images
    assert tensor.shape == (2, 1, 32, 32)
    assert float(tensor.min()) >= 0.0
    assert float(tensor.max()) <= 1.0
    assert np.array_equal(array[..., 0], tensor[:, 0].numpy())
    assert pictures[0].mode == "L"
    assert np.array_equal(np.asarray(pictures[1]), np.rint(array[1, :, :, 0] * 255).astype(np.uint8))


def test_guidance_one_is_the_plain_conditional_model_and_more_changes_the_image(pipeline: UltrasoundPipeline) -> None:
    def draw(labels: list[int] | None, scale: float) -> torch.Tensor:
        return pipeline(
            labels, guidance_scale=scale, latents=latents(1), num_inference_steps=4, output_type="pt"
        ).images

    assert not torch.equal(draw([0], 1.0), draw([0], 3.0))
    assert not torch.equal(draw([0], 1.0), draw([1], 1.0))
    assert torch.equal(draw(None, 1.0), draw(None, 3.0))  # the null class guides nothing
    assert torch.equal(draw([2], 1.0), draw(None, 1.0))  # the last index is the null class


def test_wrong_calls_are_named(pipeline: UltrasoundPipeline) -> None:
    with pytest.raises(ValueError, match="divisor of 1000"):
        pipeline([0], num_inference_steps=3)
    with pytest.raises(ValueError, match="class_labels: expected 0"):
        pipeline([3], num_inference_steps=4)
    with pytest.raises(ValueError, match="latents: expected the shape"):
        pipeline([0], latents=torch.zeros(1, 4, 4, 4), num_inference_steps=4)


def test_missing_scaling_is_refused_by_the_pipeline_itself(generator_root: Path) -> None:
    pipeline = load_pipeline(generator_root / "models" / "diffusion")
    pipeline.vae.register_to_config(latents_std=None)
    with pytest.raises(ValueError, match="expected latents_std, found none"):
        pipeline([0], num_inference_steps=4)
