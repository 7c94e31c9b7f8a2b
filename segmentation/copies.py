"""Do kept synthetic images copy a *test* image? The audit may not look there; evaluation must.

The pixel detector of the audit is applied with its frozen thresholds. A hard copy of a test image means that the split
leaks: then the scores of an arm that learned from synthetic images are no test scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.datasets.alignment import aligned_ncc
from pipelines.datasets.descriptors import describe
from pipelines.datasets.neighbors import copy_decision, hard_copies, nearest_by_group
from pipelines.runtime.artifacts import load_array, read_csv, read_json, read_manifest
from pipelines.runtime.errors import ArtifactError


@dataclass(frozen=True)
class Thresholds:
    """tau: aligned correlation above which a neighbor is nearer than real images of other patients are; ratio: nearest
    over second nearest group, as distances; hard_ncc: aligned correlation that is a copy by itself.
    """

    tau: float
    ratio: float
    hard_ncc: float


@dataclass(frozen=True)
class Copies:
    """flagged, hard: numbers among `samples` kept images; cases: (sample, test case) of the hard ones."""

    samples: int
    flagged: int
    hard: int
    cases: tuple[tuple[str, str], ...]


def frozen_thresholds(audit: Path) -> Thresholds:
    """The pixel detector that data/audit published; ArtifactError where it published none."""
    detector = read_json(audit / "metrics.json").get("detector", {})
    settings = read_manifest(audit).facts.get("params", {}).get("audit", {})
    try:
        return Thresholds(float(detector["tau"]["pixels"]), float(detector["ratio"]), float(settings["hard_ncc"]))
    except (KeyError, TypeError):
        raise ArtifactError(
            f"{audit / 'metrics.json'}: expected detector.tau.pixels, detector.ratio, and audit.hard_ncc in its "
            "manifest, found none; run the audit again"
        ) from None


def count_copies(
    samples: np.ndarray,
    names: Sequence[str],
    test: np.ndarray,
    cases: Sequence[str],
    groups: Sequence[str],
    thresholds: Thresholds,
) -> Copies:
    """samples: (M, H, W), test: (R, H, W) uint8; names, cases, groups: of the samples, of the test images."""
    if not len(samples) or not len(test):
        return Copies(len(samples), 0, 0, ())
    similarity = aligned_ncc(samples, test, size=min(128, *samples.shape[1:]))
    ours, theirs = describe(samples), describe(test)
    hard = hard_copies(similarity, ours, theirs, thresholds.hard_ncc)
    nearest = nearest_by_group(similarity, groups)
    flagged = copy_decision(nearest, tau=thresholds.tau, ratio=thresholds.ratio, hard=hard)
    found = [int(row) for row in np.flatnonzero(hard.any(axis=1))]
    pairs = tuple((names[row], cases[int(hard[row].argmax())]) for row in found)
    return Copies(len(samples), int(flagged.sum()), len(found), pairs)


def copies_of_test(
    synthetic: Path, audit: Path, test: np.ndarray, cases: Sequence[str], groups: Sequence[str]
) -> Copies:
    """The same from the folders of the stages: samples that the audit kept, under its thresholds."""
    kept = read_csv(audit / "kept.csv")
    images = load_array(synthetic / "images.npy")
    samples = np.asarray(images[[int(row["row"]) for row in kept]])
    return count_copies(samples, [row["sample"] for row in kept], test, cases, groups, frozen_thresholds(audit))
