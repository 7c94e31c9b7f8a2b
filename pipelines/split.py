"""Stage `split`: whole groups to train, val and test, and a nested rank of the train groups' labels.

A group is a connected component over {same published patient, lesion or video; near-duplicates}. Its part comes from a
hash of (seed, dataset, smallest identity among its members): neither the order of files nor any other group matters, so
adding a case can move only the group that it joins.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.datasets.case import PARTS
from pipelines.datasets.duplicates import connected_groups
from pipelines.runtime.artifacts import read_csv, read_json, write_csv, write_json
from pipelines.runtime.errors import DataError
from pipelines.runtime.stage import Run, Stage, run_stage

NEEDED = {"train": 2, "val": 1, "test": 1}  # groups: one to label and one that stays unlabeled; one to score
SHARE_TOLERANCE, AREA_TOLERANCE = 0.04, 0.25


@dataclass(frozen=True)
class Group:
    """name: smallest identity among the members (the case's name where none is published). rows: of cases.csv."""

    name: str
    rows: tuple[int, ...]
    identities: tuple[str, ...]
    classes: tuple[str, ...]
    official: tuple[str, ...]


def run(run: Run) -> None:
    """The stage's body."""
    folder = run.inputs["prepared"]
    cases, duplicates = read_csv(folder / "cases.csv"), read_csv(folder / "duplicates.csv")
    dataset = read_json(folder / "dataset.json")["name"]
    settings = run.params.split
    shares = {part: getattr(settings.shares, part) for part in PARTS}
    groups = find_groups(cases, duplicates)
    parts = assign_parts(groups, settings.seed, dataset, shares, official=settings.protocol == "official")
    ranks = label_ranks([group for group in groups if parts[group.name] == "train"], settings.seed, dataset)
    report = describe_split(cases, groups, parts, settings.seed, shares)
    for line in report["warnings"]:
        run.log(f"warning: {line}")
    for part in PARTS:
        facts = report["parts"][part]
        run.log(f"{part:5} {facts['images']:5} images ({facts['share_images']:.1%}) in {facts['groups']} groups")
    absent = [name for name, images in report["parts"]["train"]["classes"].items() if not images]
    if absent:
        raise DataError(f"split: train holds 0 images of {', '.join(absent)}, needed 1; add patients of that class")
    owner = {row: group for group in groups for row in group.rows}
    rows = [
        {"case": case["case"], "part": parts[owner[row].name], "group": owner[row].name}
        for row, case in enumerate(cases)
    ]
    write_csv(run.out / "split.csv", rows, ("case", "part", "group"))
    labels = [{"case": row["case"], "label_rank": ranks[row["group"]]} for row in rows if row["part"] == "train"]
    write_csv(run.out / "labels.csv", labels, ("case", "label_rank"))
    write_json(run.out / "leakage.json", report)


def find_groups(cases: Sequence[Mapping[str, str]], duplicates: Sequence[Mapping[str, str]]) -> list[Group]:
    """Connected components, sorted by name; cases: rows of cases.csv, duplicates: rows of duplicates.csv."""
    place = {case["case"]: row for row, case in enumerate(cases)}
    first: dict[str, int] = {}
    edges = [(place[pair["a"]], place[pair["b"]]) for pair in duplicates]
    for row, case in enumerate(cases):
        if case["identity"]:
            edges.append((first.setdefault(case["identity"], row), row))
    members: dict[int, list[int]] = {}
    for row, root in enumerate(connected_groups(len(cases), edges)):
        members.setdefault(root, []).append(row)
    groups = []
    for rows in members.values():
        identities = sorted({cases[row]["identity"] or cases[row]["case"] for row in rows})
        classes = sorted({cases[row]["class"] for row in rows})
        official = sorted({cases[row]["official_part"] for row in rows})
        groups.append(Group(identities[0], tuple(rows), tuple(identities), tuple(classes), tuple(official)))
    return sorted(groups, key=lambda group: group.name)


def unit_hash(*parts: object) -> float:
    """A number in [0, 1) from sha256 of the parts."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign_parts(
    groups: Sequence[Group], seed: int, dataset: str, shares: Mapping[str, float], *, official: bool
) -> dict[str, str]:
    """Group name -> part. A group with more than one class is always in train; `official` keeps the owner's parts.

    DataError: a group lies in two official parts; a part is left with too few groups.
    """
    parts = {}
    for group in groups:
        own = set(group.official) - {""}
        if official and len(set(group.official)) > 1 and own:
            found = ", ".join(part or "none" for part in group.official)
            raise DataError(
                f"group {group.name}: expected one of the owner's parts, found {found}; set split.protocol: clean to "
                "split by group"
            )
        if official and own <= set(PARTS) and own:
            parts[group.name] = group.official[0]
        else:
            parts[group.name] = part_of(group, seed, dataset, shares)
    counts = Counter(parts.values())
    if any(counts[part] < NEEDED[part] for part in PARTS):
        raise DataError(_too_few(groups, counts, dataset, shares, official=official))
    return parts


def part_of(group: Group, seed: int, dataset: str, shares: Mapping[str, float]) -> str:
    """The part of one group, from its own hash alone."""
    if len(group.classes) > 1:
        return "train"
    u = unit_hash(seed, dataset, group.name)
    if u < shares["train"]:
        return "train"
    return "val" if u < shares["train"] + shares["val"] else "test"


def _too_few(
    groups: Sequence[Group], found: Mapping[str, int], dataset: str, shares: Mapping[str, float], *, official: bool
) -> str:
    counts = ", ".join(f"{part} {found.get(part, 0)} (needed {NEEDED[part]})" for part in PARTS)
    text = f"split: {len(groups)} groups give {counts} groups; "
    if official or len(groups) < sum(NEEDED.values()):
        return text + "add patients, or give the identities if cases of several patients were merged"
    for seed in range(1000):
        parts = Counter(part_of(group, seed, dataset, shares) for group in groups)
        if all(parts[part] >= NEEDED[part] for part in PARTS):
            return text + f"add patients, widen split.shares, or set split.seed: {seed} before any training"
    return text + "add patients or widen split.shares"


def label_ranks(train: Sequence[Group], seed: int, dataset: str) -> dict[str, int]:
    """Group name -> rank. Within a class groups are ordered by hash, then the classes are merged in proportion.

    So each prefix holds the classes in the proportion of the whole, to one group, and lies inside each longer one.
    Groups with several classes are a class of their own.
    """
    by_class: dict[str, list[Group]] = {}
    for group in train:
        by_class.setdefault("+".join(group.classes), []).append(group)
    keyed: list[tuple[float, str, str]] = []
    for name, members in by_class.items():
        total, before = sum(len(group.rows) for group in members), 0
        for group in sorted(members, key=lambda item: (unit_hash(seed, dataset, "label", item.name), item.name)):
            keyed.append(((before + len(group.rows) / 2) / total, name, group.name))
            before += len(group.rows)
    return {name: rank for rank, (_, _, name) in enumerate(sorted(keyed))}


def describe_split(
    cases: Sequence[Mapping[str, str]],
    groups: Sequence[Group],
    parts: Mapping[str, str],
    seed: int,
    shares: Mapping[str, float],
) -> dict[str, Any]:
    """leakage.json: realized shares and classes per part, groups that were merged or forced, warnings with numbers."""
    whole = [row for group in groups for row in group.rows]
    classes = sorted({case["class"] for case in cases})
    # Names of folders stand in for patients where nothing is published: say so, it weakens what a split can promise.
    report: dict[str, Any] = {
        "seed": seed,
        "groups_that_cross_parts": 0,
        "identity_published": any(case["identity"] for case in cases),
        "merged_groups": {group.name: list(group.identities) for group in groups if len(group.identities) > 1},
        "class_conflicts": {
            group.name: sorted(cases[row]["case"] for row in group.rows) for group in groups if len(group.classes) > 1
        },
        "parts": {},
    }
    warnings: list[str] = []
    overall_area = _median_area(cases, whole)
    for part in PARTS:
        inside = [group for group in groups if parts[group.name] == part]
        rows = [row for group in inside for row in group.rows]
        counts = Counter(cases[row]["class"] for row in rows)
        area = _median_area(cases, rows)
        report["parts"][part] = {
            "images": len(rows),
            "groups": len(inside),
            "nominal_share": shares[part],
            "share_images": len(rows) / len(whole),
            "share_groups": len(inside) / len(groups),
            "classes": {name: counts[name] for name in classes},
            "median_area": area,
        }
        share = len(rows) / len(whole)
        if abs(share - shares[part]) > SHARE_TOLERANCE:
            warnings.append(f"{part} holds {share:.1%} of the images; nominal {shares[part]:.0%}")
        for name in classes:
            p = sum(case["class"] == name for case in cases) / len(cases)
            limit = 2 * float(np.sqrt(p * (1 - p) / max(len(inside), 1)))
            if not counts[name]:
                warnings.append(f"{part} holds no image of class {name}")
            elif abs(counts[name] / len(rows) - p) > limit:
                warnings.append(f"{part} is {counts[name] / len(rows):.1%} {name}; the whole set {p:.1%}")
        if area and overall_area and abs(area / overall_area - 1) > AREA_TOLERANCE:
            warnings.append(f"{part} has a median lesion area of {area:.4f}; the whole set {overall_area:.4f}")
    report["warnings"] = warnings
    return report


def _median_area(cases: Sequence[Mapping[str, str]], rows: Sequence[int]) -> float | None:
    areas = [float(cases[row]["area"]) for row in rows if float(cases[row]["area"]) > 0]
    return round(float(np.median(areas)), 6) if areas else None


STAGE = Stage(
    name="split",
    module="pipelines.split",
    run=run,
    output="data/split",
    inputs={"prepared": "data/prepared"},
    params={"split": "split"},
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
