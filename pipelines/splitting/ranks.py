"""The nested order of the train groups' labels, stratified by class and lesion size."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from pipelines.splitting.groups import Group, Rows
from pipelines.splitting.parts import Draw, unit_hash

# Lesion area as a share of the image: quartiles of the 647 BUSI images with a lesion [measured BUSI quartiles].
# Constants on purpose: edges taken from the data at hand would move cases when others are added.
AREA_EDGES = (0.022, 0.058, 0.131)
SIZES = ("no lesion", "below 0.022", "0.022 to 0.058", "0.058 to 0.131", "0.131 and above")


def size_of(area: float) -> str:
    """The stratum of one lesion area (share of the native image), one of SIZES."""
    return SIZES[1 + bisect_right(AREA_EDGES, area)] if area > 0 else SIZES[0]


def group_size(cases: Rows, group: Group) -> str:
    """The stratum of a group: of the median area of its images with a lesion."""
    areas = [float(cases[row]["area"]) for row in group.rows if float(cases[row]["area"]) > 0]
    return size_of(float(np.median(areas)) if areas else 0.0)


def label_ranks(cases: Rows, train: Sequence[Group], draw: Draw) -> dict[str, int]:
    """Group name -> rank: each prefix lies inside every longer one.

    Within a class the sizes are merged in proportion, their groups in the order of a hash; then the classes are merged
    in proportion. So each prefix holds the classes as the whole does, to one group, and the sizes of a class nearly so.
    Groups with several classes are a class of their own.
    """

    def chance(group: Group) -> float:
        return unit_hash(draw.seed, draw.dataset, "label", group.key)

    by_class: dict[str, list[Group]] = {}
    for group in train:
        by_class.setdefault("+".join(group.classes), []).append(group)
    ordered = {
        name: in_proportion(members, lambda g: group_size(cases, g), chance) for name, members in by_class.items()
    }
    place = {group.name: number for members in ordered.values() for number, group in enumerate(members)}
    merged = in_proportion(train, lambda g: "+".join(g.classes), lambda g: float(place[g.name]))
    return {group.name: rank for rank, group in enumerate(merged)}


def in_proportion(
    groups: Sequence[Group], stratum: Callable[[Group], str], order: Callable[[Group], float]
) -> list[Group]:
    """Groups such that each prefix holds the strata (counted in images) in the proportion of the whole, to one group.

    Inside a stratum they go by `order`; two strata that are equally due go by `order`, then by name.
    """
    strata: dict[str, list[Group]] = {}
    for group in groups:
        strata.setdefault(stratum(group), []).append(group)
    keyed = []
    for name, members in strata.items():
        total, before = sum(len(group.rows) for group in members), 0
        for group in sorted(members, key=lambda item: (order(item), item.name)):
            due = (before + len(group.rows) / 2) / total
            keyed.append((due, order(group), name, group.name, group))
            before += len(group.rows)
    return [group for *_, group in sorted(keyed, key=lambda item: item[:4])]
