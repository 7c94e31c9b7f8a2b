"""What pairs of duplicates say about a set: flags of the cases, and findings about their classes and masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipelines.datasets.case import Finding
from pipelines.datasets.collect import Row
from pipelines.datasets.duplicates import Pair, conflict_rows, connected_groups

CHAIN = 6  # a duplicate cluster above this size may be a chain of mere resemblances


def flag_pairs(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Row]:
    """Mark duplicates, and clusters of duplicates with more than one class.

    A patient may well have images of two classes (a lesion and the healthy side): that contradicts nothing.
    """
    clusters = connected_groups(len(rows), ((pair.a, pair.b) for pair in pairs))
    contradicted = conflict_rows([row.case.class_name for row in rows], clusters)
    doubled = {index for pair in pairs for index in (pair.a, pair.b)}
    flagged = []
    for index, row in enumerate(rows):
        flags = ["duplicate"] if index in doubled else []
        flags += ["class_conflict"] if index in contradicted else []
        flagged.append(replace(row, case=replace(row.case, flags=(*row.case.flags, *flags))))
    return flagged


def check_pairs(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Finding]:
    """One image in two classes, equal images with unequal masks, clusters of duplicates, and chains of them."""
    findings: list[Finding] = []
    for pair in pairs:
        a, b = rows[pair.a], rows[pair.b]
        names = f"{a.case.image.name} and {b.case.image.name}"
        if a.case.class_name != b.case.class_name:
            found = f"{a.case.class_name} and {b.case.class_name} ({_likeness(a, b, pair)})"
            remedy = "kept, in train alone; correct one"
            findings.append(Finding("class conflict", a.case.case, names, "one class", found, remedy))
    first: dict[str, Row] = {}
    for row in rows:
        a = first.setdefault(row.pixels, row)
        if a.label != row.label:
            found = f"lesions of {100 * (a.area or 0):.2f} and {100 * (row.area or 0):.2f} %"
            names, remedy = f"{a.case.image.name} and {row.case.image.name}", "both are kept, in one part; correct one"
            findings.append(
                Finding("different masks", row.case.case, names, "equal masks, as the pixels are", found, remedy)
            )
    clusters = Counter(connected_groups(len(rows), ((pair.a, pair.b) for pair in pairs)))
    members = [size for size in clusters.values() if size > 1]
    if members:
        found = f"{sum(members)} in {len(members)} clusters of near-duplicates"
        findings.append(Finding("duplicates", "", "", "images of their own", found, "each cluster stays in one part"))
    for smallest, size in clusters.items():
        if size > CHAIN:
            expected, remedy = f"clusters of at most {CHAIN} images", "it may be a chain of resemblances; look at it"
            case = rows[smallest].case
            findings.append(Finding("duplicate chain", case.case, case.image.name, expected, str(size), remedy))
    return findings


def _likeness(a: Row, b: Row, pair: Pair) -> str:
    if a.file == b.file:
        return "byte-identical files"
    return "the same pixels" if a.pixels == b.pixels else f"{pair.kind}, aligned NCC {pair.aligned_ncc:.3f}"
