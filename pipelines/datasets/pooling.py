"""Which images of other datasets may join the training images: none whose duplicate group knows a val or test image.

A group is a connected component over {same published patient, lesion or video of one source; near-duplicates, also
between sources}. All of it goes or stays: if one image of a patient is also a test image, so is that patient.
Images of an external site, which are never trained on in the main dataset, are not trained on from here either.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.datasets.duplicates import connected_groups

HELD_OUT = ("test", "val")


class Link(Protocol):
    """Two rows that are duplicates, as `find_pairs` and `find_pairs_between` give them."""

    @property
    def a(self) -> int: ...

    @property
    def b(self) -> int: ...

    @property
    def kind(self) -> str: ...


@dataclass(frozen=True)
class Member:
    """One image of the main dataset: its name, its part and its group in data/split."""

    case: str
    part: str
    group: str


@dataclass(frozen=True)
class Excluded:
    """A row of the pool that is left out. other: the image or the groups that are the reason."""

    row: int
    reason: str
    other: str


@dataclass(frozen=True)
class Bridge:
    """A row of the pool that duplicates images of a train group and a val or test image of another group.

    The two are then likely duplicates of each other that the rule, pair by pair, did not join.
    """

    row: int
    group: str
    held_out: str


@dataclass(frozen=True)
class Decision:
    """groups: row -> group of each image that joins, ascending; excluded: the others. Together they are all rows.

    bridges: by row, all of them excluded rows.
    """

    groups: dict[int, str]
    excluded: list[Excluded]
    bridges: list[Bridge]


def qualified(source: str, name: str) -> str:
    """A case or an identity of one source, named apart from those of every other one; "" stays "" (none published)."""
    return f"{source}/{name}" if name else ""


def decide_pool(
    names: Sequence[str],
    identities: Sequence[str],
    within: Sequence[Link],
    across: Sequence[Link],
    main: Sequence[Member],
    external: Collection[int] = (),
) -> Decision:
    """Sort the images of all sources into those that join and those that are left out.

    names, identities: qualified, one per image of the pool. within: pairs of these; across: (image of the pool, image
    of the main dataset). external: rows of images of an external site. A group that duplicates images of one train
    group takes that group's name, so that it is labeled or unlabeled with it; one that duplicates several train groups
    is left out, since it cannot be both, and so is one whose train group has images in val or test, too.
    """
    links: dict[int, list[Link]] = {}
    for link in across:
        links.setdefault(link.a, []).append(link)
    held = {member.group for member in main if member.part in HELD_OUT}
    groups: dict[int, str] = {}
    excluded: list[Excluded] = []
    alone: list[list[int]] = []
    for rows in _components(len(names), identities, within):
        found = [main[link.b] for row in rows for link in links.get(row, [])]
        train = sorted({member.group for member in found if member.part not in HELD_OUT})
        if reasons := _copies(rows, links, main):
            excluded += _with_their_group(rows, reasons, "of one group with such a duplicate", names)
        elif reasons := {row: Excluded(row, "image of an external site", "") for row in rows if row in external}:
            excluded += _with_their_group(rows, reasons, "of one group with an image of an external site", names)
        elif crossing := [group for group in train if group in held]:
            excluded += [
                Excluded(row, "of a group with images in val or test too", ", ".join(crossing)) for row in rows
            ]
        elif len(train) > 1:
            excluded += [Excluded(row, "duplicates of several train groups", ", ".join(train)) for row in rows]
        elif train:
            groups |= dict.fromkeys(rows, train[0])
        else:
            alone.append(rows)
    for rows, name in zip(alone, _own_names(alone, names, identities, {item.group for item in main}), strict=True):
        groups |= dict.fromkeys(rows, name)
    return Decision(
        dict(sorted(groups.items())), sorted(excluded, key=lambda item: item.row), find_bridges(links, main)
    )


def find_bridges(links: Mapping[int, Sequence[Link]], main: Sequence[Member]) -> list[Bridge]:
    """All of them, sorted. Two images of one group, which published lists may part, are no news."""
    found = set()
    for row, own in links.items():
        members = [main[link.b] for link in own]
        groups = {member.group for member in members if member.part not in HELD_OUT}
        held_out = [member for member in members if member.part in HELD_OUT]
        found |= {(row, group, member.case) for group in groups for member in held_out if member.group != group}
    return [Bridge(*item) for item in sorted(found)]


def _components(count: int, identities: Sequence[str], within: Sequence[Link]) -> list[list[int]]:
    first: dict[str, int] = {}
    edges = [(link.a, link.b) for link in within]
    edges += [(first.setdefault(identity, row), row) for row, identity in enumerate(identities) if identity]
    components: dict[int, list[int]] = {}
    for row, root in enumerate(connected_groups(count, edges)):
        components.setdefault(root, []).append(row)
    return list(components.values())


def _own_names(
    components: Sequence[Sequence[int]], names: Sequence[str], identities: Sequence[str], taken: Collection[str]
) -> list[str]:
    """A name for each group, of its smallest patient or image: no two are alike, and none is in `taken`.

    A case without a patient may be called like a patient of another group, so the kind is part of the name.
    """
    kinds = [
        f"patient {identity}" if identity else f"image {name}" for name, identity in zip(names, identities, strict=True)
    ]
    keys = [min(kinds[row] for row in rows) for rows in components]
    known = {*taken, *keys}
    own = []
    for key in keys:
        name = key
        if name in taken:
            while name in known:
                name += " (pool)"
        known.add(name)
        own.append(name)
    return own


def _copies(rows: Sequence[int], links: Mapping[int, Sequence[Link]], main: Sequence[Member]) -> dict[int, Excluded]:
    """Row -> why, for the rows that are themselves duplicates of a test image, else of a val image."""
    found = {}
    for row in rows:
        held_out = sorted(
            (HELD_OUT.index(main[link.b].part), main[link.b].case, link.kind)
            for link in links.get(row, [])
            if main[link.b].part in HELD_OUT
        )
        if held_out:
            part, case, kind = held_out[0]
            found[row] = Excluded(row, f"duplicate of a {HELD_OUT[part]} image ({kind})", case)
    return found


def _with_their_group(
    rows: Sequence[int], reasons: Mapping[int, Excluded], others: str, names: Sequence[str]
) -> list[Excluded]:
    """These rows with their own reasons, and the other rows of the group with `others`."""
    first = names[min(reasons)]
    return [reasons.get(row) or Excluded(row, others, first) for row in rows]
