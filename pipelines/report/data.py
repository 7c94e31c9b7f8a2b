"""The page's section on data: how it was divided, what leaks, what was left out, which other sets joined."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pipelines.datasets.case import PARTS, Finding
from pipelines.report.gather import Gathered
from pipelines.report.table import ArmRow

MEANING = {
    "clean": "clean: whole groups (patient, lesion, video, near-duplicates) by a hash",
    "official": "official: the parts that the owner publishes, the rest by a hash; whole groups",
    "literature": "literature: the published lists, which divide by image; they leak, and the leaks are counted",
}
NO_LESION = "no lesion"


def section(found: Gathered, rows: list[ArmRow]) -> dict[str, Any]:
    """Everything that the template's section on data and its notes on leaks show."""
    return {
        "protocol": protocol(found),
        "parts": parts(found),
        "classes": list(found.leakage["parts"]["test"]["classes"]),
        "sizes": found.leakage["area_strata"],
        "leaks": leaks(found),
        "leak_note": leak_note(found),
        "part_note": part_note(found),
        "warnings": found.leakage["warnings"],
        "sites": sites(found),
        "site_scores": site_scores(rows),
        "excluded": excluded(found),
        "pool": found.pool["sources"] if found.pool else [],
        "pool_warnings": found.pool["warnings"] if found.pool else [],
        "pool_note": pool_note(found),
        "integrity": integrity(found),
    }


def protocol(found: Gathered) -> list[tuple[str, str]]:
    """What a score of this run is a score of (datasets.md 6.4)."""
    report, size = found.leakage, found.training.shape[1:]
    test = report["parts"]["test"]
    free = test["sizes"][NO_LESION]
    reduced = any(finding["check"] == "reduced copy" for finding in found.integrity["findings"])
    lines = [("protocol", MEANING[report["protocol"]]), ("seed of the split", str(report["seed"]))]
    if "literature" in report:
        facts = report["literature"]
        lines += [("lists", f"{facts['source']}, seed {facts['seed']}; {facts['note']}")]
        lines += [("sha256 of the scored list", facts["test"]["sha256"])]
    return [
        *lines,
        ("test images", f"{test['images']} in {test['groups']} groups"),
        ("images without a lesion", f"{free} in test, counted for false positives alone" if free else "none in test"),
        ("several masks of one image", "merged, those of one class to one mask"),
        ("size of the scores", f"{size[1]} x {size[0]} pixels; native too{', of a reduced copy' if reduced else ''}"),
        ("averages", "over images, each image the same weight"),
        ("names of patients or lesions", _identity(report["images_with_identity"], report["images"])),
    ]


def _identity(named: int, images: int) -> str:
    if not named:
        return "not published: patient identity unknown, groups are near-duplicates only"
    if named == images:
        return "published"
    return f"published for {named} of {images} images; the others are grouped by near-duplicates only"


def parts(found: Gathered) -> list[dict[str, Any]]:
    """One line per part: images, their share and the expected one, groups, classes, lesion sizes, median area."""
    return [{"part": part, **found.leakage["parts"][part]} for part in PARTS]


def leaks(found: Gathered) -> list[tuple[str, str]]:
    """Counts of test images and groups that train or val knows, and of groups that were joined or moved."""
    report, test = found.leakage, found.leakage["test"]
    images = f"of {test['test_images']}"
    moved = ("groups that lie elsewhere than a member would alone", str(len(report["moved_by_joining"])))
    return [
        (
            "test images with a near-duplicate or an image of the same patient in train or val",
            f"{test['leaked_images']} {images} ({test['leaked_share']:.1%})",
        ),
        # by cluster: duplicates.csv does not list every link of a large one
        (
            "of these, in one cluster of near-duplicates with images of train or val",
            f"{test['in_a_cluster_of_near_duplicates']} {images}",
        ),
        ("groups of such test images", f"{test['leaked_groups']} of {test['test_groups']}"),
        ("groups that lie in more than one part", str(report["groups_that_cross_parts"])),
        ("groups of several patients, lesions or images, joined by near-duplicates", str(len(report["merged_groups"]))),
        *([] if "literature" in report else [moved]),
        ("groups with duplicates of unequal class", str(len(report["class_conflicts"]))),
        ("of these, with images in test", str(test["class_conflicts_in_test"])),
    ]


def leak_note(found: Gathered) -> str:
    """The sentence beside the scores where test images are known to train; "" otherwise."""
    test, report = found.leakage["test"], found.leakage
    if not test["leaked_images"]:
        return ""
    free = report["parts"]["test"]["sizes"][NO_LESION]
    return (
        f"Protocol {report['protocol']}: {test['leaked_images']} of {test['test_images']} test images "
        f"({test['leaked_share']:.1%}, {test['leaked_groups']} groups) have a near-duplicate or an image of the same "
        f"patient in train or val; {free or 'no'} images without a lesion among them all. Each Dice stands with that "
        "of the other test images. Quote it only beside the score of a run under split.protocol: clean."
    )


def part_note(found: Gathered) -> str:
    """What the table of parts may say of groups."""
    crossing = found.leakage["groups_that_cross_parts"]
    if not crossing:
        return "no group of images (patient, lesion, near-duplicate) lies in two parts"
    return f"the lists put images of {crossing} groups (patient, lesion, near-duplicate) into two parts"


def sites(found: Gathered) -> list[dict[str, Any]]:
    """Images of each site by part; [] where there is one site or none is named."""
    table = found.leakage["sites"]
    return [{"site": site or "not named", **counts} for site, counts in table.items()] if len(table) > 1 else []


def site_scores(rows: list[ArmRow]) -> list[dict[str, Any]]:
    """Dice of each arm at each site of the test images."""
    return [
        {
            **vars(score),
            "arm": row.arm,
            "mode": row.mode,
            "foreground": row.foreground,
            "site": score.site or "not named",
        }
        for row in rows
        for score in row.sites
    ]


def excluded(found: Gathered) -> list[dict[str, str]]:
    """Cases that the integrity check left out, with the reason."""
    return [
        {key: str(entry[key]) for key in ("case", "check", "expected", "found")}
        for entry in found.integrity["excluded"]
    ]


def pool_note(found: Gathered) -> str:
    """What the images that joined are for."""
    return (
        "joined: they train the generator; unlabeled: of these, what also stands in the segmenter's unlabeled stream "
        f"(arms with real unlabeled images) at label fraction {found.selection.label_fraction:g}, the others "
        "duplicating labeled images; left out: duplicates of val or test images, images of an external site, each with "
        "all of their group, and duplicates of several train groups or of one with images in val or test too"
    )


def integrity(found: Gathered) -> dict[str, Any]:
    """Findings by severity and check, with the first of each."""
    groups: dict[tuple[str, str], list[str]] = {}
    for finding in found.integrity["findings"]:
        groups.setdefault((finding["severity"], finding["check"]), []).append(message(finding))
    counts = {key: int(found.integrity[key]) for key in ("errors", "warnings", "flags")}
    pairs = ", ".join(f"{count} {kind}" for kind, count in found.duplicates.items()) or "none"
    sentence = f"{counts['errors']} errors, {counts['warnings']} warnings, {counts['flags']} flags. "
    return {
        "sentence": sentence + f"Pairs of duplicate images: {pairs}; such images lie in one group.",
        "groups": [
            {"severity": severity, "check": check, "count": len(messages), "first": messages[0]}
            for (severity, check), messages in groups.items()
        ],
    }


def message(finding: dict[str, str]) -> str:
    """One line: where, expected, found, what to do."""
    return Finding(**{field.name: finding[field.name] for field in fields(Finding)}).message
