"""Which images of other datasets may join the training images: none whose duplicate group knows a val or test image.

A group is a connected component over {same published patient, lesion or video of one source; near-duplicates, also
between sources}. All of it goes or stays: if one image of a patient is also a test image, so is that patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
class Decision:
    """groups: row -> group of each image that joins, ascending; excluded: the others. Together they are all rows."""

    groups: dict[int, str]
    excluded: list[Excluded]


def qualified(source: str, name: str) -> str:
    """A case or an identity of one source, named apart from those of every other one; "" stays "" (none published)."""
    return f"{source}/{name}" if name else ""


def decide_pool(
    names: Sequence[str],
    identities: Sequence[str],
    within: Sequence[Link],
    across: Sequence[Link],
    main: Sequence[Member],
) -> Decision:
    """Sort the images of all sources into those that join and those that are left out.

    names, identities: qualified, one per image of the pool. within: pairs of these; across: (image of the pool, image
    of the main dataset). A group that duplicates images of one train group takes that group's name, so that it is
    labeled or unlabeled with it; one that duplicates several train groups is left out, since it cannot be both.
    """
    first: dict[str, int] = {}
    edges = [(link.a, link.b) for link in within]
    edges += [(first.setdefault(identity, row), row) for row, identity in enumerate(identities) if identity]
    links: dict[int, list[Link]] = {}
    for link in across:
        links.setdefault(link.a, []).append(link)
    components: dict[int, list[int]] = {}
    for row, root in enumerate(connected_groups(len(names), edges)):
        components.setdefault(root, []).append(row)
    groups: dict[int, str] = {}
    excluded: list[Excluded] = []
    for rows in components.values():
        found = [link for row in rows for link in links.get(row, [])]
        train = sorted({main[link.b].group for link in found if main[link.b].part not in HELD_OUT})
        if reasons := _copies(rows, links, main):
            excluded += _with_their_group(rows, reasons, names)
        elif len(train) > 1:
            excluded += [Excluded(row, "duplicates of several train groups", ", ".join(train)) for row in rows]
        else:
            own = min(identities[row] or names[row] for row in rows)
            groups |= dict.fromkeys(rows, train[0] if train else own)
    return Decision(dict(sorted(groups.items())), sorted(excluded, key=lambda item: item.row))


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


def _with_their_group(rows: Sequence[int], copies: Mapping[int, Excluded], names: Sequence[str]) -> list[Excluded]:
    copy = names[min(copies)]
    return [copies.get(row) or Excluded(row, "of one group with such a duplicate", copy) for row in rows]
