"""leakage.json: what each part holds, what was merged or moved, and which test images have a relative in train.

A relative is a near-duplicate or an image of the same published patient, lesion or video, directly or over others: a
member of the same group. Under `clean` and `official` there is none by construction; under `literature` it is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.datasets.case import PARTS
from pipelines.splitting.groups import Group, Rows, duplicate_clusters, duplicate_edges
from pipelines.splitting.parts import HASH, LISTED, Draw, alone
from pipelines.splitting.protocols import Division
from pipelines.splitting.ranks import SIZES, size_of

SHARE_TOLERANCE, AREA_TOLERANCE = 0.04, 0.25


def leaked_rows(groups: Sequence[Group], parts: Sequence[str]) -> set[int]:
    """Test rows whose group has a member in train or in val: what is trained on, and what choices are made on."""
    return {
        row
        for group in groups
        if any(parts[other] != "test" for other in group.rows)
        for row in group.rows
        if parts[row] == "test"
    }


def describe_leaks(cases: Rows, duplicates: Rows, groups: Sequence[Group], parts: Sequence[str]) -> dict[str, Any]:
    """Counts of test images and groups with a relative in train or val, by what makes it one, and their names."""
    leaked = leaked_rows(groups, parts)
    test = [row for row in range(len(cases)) if parts[row] == "test"]
    linked: set[int] = set()
    for a, b in duplicate_edges(cases, duplicates):
        for row, other in ((a, b), (b, a)):
            if parts[row] == "test" and parts[other] != "test":
                linked.add(row)
    cluster = duplicate_clusters(cases, duplicates)
    outside = {cluster[row] for row in range(len(cases)) if parts[row] != "test"}
    crossing = [group for group in groups if leaked & set(group.rows)]
    learned = [group for group in crossing if any(parts[row] == "train" for row in group.rows)]
    return {
        "test_images": len(test),
        "leaked_images": len(leaked),
        "leaked_share": len(leaked) / len(test) if test else 0.0,
        "test_groups": sum(any(parts[row] == "test" for row in group.rows) for group in groups),
        "leaked_groups": len(crossing),
        "with_a_near_duplicate": len(linked),
        "in_a_cluster_of_near_duplicates": sum(cluster[row] in outside for row in test),
        "with_a_relative_in_train": sum(row in leaked for group in learned for row in group.rows),
        "class_conflicts_in_test": sum(
            any(parts[row] == "test" for row in group.rows) for group in groups if group.conflict
        ),
        "cases": sorted(cases[row]["case"] for row in leaked),
    }


def describe_parts(
    cases: Rows, groups: Sequence[Group], division: Division, draw: Draw
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """(facts of each part, warnings with numbers).

    Shares, classes and areas are checked over the groups that the hash placed: 4 points of the images, 2 binomial sd of
    the whole in a class's share, 25% of the median lesion area. What the owner, a site or a list placed is as it is.
    """
    classes = sorted({case["class"] for case in cases})
    hashed = {row for group in groups if division.placed[group.name].reason == HASH for row in group.rows}
    facts: dict[str, dict[str, Any]] = {}
    warnings: list[str] = []
    for part in PARTS:
        rows = [row for row in range(len(cases)) if division.parts[row] == part]
        counts = Counter(cases[row]["class"] for row in rows)
        sizes = Counter(size_of(float(cases[row]["area"])) for row in rows)
        inside = [group for group in groups if any(division.parts[row] == part for row in group.rows)]
        expected = (draw.shares[part] * len(hashed) + sum(row not in hashed for row in rows)) / len(cases)
        share = len(rows) / len(cases)
        facts[part] = {
            "images": len(rows),
            "groups": len(inside),
            "nominal_share": draw.shares[part],
            "expected_share": expected,
            "share_images": share,
            "share_groups": len(inside) / len(groups),
            "classes": {name: counts[name] for name in classes},
            "sizes": {name: sizes[name] for name in SIZES},
            "median_area": median_area(cases, rows),
        }
        if abs(share - expected) > SHARE_TOLERANCE:
            warnings.append(f"{part} holds {share:.1%} of the images; expected {expected:.1%}")
        warnings += [f"{part} holds no image of class {name}" for name in classes if not counts[name]]
        warnings += _unlike(cases, part, [row for row in rows if row in hashed], sorted(hashed), inside)
    return facts, warnings


def _unlike(cases: Rows, part: str, rows: Sequence[int], whole: Sequence[int], inside: Sequence[Group]) -> list[str]:
    """Where the hashed images of a part differ from all hashed images by more than chance should."""
    if not rows:
        return []
    lines = []
    own = set(rows)
    groups = sum(bool(own & set(group.rows)) for group in inside)
    for name in sorted({cases[row]["class"] for row in rows}):
        p = sum(cases[row]["class"] == name for row in whole) / len(whole)
        found = sum(cases[row]["class"] == name for row in rows) / len(rows)
        limit = 2 * float(np.sqrt(p * (1 - p) / groups))
        if abs(found - p) > limit:
            lines.append(
                f"{part} is {found:.1%} {name}; the whole set {p:.1%}, and {limit:.1%} is 2 sd of {groups} groups"
            )
    area, usual = median_area(cases, rows), median_area(cases, whole)
    if area and usual and abs(area / usual - 1) > AREA_TOLERANCE:
        lines.append(f"{part} has a median lesion area of {area:.4f}; the whole set {usual:.4f}")
    return lines


def moved_by_joining(cases: Rows, groups: Sequence[Group], division: Division, draw: Draw) -> list[dict[str, Any]]:
    """Groups that lie elsewhere than one of their units would alone, from the data at hand and nothing else.

    A case that is added can only move a group that it joins. That group is then in this list, as one of its identities
    had another part before, or, where the case contradicts an image of its own patient, among the class conflicts.
    """
    listed = []
    for group in groups:
        placed = division.placed[group.name]
        if placed.reason == LISTED:
            continue
        units = [
            {
                "identity": unit.identity,
                "official_part": unit.official,
                "part_alone": alone(unit, draw, division.rule),
                "cases": sorted(cases[row]["case"] for row in unit.rows),
            }
            for unit in group.units
        ]
        if any(unit["part_alone"] != placed.part for unit in units):
            listed.append({"group": group.name, "part": placed.part, "reason": placed.reason, "identities": units})
    return listed


def median_area(cases: Rows, rows: Sequence[int]) -> float | None:
    """Of the lesions, as a share of the native image; None without one."""
    areas = [float(cases[row]["area"]) for row in rows if float(cases[row]["area"]) > 0]
    return round(float(np.median(areas)), 6) if areas else None


def describe_split(
    protocol: str, cases: Rows, duplicates: Rows, groups: Sequence[Group], division: Division, draw: Draw
) -> dict[str, Any]:
    """The content of leakage.json."""
    parts, warnings = describe_parts(cases, groups, division, draw)
    leaks = describe_leaks(cases, duplicates, groups, division.parts)
    if leaks["leaked_images"]:
        warnings.append(
            f"{leaks['leaked_images']} of {leaks['test_images']} test images ({leaks['leaked_share']:.1%}) have a "
            f"near-duplicate or an image of the same patient in train or val, in {leaks['leaked_groups']} groups"
        )
    if leaks["class_conflicts_in_test"]:
        warnings.append(f"{leaks['class_conflicts_in_test']} groups of contradicting classes have images in test")
    reasons: Mapping[str, int] = Counter(division.placed[group.name].reason for group in groups)
    return {
        "protocol": protocol,
        "seed": draw.seed,
        "dataset": draw.dataset,
        "carved": division.rule.carve,  # val was taken from the train part of the owner, or of the lists
        "images": len(cases),
        # Names of images stand in for patients where nothing is published: say so, it weakens what a split can promise.
        "images_with_identity": sum(bool(case["identity"]) for case in cases),
        "groups": len(groups),
        "placed_by": dict(sorted(reasons.items())),
        "groups_that_cross_parts": sum(len({division.parts[row] for row in group.rows}) > 1 for group in groups),
        "test": leaks,
        "parts": parts,
        "area_strata": list(SIZES),  # in their order, which the keys of `sizes` lose
        "merged_groups": {group.name: list(group.identities) for group in groups if len(group.identities) > 1},
        "moved_by_joining": moved_by_joining(cases, groups, division, draw),
        "class_conflicts": {
            group.name: sorted(cases[row]["case"] for row in group.rows) for group in groups if group.conflict
        },
        "sites": site_counts(cases, division.parts),
        **division.facts,
        "warnings": [*division.warnings, *warnings],
    }


def site_counts(cases: Rows, parts: Sequence[str]) -> dict[str, dict[str, int]]:
    """site -> part -> images; "" where none is named."""
    return {
        site: {
            part: sum(parts[row] == part and cases[row]["site"] == site for row in range(len(cases))) for part in PARTS
        }
        for site in sorted({case["site"] for case in cases})
    }
