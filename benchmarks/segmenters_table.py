"""Rows, ratios and targets of the benchmark of segmenters, and their Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.costs import Spread, ratios, spread

ARRAYS, READY, BATCH, PREDICTION = (
    "training step, from arrays",
    "training step, batch ready",
    "batch alone",
    "prediction",
)
REFERENCE, BASELINE, PRODUCT = "unet, resnet34", "unet", "crossdiff"  # names of systems
DATA_RATIO = 1.15  # so much longer may a training step take for its data
PREDICTION_RATIO = 2.5  # of the product's prediction, one sample, over that of the ResNet-34 U-Net
RATE = 8.0  # images/s of the baseline on two CPU cores
TARGET_SIZE = 256  # px


@dataclass(frozen=True)
class Row:
    """One kind of work: ARRAYS, READY, BATCH or PREDICTION. images: per call, each counted once. flops: of a call.

    parameters: of the layers that run. detail: of a prediction that samples; seeds: so many samples, 0 for a prediction
    that has none. memory: MiB at most, None where it is not counted. bf16: under autocast. seconds: of a call, one per
    turn.
    """

    system: str
    work: str
    images: int
    flops: int = 0
    parameters: int = 0
    detail: str = ""
    seeds: int = 0
    memory: float | None = None
    bf16: bool = False
    seconds: Sequence[float] = ()

    @property
    def name(self) -> str:
        """What was done, for eyes."""
        batch = f"batch {self.images}" if self.work == PREDICTION else ""
        return ", ".join(part for part in (self.work, self.detail, batch, "bf16" if self.bf16 else "") if part)

    @property
    def milliseconds(self) -> Spread:
        """Per image."""
        return spread([1000.0 * value / self.images for value in self.seconds])

    @property
    def rates(self) -> Spread:
        """Images per second."""
        return spread([self.images / value for value in self.seconds])

    def utilization(self, peak: float | None) -> float | None:
        """Model FLOP utilization: achieved FLOP/s, by the median of the seconds, over the card's in bf16; None where
        that is unknown or the work is not in bf16.
        """
        return None if peak is None or not self.bf16 else self.flops / spread(self.seconds).median / peak


@dataclass(frozen=True)
class Target:
    """A number that is asked for. limit: None where it is only shown; at_most: False where it is the least."""

    name: str
    found: Spread
    limit: float | None = None
    at_most: bool = True

    @property
    def verdict(self) -> str:
        """By the median."""
        if self.limit is None:
            return "shown for comparison"
        met = self.found.median <= self.limit if self.at_most else self.found.median >= self.limit
        return f"{'at most' if self.at_most else 'at least'} {self.limit:g}: {'met' if met else 'missed'}"


def targets(rows: Sequence[Row], *, size: int, two_cores: bool) -> list[Target]:
    """What the rows say of each target. Limits are for 256 px; that of images/s is for two CPU cores as well."""
    judged = size == TARGET_SIZE
    ready = {row.system: row for row in rows if row.work == READY}
    predictions = [row for row in rows if row.work == PREDICTION]
    found = []
    for row in (row for row in rows if row.work == ARRAYS):
        ratio = spread(ratios(row.seconds, ready[row.system].seconds))
        found.append(Target(f"{row.system}: {ARRAYS} / {READY}", ratio, DATA_RATIO if judged else None))
    for row in (row for row in predictions if row.system == BASELINE):
        rate = RATE if judged and two_cores else None
        found.append(Target(f"{row.system}: {row.name}, images/s", row.rates, rate, at_most=False))
    for row in (row for row in predictions if row.system not in (REFERENCE, BASELINE)):
        for other in (r for r in predictions if r.system in (REFERENCE, BASELINE) and r.images == row.images):
            wanted = judged and (row.system, other.system, row.seeds) == (PRODUCT, REFERENCE, 1)
            ratio = spread(ratios(row.seconds, other.seconds))
            found.append(
                Target(f"{row.system} / {other.system}: {row.name}", ratio, PREDICTION_RATIO if wanted else None)
            )
    return found


def markdown(rows: Sequence[Row], wanted: Sequence[Target], facts: Mapping[str, Any], peak: float | None) -> str:
    """The whole report; peak: dense bf16 FLOP/s of the device, None where unknown."""
    lines = [*(f"- {name}: {value}" for name, value in facts.items()), ""]
    lines += _table(
        ("system", "work", "ms/image", "images/s", "GFLOP/image", "parameters", "peak memory", "of bf16 peak"),
        [
            (
                row.system,
                row.name,
                _shown(row.milliseconds, ".1f"),
                f"{row.rates.median:.2f}",
                f"{row.flops / row.images / 1e9:.2f}" if row.flops else "",
                f"{row.parameters / 1e6:.2f} M" if row.parameters else "",
                "n/a" if row.memory is None else f"{row.memory:.0f} MiB",
                "n/a" if (share := row.utilization(peak)) is None else f"{100 * share:.1f} %",
            )
            for row in rows
        ],
    )
    lines.append("")
    lines += _table(
        ("target", "found", ""), [(target.name, _shown(target.found, ".2f"), target.verdict) for target in wanted]
    )
    return "\n".join(lines)


def _shown(values: Spread, how: str) -> str:
    return f"{values.median:{how}} ({values.low:{how}} to {values.high:{how}})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
