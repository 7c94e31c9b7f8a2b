"""The part of a group: from its own hash, unless the owner, its site or contradicting classes decide.

A hash of (seed, dataset, smallest identity) knows neither the order of files nor any other group, so adding a case can
move only the group that it joins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.datasets.case import PARTS
from pipelines.runtime.errors import DataError
from pipelines.splitting.groups import Group, Unit

EXTERNAL = "external"  # official_part of images of another site
HASH, OWNER, SITE, CONFLICT, LISTED = "hash", "owner", "external", "class conflict", "list"


@dataclass(frozen=True)
class Draw:
    """What a group's hash is compared with. shares: nominal, per part, of sum 1."""

    seed: int
    dataset: str
    shares: Mapping[str, float]

    def part(self, key: str) -> str:
        """train, val or test."""
        u = unit_hash(self.seed, self.dataset, key)
        if u < self.shares["train"]:
            return "train"
        return "val" if u < self.shares["train"] + self.shares["val"] else "test"

    def carved(self, key: str) -> str:
        """train or val, in the proportion of their shares: of a training part that comes without a val part."""
        u = unit_hash(self.seed, self.dataset, key)
        return "train" if u < self.shares["train"] / (self.shares["train"] + self.shares["val"]) else "val"


@dataclass(frozen=True)
class Rule:
    """official: keep the owner's parts. carve: val is taken from the train part of the owner (or of the published
    lists), who names none.
    """

    official: bool = False
    carve: bool = False


@dataclass(frozen=True)
class Placed:
    """reason: one of HASH, OWNER, SITE, CONFLICT, LISTED."""

    part: str
    reason: str


def unit_hash(*parts: object) -> float:
    """A number in [0, 1) from sha256 of the parts."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def place(group: Group, draw: Draw, rule: Rule) -> Placed:
    """The part of one group, from its own members alone.

    In this order: contradicting classes are trained on, another site is tested on, the owner's part is kept under
    `rule.official`, and the rest is hashed. DataError: a group lies in two of the owner's parts.
    """
    owners = group.official - {"", EXTERNAL}
    if unknown := owners - set(PARTS):
        expected = ", ".join((*PARTS, EXTERNAL))
        raise DataError(
            f"group {group.name}: expected official_part {expected} or none, found {', '.join(sorted(unknown))}; "
            "correct the adapter or the lists"
        )
    if rule.official and len(owners) > 1:
        raise DataError(
            f"group {group.name}: expected one of the owner's parts, found {', '.join(sorted(owners))}; set "
            "split.protocol: clean to split by group"
        )
    if group.conflict:
        return Placed("train", CONFLICT)
    if EXTERNAL in group.official:
        return Placed("test", SITE)
    if rule.official and owners:
        part = next(iter(owners))
        return Placed(draw.carved(group.key) if part == "train" and rule.carve else part, OWNER)
    return Placed(draw.part(group.key), HASH)


def alone(unit: Unit, draw: Draw, rule: Rule) -> str:
    """The part that a unit would have as a group of its own."""
    return place(Group(unit.identity, unit.identity, unit.rows, ("",), (unit,), unit.conflict), draw, rule).part


def too_few(
    groups: Sequence[Group], found: Mapping[str, int], needed: Mapping[str, int], draw: Draw, rule: Rule
) -> str:
    """The message for a set that is too small for its shares; names a seed that would do, where there is one."""
    counts = ", ".join(f"{part} {found.get(part, 0)} (needed {needed[part]})" for part in PARTS)
    text = f"split: {len(groups)} groups give {counts} groups; "
    if len(groups) < sum(needed.values()):
        least = sum(needed.values())
        return text + f"it takes {least}: add patients, or give the identities if cases of several patients were merged"
    reasons = [place(group, draw, rule).reason for group in groups]
    if HASH not in reasons:
        return (
            text + f"all are placed by {' or '.join(sorted(set(reasons)))}: add patients, or set split.protocol: clean"
        )
    for seed in range(1000):
        other = Draw(seed, draw.dataset, draw.shares)
        parts = [place(group, other, rule).part for group in groups]
        if all(parts.count(part) >= needed[part] for part in PARTS):
            return text + f"add patients, widen split.shares, or set split.seed: {seed} before any training"
    return text + "add patients or widen split.shares"
