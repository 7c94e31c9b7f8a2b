"""Stage `audit`: what generated images share with the patients they were learned from, and how real they look.

It calibrates on train (one group left out at a time) and val and never opens a test image. It always publishes and
exits with 0: evidence is worth most when the gate fails. Who reads `data/audit` refuses on the verdict `fail`.
"""

from __future__ import annotations

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
from pipelines.params.audit import AuditParams
from pipelines.runtime.artifacts import load_array, read_csv, write_json
from pipelines.runtime.errors import ArtifactError, DataError
from pipelines.runtime.randomness import numpy_generator_for
from pipelines.runtime.stage import Run, Stage, run_stage

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

NEIGHBORS = 3  # k of precision and recall


@dataclass(frozen=True)
class Real:
    """Real images (N, H, W) uint8 of one part, with the name and the group of each."""

    images: np.ndarray
    cases: list[str]
    groups: np.ndarray


def run(run: Run) -> None:
    """Load, measure, decide, write."""
    params: AuditParams = run.params.settings
    train, val = read_real(run.inputs["prepared"], run.inputs["split"])
    samples, pixels = read_samples(run.inputs["synthetic"], train.images.shape[1:])
    vae = load_autoencoder(run.inputs["autoencoder"]).to(run.device)
    run.log(f"{len(samples)} samples against {len(train.cases)} train and {len(val.cases)} val images")

    images = np.concatenate([train.images, val.images])
    groups = np.concatenate([train.groups, val.groups])
    ours, real = view(pixels, vae, run.device), view(images, vae, run.device)
    seen, held_out = cut(real, 0, len(train.images)), cut(real, len(train.images), len(images))
    calibration = calibrate(real, seen, groups, train.groups, params)
    decision = decide_samples(ours, seen, calibration.detector, params)
    write_decisions(run.out, samples, decision, calibration.detector, train.cases)

    run.log("real images as smooth as the samples")
    kept = pixels if decision.flagged.all() else pixels[~decision.flagged]
    smooth = view(smoothed_like(images, kept), vae, run.device)
    smooth_reference = nearest_similarity(compare(smooth, seen, groups, train.groups))
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

    fidelity = measure_fidelity(ours, seen, held_out, train.groups, val.groups, vae, params)
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
    write_pictures(run.out, samples, pixels, decision, calibration.detector, train.images, train.cases)
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


def read_real(prepared_folder: Path, split_folder: Path) -> tuple[Real, Real]:
    """Train and val images; DataError with fewer than 3 train groups (a nearest and a second one beside its own)."""
    prepared = load_prepared(prepared_folder)
    groups = groups_of(prepared, split_folder)

    def part(name: str) -> Real:
        rows = rows_of_part(prepared, split_folder, name)
        cases = [prepared.cases[row]["case"] for row in rows]
        return Real(np.asarray(prepared.images[rows]), cases, np.array([groups[case] for case in cases], dtype=str))

    train, val = part("train"), part("val")
    if (found := len(np.unique(train.groups))) < 3:
        raise DataError(f"audit: expected at least 3 groups in the train part, found {found}; add patients")
    return train, val


def read_samples(folder: Path, shape: tuple[int, ...]) -> tuple[list[dict[str, str]], np.ndarray]:
    """Lines of samples.csv and their images (M, H, W) uint8 in the same order."""
    rows, images = read_csv(folder / "samples.csv"), load_array(folder / "images.npy")
    if len(rows) != len(images) or images.shape[1:] != shape or images.dtype != np.uint8 or not rows:
        raise ArtifactError(
            f"{folder}: expected samples of {shape} uint8 and one line each, found images {images.shape} "
            f"{images.dtype} and {len(rows)} lines; run the sample stage again"
        )
    return rows, np.asarray(images[[int(row["row"]) for row in rows]])


def cut(views: Views, start: int, stop: int) -> Views:
    """Views of the images start ... stop - 1."""
    return Views(*(getattr(views, field.name)[start:stop] for field in fields(Views)))


STAGE = Stage(
    name="audit",
    module="generative.audit.audit",
    run=run,
    output="data/audit",
    inputs={
        "synthetic": "data/synthetic",
        "prepared": "data/prepared",
        "split": "data/split",
        "autoencoder": "models/autoencoder",
    },
    params={"settings": "audit", "runtime": "runtime"},
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
