"""Stage `audit`: what generated images share with the patients they were learned from, and how real they look.

Samples are compared with all that the generator learned from, images of other datasets (`data/pool`) included. What is
normal is calibrated on real images of the kind that it is asked to draw (`asked_for`): train, one group left out at a
time, and val. No test image is opened.

It always publishes and exits with 0: evidence is worth most when the gate fails. Who reads `data/audit` refuses on the
verdict `fail`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from generative.audit.calibration import calibrate, compare, decide_samples, measure_excess, nearest_similarity
from generative.audit.features import Views, image_features, view
from generative.audit.fidelity import Cloud, Fidelity, goal, manifold_scores, measure_kid
from generative.audit.outputs import finite, metrics, recheck, write_decisions, write_pictures
from generative.audit.planted import plant
from generative.audit.sharpness import smoothed_like
from generative.audit.verdict import Evidence, judge
from generative.autoencoder.model import load_autoencoder, reconstruct
from pipelines.datasets.case import groups_of, load_prepared, rows_of_part
from pipelines.datasets.training import TrainingImages, load_training_images
from pipelines.params.audit import AuditParams
from pipelines.runtime.artifacts import load_array, read_csv, read_json, write_json
from pipelines.runtime.errors import ArtifactError, DataError
from pipelines.runtime.randomness import numpy_generator_for
from pipelines.runtime.stage import Run, Stage, run_stage

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

NEIGHBORS = 3  # k of precision and recall


@dataclass(frozen=True)
class Real:
    """Real images (N, H, W) uint8 and the group of each."""

    images: np.ndarray
    groups: np.ndarray


def run(run: Run) -> None:
    """Load, measure, decide, write."""
    params: AuditParams = run.params.settings
    train, val = read_real(*(run.inputs[name] for name in ("prepared", "split", "pool")))
    samples, pixels = read_samples(run.inputs["synthetic"], train.images.shape[1:])
    vae = load_autoencoder(run.inputs["autoencoder"]).to(run.device)
    learned, more = len(train.images), f" and {len(train.images) - train.own} pool" * (len(train.images) > train.own)
    run.log(f"{len(samples)} samples against {train.own} train{more} and {len(val.images)} val images")

    train_groups = np.array(train.groups, dtype=str)
    asked = asked_for(train, read_json(run.inputs["prepared"] / "dataset.json")["classes"])
    chosen = np.r_[0:asked, learned : learned + len(val.images)]
    images = np.concatenate([train.images, val.images])
    ours, everything = view(pixels, vae, run.device), view(images, vae, run.device)
    seen, held_out = pick(everything, slice(learned)), pick(everything, slice(learned, None))
    real, groups = pick(everything, chosen), np.concatenate([train_groups, val.groups])[chosen]
    calibration = calibrate(real, seen, groups, train_groups, params)
    decision = decide_samples(ours, seen, calibration.detector, params)
    write_decisions(run.out, samples, decision, calibration.detector, train.names)

    run.log("real images as smooth as the samples")
    kept = pixels if decision.flagged.all() else pixels[~decision.flagged]
    smooth = view(smoothed_like(real.images, kept), vae, run.device)
    smooth_reference = nearest_similarity(compare(smooth, seen, groups, train_groups))
    evidence = Evidence(
        excess=measure_excess(decision, calibration.reference, groups, params, "excess"),
        excess_smooth=measure_excess(decision, smooth_reference, groups, params, "excess_smooth"),
        hard_kept=recheck(run.out / "kept.csv", run.inputs["synthetic"], train.images, params.hard_ncc),
        dropped=int(decision.flagged.sum()),
        total=len(samples),
        false_alarms=int(calibration.flagged.sum()),
        negatives=len(calibration.flagged),
        planted=plant(train.images, calibration.detector, params.hard_ncc),
    )
    verdict = judge(evidence, params)

    own = slice(train.own)  # the generator is meant to draw images of the dataset, wherever else it learned
    fidelity = measure_fidelity(ours, pick(seen, own), held_out, train_groups[own], val.groups, vae, params)
    manifold = manifold_scores(
        ours.features,
        held_out.features,
        k=NEIGHBORS,
        draws=params.kid_draws,
        rng=numpy_generator_for(params.seed, "audit/manifold"),
    )
    write_json(
        run.out / "verdict.json",
        {
            "verdict": verdict.verdict,
            "reasons": list(verdict.reasons),
            "warnings": [*verdict.warnings, *fidelity_warnings(fidelity)],
        },
    )
    write_json(run.out / "metrics.json", finite(metrics(evidence, fidelity, manifold, calibration.detector, verdict)))
    write_pictures(run.out, samples, pixels, decision, calibration.detector, train.images, train.names)
    run.log(f"verdict {verdict.verdict}: {evidence.dropped} of {len(samples)} samples dropped")
    for reason in verdict.reasons:
        run.log(reason)


def measure_fidelity(
    ours: Views,
    seen: Views,
    held_out: Views,
    train_groups: np.ndarray,
    val_groups: np.ndarray,
    vae: AutoencoderKL,
    params: AuditParams,
) -> Fidelity:
    """KID against the val images, its floor being their reconstructions and its reference the train images."""
    floor = held_out.features
    if len(floor):
        floor = image_features(reconstruct(vae, held_out.images), vae.device)
    return measure_kid(
        ours.features,
        Cloud(seen.features, train_groups),
        Cloud(held_out.features, val_groups),
        floor,
        draws=params.kid_draws,
        bootstrap=params.bootstrap,
        rng=numpy_generator_for(params.seed, "audit/kid"),
    )


def fidelity_warnings(fidelity: Fidelity) -> list[str]:
    """What the number of held-out images does not allow to say."""
    if fidelity.kid is None:
        return [f"fidelity: {fidelity.groups} held-out groups (val); KID needs 2, so it was not measured"]
    if goal(fidelity) == "not decided":
        return [
            f"fidelity: {fidelity.groups} held-out groups (val), n = {fidelity.n}; 80 groups can decide, so KID is "
            "shown and decides nothing"
        ]
    return []


def asked_for(train: TrainingImages, classes: Sequence[str]) -> int:
    """How many of the training images, from the first, are of the kind that samples are drawn as.

    With two classes and more each sample is drawn as one of them. Images of the pool have none, so no sample is meant
    to be one: samples are compared with the pool, and what is normal is asked of the dataset's own images. Were the
    pool's images asked too, a pool of dense or unknown patients would raise the threshold that copies must cross.
    Without classes samples come from all training images alike, and so must the reference: against the dataset's own
    images alone, fresh samples that look like the pool would seem too near to it, or copies hide among samples that
    look like nothing else.
    """
    return train.own if len(classes) >= 2 else len(train.images)


def read_real(prepared_folder: Path, split_folder: Path, pool_folder: Path) -> tuple[TrainingImages, Real]:
    """Training images and val images; DataError with fewer than 3 train groups (nearest and second beside its own)."""
    train, prepared = load_training_images(prepared_folder, split_folder, pool_folder), load_prepared(prepared_folder)
    if (found := len(set(train.groups[: train.own]))) < 3:
        raise DataError(f"audit: expected at least 3 groups in the train part, found {found}; add patients")
    rows, groups = rows_of_part(prepared, split_folder, "val"), groups_of(prepared, split_folder)
    names = [groups[prepared.cases[row]["case"]] for row in rows]
    return train, Real(np.asarray(prepared.images[rows]), np.array(names, dtype=str))


def read_samples(folder: Path, shape: tuple[int, ...]) -> tuple[list[dict[str, str]], np.ndarray]:
    """Lines of samples.csv and their images (M, H, W) uint8 in the same order."""
    rows, images = read_csv(folder / "samples.csv"), load_array(folder / "images.npy")
    if len(rows) != len(images) or images.shape[1:] != shape or images.dtype != np.uint8 or not rows:
        raise ArtifactError(
            f"{folder}: expected samples of {shape} uint8 and one line each, found images {images.shape} "
            f"{images.dtype} and {len(rows)} lines; run the sample stage again"
        )
    return rows, np.asarray(images[[int(row["row"]) for row in rows]])


def pick(views: Views, rows: slice | np.ndarray) -> Views:
    """Views of some of the images."""
    return Views(*(getattr(views, field.name)[rows] for field in fields(Views)))


STAGE = Stage(
    name="audit",
    module="generative.audit.audit",
    run=run,
    output="data/audit",
    inputs={
        "synthetic": "data/synthetic",
        "prepared": "data/prepared",
        "split": "data/split",
        "pool": "data/pool",
        "autoencoder": "models/autoencoder",
    },
    params={"settings": "audit", "runtime": "runtime"},
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
