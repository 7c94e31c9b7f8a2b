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
    same_group,
    threshold,
)
from pipelines.datasets.duplicates import describe
from pipelines.params.audit import AuditParams
from pipelines.runtime.randomness import numpy_generator_for


@dataclass(frozen=True)
class Calibration:
    """The detector, and what it says of real images: nearest similarity per metric, and which of them it flags.

    reference: metric -> (N,); groups, flagged: (N,); N = train images, then val images.
    """

    detector: Detector
    reference: dict[str, np.ndarray]
    groups: np.ndarray
    flagged: np.ndarray


def compare(real: Views, seen: Views, groups: np.ndarray, train_groups: np.ndarray) -> dict[str, np.ndarray]:
    """(N, R) similarity per metric of real images with train images of other groups; -1 within a group."""
    return similarities(real, seen, same_group(groups, train_groups))


def nearest_similarity(tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(N,) per metric: similarity of the nearest train image."""
    return {name: table.max(axis=1) for name, table in tables.items()}


def calibrate(
    real: Views, seen: Views, groups: np.ndarray, train_groups: np.ndarray, params: AuditParams
) -> Calibration:
    """Nearest neighbors of train images among other groups, and of val images among all of train; tau from both.

    real: views of train images, then val images; groups: theirs. seen, train_groups: all training images, which are
    more where images of other datasets were learned from too.
    """
    tables = compare(real, seen, groups, train_groups)
    reference = nearest_similarity(tables)
    detector = Detector(
        {name: threshold(found, params.quantile) for name, found in reference.items()}, params.ratio, train_groups
    )
    copies = hard(describe(real.images), describe(seen.images), tables["pixels"], params.hard_ncc)
    copies &= ~same_group(groups, train_groups)
    return Calibration(detector, reference, groups, decide(tables, copies, detector).flagged)


def decide_samples(samples: Views, seen: Views, detector: Detector, params: AuditParams) -> Decision:
    """The detector on the samples, against all of train."""
    tables = similarities(samples, seen)
    copies = hard(describe(samples.images), describe(seen.images), tables["pixels"], params.hard_ncc)
    return decide(tables, copies, detector)


def measure_excess(
    decision: Decision, reference: dict[str, np.ndarray], groups: np.ndarray, params: AuditParams, stream: str
) -> dict[str, Excess]:
    """Excess per metric of the samples that were not flagged over the reference; empty when all were flagged.

    The bounds hold for all metrics together (95% in all). stream: names the random numbers.
    """
    kept = ~decision.flagged
    if not kept.any():
        return {}
    return {
        name: excess(
            decision.nearest[name].similarity[kept],
            reference[name],
            groups,
            quantile=params.quantile,
            level=1.0 - 0.05 / len(METRICS),
            draws=params.bootstrap,
            rng=numpy_generator_for(params.seed, f"audit/{stream}/{name}"),
        )
        for name in METRICS
    }
