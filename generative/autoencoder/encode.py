"""Stage encode: posterior moments of the train images, as they are and mirrored, for the diffusion model.

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
from pipelines.datasets.case import load_prepared, rows_of_part
from pipelines.runtime.artifacts import canonical_json, save_tensors, write_csv
from pipelines.runtime.stage import Run, Stage, run_stage

BATCH = 32  # images at once; part of the code, since kernels may differ by batch size


def condition_of(case: dict[str, str]) -> str:
    """The class that the diffusion model may learn from this row of cases.csv; "", the null class, in a conflict.

    Images of one group (patient or duplicates) with contradicting classes say nothing reliable about either.
    """
    return "" if "class_conflict" in case["flags"].split(";") else case["class"]


def run(run: Run) -> None:
    """The stage's body. NumericsError when the scaled latents do not have the deviation 1 that the schedule expects."""
    prepared = load_prepared(run.inputs["prepared"])
    rows = rows_of_part(prepared, run.inputs["split"], "train")
    vae = load_autoencoder(run.inputs["autoencoder"]).to(run.device)
    gray = prepared.images[rows]
    tensors: dict[str, Tensor] = {}
    for suffix, flip in (("", False), ("_flipped", True)):
        mean, std = posterior_moments(vae, gray, batch=BATCH, flip=flip)
        _, measured = latent_statistics(mean, std)
        check_scaled([s / s_c for s, s_c in zip(measured, scaling_of(vae)[1].flatten().tolist(), strict=True)])
        tensors |= {f"mean{suffix}": mean, f"std{suffix}": std}
    save_tensors(run.out / "moments.safetensors", tensors, {"classes": canonical_json(prepared.dataset["classes"])})
    write_csv(
        run.out / "latents.csv",
        [{"case": prepared.cases[row]["case"], "row": row, "class": condition_of(prepared.cases[row])} for row in rows],
        ["case", "row", "class"],
    )


STAGE = Stage(
    name="encode",
    module="generative.autoencoder.encode",
    run=run,
    output="data/latents",
    inputs={"prepared": "data/prepared", "split": "data/split", "autoencoder": "models/autoencoder"},
    params={"runtime": "runtime"},
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
