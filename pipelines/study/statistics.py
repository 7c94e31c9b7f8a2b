"""Numbers of a study's rows: means with intervals, paired differences, and tests corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.runtime.bootstrap import group_interval
from pipelines.runtime.randomness import numpy_generator_for


@dataclass(frozen=True)
class Score:
    """mean over images of the mean over seeds, sd of the seeds' means (None: one seed), 95% interval, counts."""

    mean: float
    sd: float | None
    low: float
    high: float
    images: int
    groups: int


@dataclass(frozen=True)
class Gain:
    """A paired difference, first minus second: mean, 95% interval, images, groups, seeds.

    p: of Wilcoxon's test; None where none was asked for. It speaks of these trained networks on other patients, not of
    another training: what seeds differ by is no part of it.
    """

    mean: float
    low: float
    high: float
    images: int
    groups: int
    seeds: int
    p: float | None


def score(values: np.ndarray, groups: Sequence[str], draws: int, stream: str) -> Score:
    """values: (images, seeds), finite. The interval is over groups and seeds (pipelines/runtime/bootstrap.py)."""
    interval = group_interval(values, groups, draws, numpy_generator_for(0, f"study/{stream}"))
    sd = float(values.mean(axis=0).std(ddof=1)) if values.shape[1] > 1 else None
    return Score(interval.mean, sd, interval.low, interval.high, len(values), len(set(groups)))


def gain(
    first: np.ndarray, second: np.ndarray, groups: Sequence[str], draws: int, stream: str, *, test: bool = True
) -> Gain:
    """Paired by image and seed: both (images, seeds), finite; the interval is over groups and seeds. test: give p."""
    difference = first - second
    interval = group_interval(difference, groups, draws, numpy_generator_for(0, f"study/{stream}"))
    p = wilcoxon_over_groups(difference.mean(axis=1), groups) if test else None
    found = (len(difference), len(set(groups)), difference.shape[1])
    return Gain(interval.mean, interval.low, interval.high, *found, p)


def wilcoxon_over_groups(differences: np.ndarray, groups: Sequence[str]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test (1945) over the groups' mean differences; 1 where all are zero.

    Images of a group (patient) say nearly the same; tested one by one they would make p too small.
    """
    from scipy.stats import wilcoxon

    which = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    means = np.bincount(which, weights=differences) / np.bincount(which)
    return float(wilcoxon(means).pvalue) if np.any(means != 0.0) else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the order given (Holm, Scand. J. Statist. 6, 1979)."""
    adjusted = [0.0] * len(values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted
