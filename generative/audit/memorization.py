"""Did the generator copy its training images? Nearest neighbors against what real images of other patients show.

The reference are real images: each train image compared with the train images of all *other* groups, and each val
image with all of train. Without groups the threshold would be meaningless: duplicates push it to 1, and every copy
passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.datasets.neighbors import Nearest, copy_decision, distance_ratio, nearest_by_group

CHUNK = 500  # bootstrap draws held at once


def same_group(query: Sequence[str] | np.ndarray, reference: Sequence[str] | np.ndarray) -> np.ndarray:
    """(Q, R) bool: pairs of one group, which are not compared."""
    return np.asarray(query)[:, None] == np.asarray(reference)[None, :]


def threshold(reference: np.ndarray, quantile: float) -> float:
    """tau: the smallest reference similarity that at least `quantile` of the reference (N,) does not exceed."""
    return float(np.quantile(reference, quantile, method="inverted_cdf"))


@dataclass(frozen=True)
class Detector:
    """The frozen rule: flagged = (similarity above tau and distance ratio below `ratio`, on one metric) or hard."""

    tau: Mapping[str, float]
    ratio: float
    groups: np.ndarray  # of the train images that are compared with, (R,)


@dataclass(frozen=True)
class Decision:
    """Of Q images: flagged (Q,) bool; per metric the nearest train image, its similarity and the distance ratio.

    metric: the one that decided: "hard" before all, else the flagging metric (else the one nearest to flagging) with
    the largest similarity above its tau.
    """

    flagged: np.ndarray
    hard: np.ndarray
    metric: np.ndarray
    nearest: Mapping[str, Nearest]
    ratio: Mapping[str, np.ndarray]
    row: np.ndarray  # the train row shown as nearest: by the deciding metric


def decide(similarity: Mapping[str, np.ndarray], hard: np.ndarray, detector: Detector) -> Decision:
    """Apply the detector to (Q, R) similarities per metric and (Q, R) hard copies."""
    any_hard = np.asarray(hard.any(axis=1))
    nearest = {name: nearest_by_group(table, detector.groups.tolist()) for name, table in similarity.items()}
    ratio = {name: distance_ratio(found) for name, found in nearest.items()}
    soft = {
        name: copy_decision(found, tau=detector.tau[name], ratio=detector.ratio, hard=np.zeros_like(any_hard))
        for name, found in nearest.items()
    }
    names = list(nearest)
    margin = np.stack([nearest[name].similarity - detector.tau[name] + 10.0 * soft[name] for name in names])
    best = margin.argmax(axis=0)
    rows = np.stack([nearest[name].row for name in names])[best, np.arange(len(best))]
    return Decision(
        flagged=np.logical_or.reduce([any_hard, *soft.values()]),
        hard=any_hard,
        metric=np.where(any_hard, "hard", np.array(names)[best]),
        nearest=nearest,
        ratio=ratio,
        row=np.where(any_hard, np.where(hard, similarity["pixels"], -2.0).argmax(axis=1), rows),
    )


@dataclass(frozen=True)
class Excess:
    """value = share(samples above tau) - share(reference above tau), signed, with simultaneous bounds.

    chance: probability of at least so many samples above tau if samples and reference were of one distribution.
    """

    value: float
    low: float
    high: float
    share_samples: float
    share_reference: float
    chance: float


def excess(
    samples: np.ndarray,
    reference: np.ndarray,
    reference_groups: Sequence[str] | np.ndarray,
    *,
    quantile: float,
    level: float,
    draws: int,
    rng: np.random.Generator,
) -> Excess:
    """Excess of nearest-neighbor similarities samples (S,) over reference (N,), tau estimated again in each draw.

    The bootstrap draws reference images by group and each sample as a group of its own. `level` is the two-sided
    coverage of this one interval: 1 - .05 / m where m metrics are to hold together.
    """
    tau = threshold(reference, quantile)
    share_samples, share_reference = float((samples > tau).mean()), float((reference > tau).mean())
    drawn = np.concatenate(
        [
            _resampled_excess(samples, reference, reference_groups, quantile, min(CHUNK, draws - start), rng)
            for start in range(0, draws, CHUNK)
        ]
    )
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    labels = np.asarray(reference_groups)
    groups, groups_above = len(np.unique(labels)), len(np.unique(labels[reference > tau]))
    return Excess(
        value=share_samples - share_reference,
        low=float(low),
        high=float(high),
        share_samples=share_samples,
        share_reference=share_reference,
        chance=rank_chance(int((samples > tau).sum()), len(samples), groups_above, groups),
    )


def rank_chance(above: int, count: int, reference_above: int, reference_count: int) -> float:
    """P(at least `above` of `count` values exceed a threshold that is itself a value of the reference), exactly.

    The threshold is the (reference_above + 1)-th largest of reference_count values. If all values are exchangeable the
    number above it is beta-binomial, whatever their distribution (Wilks 1942: non-parametric tolerance limits). With
    few values a bootstrap of an extreme quantile is too sure of it; this is not.
    """
    from scipy.special import betaln, gammaln

    a, b = reference_above + 1, reference_count - reference_above
    k = np.arange(above, count + 1)
    choose = gammaln(count + 1) - gammaln(k + 1) - gammaln(count - k + 1)
    return float(min(1.0, np.exp(choose + betaln(k + a, count - k + b) - betaln(a, b)).sum()))


def _resampled_excess(
    samples: np.ndarray,
    reference: np.ndarray,
    reference_groups: Sequence[str] | np.ndarray,
    quantile: float,
    draws: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """(draws,) excess; both sides sorted once, so that shares are looked up in cumulated multiplicities."""
    labels = np.unique(np.asarray(reference_groups), return_inverse=True)[1]
    count = labels.max() + 1
    times = rng.multinomial(count, np.full(count, 1.0 / count), size=draws)  # how often each group was drawn
    order = np.argsort(reference, kind="stable")
    values = reference[order]
    mass = np.cumsum(times[:, labels[order]], axis=1)  # (draws, N)
    total = mass[:, -1]
    place = (mass >= quantile * total[:, None] - 1e-9).argmax(axis=1)
    tau = values[place]
    last = np.searchsorted(values, tau, side="right") - 1
    above_reference = 1.0 - mass[np.arange(draws), last] / total

    ordered = np.sort(samples)
    each = rng.multinomial(len(samples), np.full(len(samples), 1.0 / len(samples)), size=draws)
    below = np.concatenate([np.zeros((draws, 1), int), np.cumsum(each, axis=1)], axis=1)
    above_samples = 1.0 - below[np.arange(draws), np.searchsorted(ordered, tau, side="right")] / len(samples)
    return above_samples - above_reference


def binomial_upper(found: int, count: int, level: float = 0.95) -> float:
    """One-sided upper Clopper-Pearson bound of a share: `found` of `count`; 1 without a trial."""
    from scipy.special import betaincinv

    return 1.0 if found >= count else float(betaincinv(found + 1, count - found, level))


def binomial_lower(found: int, count: int, level: float = 0.95) -> float:
    """One-sided lower Clopper-Pearson bound of a share; 0 where nothing was found."""
    from scipy.special import betaincinv

    return 0.0 if found == 0 else float(betaincinv(found, count - found + 1, 1.0 - level))
