"""From views of real images to a detector with its thresholds, and from the detector to decisions about samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from generative.audit.features import METRICS, Views, hard, similarities
from generative.audit.memorization import (
    Decision,
    Detector,
    Excess,
    decide,
    excess,
    leave_own_group_out,
    threshold,
)
from pipelines.datasets.duplicates import describe, nearest_by_group
from pipelines.params.audit import AuditParams
from pipelines.runtime.randomness import numpy_generator_for


@dataclass(frozen=True)
class Calibration:
    """The detector, and what it says of real images: nearest similarity per metric, and which of them it flags."""

    detector: Detector
    reference: dict[str, np.ndarray]
    groups: np.ndarray
    flagged: np.ndarray


def calibrate(
    seen: Views, held_out: Views, train_groups: np.ndarray, val_groups: np.ndarray, params: AuditParams
) -> Calibration:
    """Nearest neighbors of train images among other groups, and of val images among all of train; tau from both."""
    groups = np.concatenate([train_groups, val_groups])
    real = Views(
        *(np.concatenate([getattr(seen, name), getattr(held_out, name)]) for name in Views.__dataclass_fields__)
    )
    full = similarities(real, seen, seen)
    tables = {name: leave_own_group_out(table, groups, train_groups) for name, table in full.items()}
    reference = {name: nearest_by_group(table, train_groups.tolist()).similarity for name, table in tables.items()}
    tau = {name: threshold(values, params.quantile) for name, values in reference.items()}
    detector = Detector(tau, params.ratio, train_groups)
    copies = hard(describe(real.images), describe(seen.images), tables["pixels"], params.hard_ncc)
    copies &= groups[:, None] != train_groups[None, :]
    return Calibration(detector, reference, groups, decide(tables, copies, detector).flagged)


def decide_samples(samples: Views, seen: Views, detector: Detector, params: AuditParams) -> Decision:
    """The detector on the samples, against all of train."""
    tables = similarities(samples, seen, seen)
    copies = hard(describe(samples.images), describe(seen.images), tables["pixels"], params.hard_ncc)
    return decide(tables, copies, detector)


def measure_excess(decision: Decision, calibration: Calibration, params: AuditParams) -> dict[str, Excess]:
    """Excess per metric of the samples that were not flagged; the bounds hold for all metrics together."""
    kept = ~decision.flagged
    if not kept.any():
        return {}
    return {
        name: excess(
            decision.nearest[name].similarity[kept],
            calibration.reference[name],
            calibration.groups,
            quantile=params.quantile,
            level=1.0 - 0.05 / len(METRICS),
            draws=params.bootstrap,
            rng=numpy_generator_for(params.seed, f"audit/excess/{name}"),
        )
        for name in METRICS
    }
