"""Ways to divide a set: clean (whole groups by hash), official (the owner's parts), literature (published lists)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.datasets.case import PARTS
from pipelines.runtime.errors import DataError
from pipelines.splitting import literature
from pipelines.splitting.groups import Group, Rows
from pipelines.splitting.parts import CONFLICT, EXTERNAL, LISTED, SITE, Draw, Placed, Rule, place, too_few

NEEDED = {"train": 2, "val": 1, "test": 1}  # groups: one to label and one that stays unlabeled; one to score


@dataclass(frozen=True)
class Division:
    """parts: of each row of cases.csv. placed: group name -> part and reason; of a group that a list cuts, the part of
    its members outside the list's test part. warnings: groups that did not get the part that their members ask for.
    facts: for leakage.json.
    """

    parts: tuple[str, ...]
    placed: Mapping[str, Placed]
    rule: Rule
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def divide(
    protocol: str, cases: Rows, groups: Sequence[Group], draw: Draw, dataset: Mapping[str, Any], list_seed: int
) -> Division:
    """The division of a protocol. dataset: the content of dataset.json; list_seed: of the literature's lists.

    DataError: the protocol does not fit the set, or a part is left with too few groups.
    """
    protocols: dict[str, Callable[[], Division]] = {
        "clean": lambda: by_group(cases, groups, draw, Rule()),
        "official": lambda: by_group(cases, groups, draw, official_rule(cases)),
        "literature": lambda: by_list(cases, groups, draw, dataset, list_seed),
    }
    return protocols[protocol]()


def official_rule(cases: Rows) -> Rule:
    """Keep the owner's parts; val is taken from train where the owner names no val. DataError without any part."""
    given = {case["official_part"] for case in cases} - {"", EXTERNAL}
    if not given:
        raise DataError(
            "split.protocol official: expected train, val or test of the owner for some case, found none; set "
            "split.protocol: clean"
        )
    return Rule(official=True, carve="train" in given and "val" not in given)


def by_group(cases: Rows, groups: Sequence[Group], draw: Draw, rule: Rule) -> Division:
    """Whole groups, each from its own members alone."""
    placed = {group.name: place(group, draw, rule) for group in groups}
    counts = Counter(item.part for item in placed.values())
    if any(counts[part] < NEEDED[part] for part in PARTS):
        raise DataError(too_few(groups, counts, NEEDED, draw, rule))
    parts = [""] * len(cases)
    for group in groups:
        for row in group.rows:
            parts[row] = placed[group.name].part
    warnings = [line for group in groups for line in overruled(cases, group, placed[group.name], rule)]
    return Division(tuple(parts), placed, rule, tuple(warnings))


def overruled(cases: Rows, group: Group, placed: Placed, rule: Rule) -> list[str]:
    """What a person must know: members that are not where their site or their owner would have them."""

    def names(*official: str) -> str:
        return ", ".join(
            sorted(cases[row]["case"] for unit in group.units for row in unit.rows if unit.official in official)
        )

    lines = []
    if placed.reason == CONFLICT and EXTERNAL in group.official:
        lines.append(f"group {group.name} has contradicting classes: {names(EXTERNAL)} of another site lie in train")
    if placed.reason == SITE and group.official != {EXTERNAL}:
        lines.append(f"group {group.name} holds images of another site: {names('', *PARTS)} lie in test with them")
    own = tuple(sorted(group.official - {"", EXTERNAL, "train"}))
    if placed.reason == CONFLICT and rule.official and own:
        lines.append(
            f"group {group.name} has contradicting classes: {names(*own)} of the owner's {own[0]} lie in train"
        )
    return lines


def by_list(cases: Rows, groups: Sequence[Group], draw: Draw, dataset: Mapping[str, Any], list_seed: int) -> Division:
    """Exactly the published lists: test is the scored one; train and val together are the training one.

    val is carved from the training list by the hash of the groups, so that it holds no near-duplicate of train.
    """
    names = [case["case"] for case in cases]
    literature.check_names(names, dataset)
    trained, scored = literature.published_lists(list_seed)
    test = set(scored)
    placed = {group.name: Placed("train" if group.conflict else draw.carved(group.key), LISTED) for group in groups}
    parts = [""] * len(cases)
    for group in groups:
        for row in group.rows:
            parts[row] = "test" if names[row] in test else placed[group.name].part
    inside = Counter(part for group in groups for part in {parts[row] for row in group.rows})
    if any(inside[part] < NEEDED[part] for part in PARTS):
        counts = ", ".join(f"{part} {inside[part]} (needed {NEEDED[part]})" for part in PARTS)
        raise DataError(f"split: the lists give {counts} groups; raise split.shares.val or split.shares.train")
    facts = {
        "source": literature.SOURCE,
        "seed": list_seed,
        "train_and_val": {"images": len(trained), "sha256": literature.list_digest(trained)},
        "test": {"images": len(scored), "sha256": literature.list_digest(scored)},
        "note": "train and val together are the published training list; sha256 is of the sorted names, one to a line",
    }
    return Division(tuple(parts), placed, Rule(carve=True), (), {"literature": facts})
