"""Stage encode: posterior moments of the training images, as they are and mirrored, for the diffusion model.

Mirrored images are encoded rather than mirrored latents used: the convolutions of the encoder do not commute with a
mirror, so a mirrored latent would be off the manifold that the decoder knows.
"""

from __future__ import annotations

from torch import Tensor

from generative.autoencoder.model import (
    check_scaled,
    latent_statistics,
    load_autoencoder,
    posterior_moments,
    scaling_of,
)
from pipelines.datasets.training import TrainingImages, load_training_images
from pipelines.runtime.artifacts import canonical_json, read_json, save_tensors, write_csv
from pipelines.runtime.stage import Run, Stage, run_stage

BATCH = 32  # images at once; part of the code, since kernels may differ by batch size


def conditions_of(images: TrainingImages) -> list[str]:
    """The class that the diffusion model may learn of each image; "" is the null class.

    Images of one group (patient or duplicates) with contradicting classes say nothing reliable about either. Images of
    the pool are of another dataset, which may have other classes or mean something else by a name.
    """
    own = ["" if "class_conflict" in case["flags"].split(";") else case["class"] for case in images.cases[: images.own]]
    return own + [""] * (len(images.cases) - images.own)


def run(run: Run) -> None:
    """The stage's body. NumericsError when the scaled latents do not have the deviation 1 that the schedule expects."""
    images = load_training_images(*(run.inputs[name] for name in ("prepared", "split", "pool")))
    classes = read_json(run.inputs["prepared"] / "dataset.json")["classes"]
    vae = load_autoencoder(run.inputs["autoencoder"]).to(run.device)
    tensors: dict[str, Tensor] = {}
    for suffix, flip in (("", False), ("_flipped", True)):
        mean, std = posterior_moments(vae, images.images, batch=BATCH, flip=flip)
        _, measured = latent_statistics(mean, std)
        check_scaled([s / s_c for s, s_c in zip(measured, scaling_of(vae)[1].flatten().tolist(), strict=True)])
        tensors |= {f"mean{suffix}": mean, f"std{suffix}": std}
    save_tensors(run.out / "moments.safetensors", tensors, {"classes": canonical_json(classes)})
    columns = zip(images.names, images.rows, conditions_of(images), strict=True)
    rows = [{"case": name, "row": row, "class": condition} for name, row, condition in columns]
    write_csv(run.out / "latents.csv", rows, ["case", "row", "class"])


STAGE = Stage(
    name="encode",
    module="generative.autoencoder.encode",
    run=run,
    output="data/latents",
    inputs={
        "prepared": "data/prepared",
        "split": "data/split",
        "pool": "data/pool",
        "autoencoder": "models/autoencoder",
    },
    params={"runtime": "runtime"},
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
