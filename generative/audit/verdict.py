"""pass, inconclusive or fail: what the evidence allows to say, and why.

The audit shows the absence of detected copies under stated transforms. It is no differential-privacy guarantee.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from generative.audit.memorization import Excess, binomial_upper
from pipelines.params.audit import AuditParams

NEGATIVES = 500  # real pairs without a copy that a proof of the false-alarm rate needs
FALSE_ALARMS = 0.01  # share of them that may be flagged: observed, and as the upper 95% bound
PLANTED = 300  # copies per transform: none missed of 300 bounds the recall at 99.0%
LEVEL = 0.025  # one-sided, shared by the metrics
DROPPED = 0.20  # share of dropped samples above which the generator is called overfit


@dataclass(frozen=True)
class Planted:
    """Altered train images put among the samples: how many of `count` were flagged, and the share that must be."""

    found: int
    count: int
    required: float


@dataclass(frozen=True)
class Evidence:
    """excess: per metric, of the kept samples over real images; excess_smooth: over real images as smooth as them.

    hard_kept: samples of the kept list that are hard copies.
    dropped of total samples; false_alarms of negatives; planted: per transform.
    """

    excess: Mapping[str, Excess]
    excess_smooth: Mapping[str, Excess]
    hard_kept: Sequence[str]
    dropped: int
    total: int
    false_alarms: int
    negatives: int
    planted: Mapping[str, Planted]


@dataclass(frozen=True)
class Verdict:
    """verdict: pass | inconclusive | fail. reasons: why it is not `pass`. warnings: findings beside it."""

    verdict: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def judge(evidence: Evidence, params: AuditParams) -> Verdict:
    """The rule. Fail: a hard copy is kept, or the lower bound of an excess is above max_excess; nothing else fails.

    An excess counts for `fail` where an exact test agrees (in a small run the bound alone may be noise), and where it
    also holds over real images as smooth as the samples: blurred images are near to everything without being copies of
    anything. Inconclusive: such a blurred excess, an interval wider than max_width, or a detector that is not proven on
    this data.
    """
    warnings = []
    if evidence.dropped > DROPPED * evidence.total:
        warnings.append(
            f"{evidence.dropped} of {evidence.total} samples were dropped (over {DROPPED:.0%}): the generator is "
            "overfit; use a smaller network, fewer steps or more images"
        )
    failed = [
        f"hard copies in the kept list: {', '.join(sorted(evidence.hard_kept)[:10])} ({len(evidence.hard_kept)} in all)"
    ] * bool(evidence.hard_kept)
    beyond = {name: found for name, found in evidence.excess.items() if _shown(found, len(evidence.excess), params)}
    failed += [
        f"{_spelled(name, found)}; the lower bound may be at most {params.max_excess:+.1%}"
        for name, found in sorted(beyond.items(), key=lambda item: -item[1].low)
        if _shown(evidence.excess_smooth[name], len(evidence.excess), params)
    ]
    if failed:
        return Verdict("fail", tuple(failed), tuple(warnings))
    blurred = [
        f"{_spelled(name, found)}, but not more than of real images made as smooth as the samples: "
        "they are too blurred to tell"
        for name, found in beyond.items()
    ]
    chance = [
        f"{_spelled(name, found)}, but with so few images that may be chance (probability {found.chance:.2g})"
        for name, found in evidence.excess.items()
        if found.low > params.max_excess and name not in beyond
    ]
    open_ends = [*blurred, *chance, *_undecided(evidence, params), *_unproven(evidence)]
    return Verdict("inconclusive" if open_ends else "pass", tuple(open_ends), tuple(warnings))


def _shown(found: Excess, metrics: int, params: AuditParams) -> bool:
    return found.low > params.max_excess and found.chance <= LEVEL / metrics


def _spelled(name: str, found: Excess) -> str:
    return (
        f"{name}: {found.value:+.1%} more samples than real images lie near a train image (95% bounds {found.low:+.1%} "
        f"to {found.high:+.1%})"
    )


def _undecided(evidence: Evidence, params: AuditParams) -> list[str]:
    if not evidence.excess:
        return ["no sample was kept, so there is no excess to measure"]
    name, found = max(evidence.excess.items(), key=lambda item: item[1].high - item[1].low)
    width = found.high - found.low
    if width <= params.max_width:
        return []
    return [
        f"{name}: the interval of the excess is {width:.1%} wide, {params.max_width:.1%} can decide; more real and "
        "synthetic images narrow it"
    ]


def _unproven(evidence: Evidence) -> list[str]:
    reasons = []
    alarms, negatives = evidence.false_alarms, evidence.negatives
    if negatives < NEGATIVES:
        reasons.append(f"false alarms: {negatives} real images to test the detector on, expected at least {NEGATIVES}")
    if alarms > FALSE_ALARMS * negatives or (
        negatives >= NEGATIVES and binomial_upper(alarms, negatives) > FALSE_ALARMS
    ):
        reasons.append(
            f"false alarms: {alarms} of {negatives} real images were flagged (upper bound "
            f"{binomial_upper(alarms, negatives):.1%}), expected at most {FALSE_ALARMS:.0%}"
        )
    short = [name for name, planted in evidence.planted.items() if planted.count < PLANTED]
    missed = [
        f"{name} {planted.found}/{planted.count}"
        for name, planted in evidence.planted.items()
        if planted.found < planted.required * planted.count
    ]
    if not evidence.planted:
        reasons.append("planted copies: none were tried on this data")
    elif short:
        count = min(planted.count for planted in evidence.planted.values())
        reasons.append(f"planted copies: {count} per transform, expected at least {PLANTED}")
    if missed:
        reasons.append(f"planted copies: too few were found ({', '.join(missed)})")
    return reasons
