"""Groups: connected components over {same published patient, lesion or video; same duplicate cluster}."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.datasets.duplicates import conflict_rows, connected_groups

Rows = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Unit:
    """The members of a group that have one published identity and one part of the owner's; rows: of cases.csv.

    conflict: two of the rows are duplicates of unequal class, without any image of another unit between them.
    """

    identity: str
    official: str
    rows: tuple[int, ...]
    conflict: bool = False


@dataclass(frozen=True)
class Group:
    """key: smallest identity among the members (a case's name where none is published); the hash is taken of it.

    name: the key, told apart where a case without an identity is called like another group's patient. rows: of
    cases.csv. classes: distinct, sorted. units: the members, sorted by identity and the owner's part. conflict: two of
    the members are duplicates of unequal class (a patient may have lesions of two classes: that is none).
    """

    name: str
    key: str
    rows: tuple[int, ...]
    classes: tuple[str, ...]
    units: tuple[Unit, ...]
    conflict: bool = False

    @property
    def identities(self) -> tuple[str, ...]:
        """Distinct, sorted."""
        return tuple(sorted({unit.identity for unit in self.units}))

    @property
    def official(self) -> frozenset[str]:
        """Parts that the owner gives to members, "" where to one of them none."""
        return frozenset(unit.official for unit in self.units)


def find_groups(cases: Rows, duplicates: Rows) -> list[Group]:
    """All groups, sorted by name. cases: rows of cases.csv; duplicates: rows of duplicates.csv."""
    first: dict[str, int] = {}
    edges = duplicate_edges(cases, duplicates)
    for row, case in enumerate(cases):
        if case["identity"]:
            edges.append((first.setdefault(case["identity"], row), row))
    members: dict[int, list[int]] = {}
    for row, root in enumerate(connected_groups(len(cases), edges)):
        members.setdefault(root, []).append(row)
    classes = [case["class"] for case in cases]
    contradicted = conflict_rows(classes, duplicate_clusters(cases, duplicates))
    inside = [(a, b) for a, b in duplicate_edges(cases, duplicates) if _unit_key(cases[a]) == _unit_key(cases[b])]
    alone = conflict_rows(classes, connected_groups(len(cases), inside))
    return _with_names([_group(cases, rows, contradicted, alone) for rows in members.values()], cases)


def duplicate_edges(cases: Rows, duplicates: Rows) -> list[tuple[int, int]]:
    """Rows of duplicates.csv as pairs of rows of cases.csv."""
    place = {case["case"]: row for row, case in enumerate(cases)}
    return [(place[pair["a"]], place[pair["b"]]) for pair in duplicates]


def duplicate_clusters(cases: Rows, duplicates: Rows) -> list[int]:
    """Row -> cluster of near-duplicates alone, published identities left aside."""
    return list(connected_groups(len(cases), duplicate_edges(cases, duplicates)))


def restrict(group: Group, rows: set[int]) -> Group | None:
    """The group with these rows alone, under its own name and key; None without one."""
    units = (replace(unit, rows=tuple(row for row in unit.rows if row in rows)) for unit in group.units)
    kept = tuple(unit for unit in units if unit.rows)
    if not kept:
        return None
    return replace(group, rows=tuple(row for row in group.rows if row in rows), units=kept)


def _unit_key(case: Mapping[str, str]) -> tuple[str, str]:
    return case["identity"] or case["case"], case["official_part"]


def _group(cases: Rows, rows: Sequence[int], contradicted: set[int], alone: set[int]) -> Group:
    """contradicted, alone: rows with a duplicate of unequal class in the group, and in their own unit."""
    units: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        units.setdefault(_unit_key(cases[row]), []).append(row)
    key = min(identity for identity, _ in units)
    classes = tuple(sorted({cases[row]["class"] for row in rows}))
    members = tuple(Unit(*name, tuple(own), not alone.isdisjoint(own)) for name, own in sorted(units.items()))
    return Group(key, key, tuple(sorted(rows)), classes, members, conflict=not contradicted.isdisjoint(rows))


def _with_names(groups: Sequence[Group], cases: Rows) -> list[Group]:
    """Two groups have one key where a case without identity is called like a published identity. Only its name gives
    way: the hash of either stays what it would be without the other.
    """
    taken = {group.key for group in groups}
    shared = {key for key, number in Counter(group.key for group in groups).items() if number > 1}
    named = []
    for group in sorted(groups, key=lambda item: item.key):
        name = group.key
        if name in shared and all(cases[row]["identity"] != name for row in group.rows):
            while name in taken:
                name += " (image)"
            taken.add(name)
        named.append(replace(group, name=name))
    return sorted(named, key=lambda item: item.name)
