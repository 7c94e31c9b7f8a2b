"""Rows of cases.csv and duplicates.csv as `split` reads them, by hand and by hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from pipelines.splitting.groups import Group, find_groups
from pipelines.splitting.parts import Draw
from pipelines.splitting.protocols import Division, divide

Rows = list[dict[str, str]]
SHARES = {"train": 0.63, "val": 0.07, "test": 0.30}
EVEN = {"train": 0.4, "val": 0.3, "test": 0.3}  # a set of few groups leaves no part empty so often
CLASSES = ("benign", "malignant", "normal")


def case(
    name: str, identity: str = "", class_name: str = "benign", official: str = "", area: float = 0.05, site: str = ""
) -> dict[str, str]:
    row = {"case": name, "identity": identity, "class": class_name, "official_part": official}
    return row | {"area": str(area), "site": site}


def pair(a: str, b: str) -> dict[str, str]:
    return {"a": a, "b": b, "kind": "near"}


def draw(seed: int = 0, shares: dict[str, float] | None = None) -> Draw:
    return Draw(seed, "toy", shares or SHARES)


def dataset(name: str = "toy", adapter: str = "folder") -> dict[str, str]:
    return {"name": name, "adapter": adapter}


def divided(
    cases: Rows, pairs: Rows, with_draw: Draw, protocol: str = "clean", **more: str
) -> tuple[list[Group], Division]:
    groups = find_groups(cases, pairs)
    return groups, divide(protocol, cases, groups, with_draw, dataset(**more), 41)


def parts_of(cases: Rows, pairs: Rows, with_draw: Draw, protocol: str = "clean") -> dict[str, str]:
    """Case -> part."""
    division = divided(cases, pairs, with_draw, protocol)[1]
    return {row["case"]: part for row, part in zip(cases, division.parts, strict=True)}


@st.composite
def sets(
    draw_one: st.DrawFn, external: bool = True, owner: bool = False, smallest: int = 12, largest: int = 40
) -> tuple[Rows, Rows]:
    """Cases with and without a published identity, contradicting classes, other sites; duplicates across all of them.

    Names and identities are shuffled numbers, so that a case that comes later may have the smaller name. owner: most
    groups have a part of the owner's, one to a group, which not all members name.
    """
    count = draw_one(st.integers(smallest, largest))
    numbers = draw_one(st.permutations(range(count)))
    cases = [
        case(
            f"c{number:02d}",
            draw_one(st.sampled_from(["", "", *(f"p{patient}" for patient in range(count))])),
            draw_one(st.sampled_from(CLASSES)),
            draw_one(st.sampled_from(["", "", "", "external"])) if external else "",
            draw_one(st.sampled_from([0.0, 0.01, 0.03, 0.1, 0.2])),
        )
        for number in numbers
    ]
    links = draw_one(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=6))
    pairs = [pair(cases[a]["case"], cases[b]["case"]) for a, b in links if a != b]
    for group in find_groups(cases, pairs) if owner else []:
        part = draw_one(st.sampled_from(["", "train", "train", "val", "test"]))
        for row in group.rows:
            cases[row]["official_part"] = cases[row]["official_part"] or draw_one(st.sampled_from(["", part, part]))
    return cases, pairs
