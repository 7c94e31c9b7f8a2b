"""What the inspection page shows: read from data/prepared and, where it was made of just that, data/split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.duplicates import connected_groups
from pipelines.runtime.artifacts import load_array, read_csv, read_json, read_manifest, verify_folder
from pipelines.runtime.errors import ArtifactError, DataError


@dataclass(frozen=True)
class Prepared:
    """Rows of the tables as text; arrays as memory maps; part, group: of each case, "" without a split."""

    dataset: dict[str, Any]
    integrity: dict[str, Any]
    cases: list[dict[str, str]]
    pairs: list[dict[str, str]]
    images: np.ndarray
    labels: np.ndarray
    thumbnails: np.ndarray
    parts: list[str]
    notice: str


@dataclass(frozen=True)
class Group:
    """A cluster of duplicates: rows of its cases, its links (rows of duplicates.csv), the classes in it."""

    rows: tuple[int, ...]
    links: tuple[dict[str, str], ...]
    classes: tuple[str, ...]


def read_prepared(root: Path) -> Prepared:
    """DataError where data/prepared is not there."""
    folder, split = root / "data" / "prepared", root / "data" / "split"
    if not (folder / "cases.csv").is_file():
        raise DataError(f"{folder.relative_to(root)}: nothing to show; expected what `dvc repro prepare` makes")
    cases = read_csv(folder / "cases.csv")
    parts, notice = [""] * len(cases), "No split has been made yet."
    if split.is_dir():
        notice = split_fault(folder, split)
        known = {} if notice else {row["case"]: row["part"] for row in read_csv(split / "split.csv")}
        parts = [known.get(row["case"], "") for row in cases]
    return Prepared(
        read_json(folder / "dataset.json"),
        read_json(folder / "integrity.json"),
        cases,
        read_csv(folder / "duplicates.csv"),
        load_array(folder / "images.npy"),
        load_array(folder / "labels.npy"),
        load_array(folder / "thumbnails.npy"),
        parts,
        notice,
    )


def split_fault(prepared: Path, split: Path) -> str:
    """Why a split is not shown; "" where it was made of data/prepared as it is now (same cases are not enough: other
    duplicates make other groups).
    """
    try:
        made_of = verify_folder(split).facts.get("inputs", {}).get("prepared")
        current = read_manifest(prepared).sha256
    except ArtifactError:
        return "data/split was altered or is incomplete and is not shown; `dvc repro split` renews it."
    if made_of != current:
        return "data/split was made of other prepared data and is not shown; `dvc repro split` renews it."
    return ""


def groups_of(found: Prepared) -> list[Group]:
    """Clusters of duplicates: those of several classes first, then by size, then in the order of the cases."""
    place = {row["case"]: index for index, row in enumerate(found.cases)}
    edges = [(place[pair["a"]], place[pair["b"]]) for pair in found.pairs]
    of = connected_groups(len(found.cases), edges)
    members: dict[int, list[int]] = {}
    links: dict[int, list[dict[str, str]]] = {}
    for (a, b), pair in zip(edges, found.pairs, strict=True):
        members.setdefault(of[a], []).extend((a, b))
        links.setdefault(of[a], []).append(pair)
    groups = []
    for first, rows in members.items():
        unique = tuple(sorted(set(rows)))
        classes = tuple(sorted({found.cases[row]["class"] for row in unique}))
        groups.append(Group(unique, tuple(links[first]), classes))
    return sorted(groups, key=lambda group: (-len(group.classes), -len(group.rows), group.rows))


def counts_of(found: Prepared) -> tuple[list[str], list[tuple[str, str, list[int]]]]:
    """Parts, and per site and class the number of images in each part and in all."""
    parts = [name for name in ("train", "val", "test") if name in found.parts] + ["all"]
    table = Counter((row["site"], row["class"], part) for row, part in zip(found.cases, found.parts, strict=True))
    lines = []
    for site, name in sorted({(site, name) for site, name, _ in table}):
        numbers = [table[site, name, part] for part in parts[:-1]]
        lines.append((site, name, [*numbers, sum(table[site, name, part] for part in {*found.parts})]))
    return parts, lines


def rows_by_check(found: Prepared) -> list[tuple[str, str, list[dict[str, str]]]]:
    """Findings by (severity, check), in the order of integrity.json."""
    parts: dict[tuple[str, str], list[dict[str, str]]] = {}
    for finding in found.integrity["findings"]:
        parts.setdefault((finding["severity"], finding["check"]), []).append(finding)
    return [(severity, check, rows) for (severity, check), rows in parts.items()]


def rows_by_flag(found: Prepared) -> list[tuple[str, list[int]]]:
    """Rows of the cases that bear a flag or are named by a finding, by flag or check; duplicates stand elsewhere."""
    place = {row["case"]: index for index, row in enumerate(found.cases)}
    marked: dict[str, set[int]] = {}
    for index, row in enumerate(found.cases):
        for flag in filter(None, row["flags"].split(";")):
            if flag not in ("duplicate", "reduced_copy"):
                marked.setdefault(flag.replace("_", " "), set()).add(index)
    for finding in found.integrity["findings"]:
        if finding["case"] in place and finding["check"] not in ("duplicates", "duplicate chain"):
            marked.setdefault(finding["check"], set()).add(place[finding["case"]])
    return [(name, sorted(rows)) for name, rows in sorted(marked.items())]


def histogram(values: Sequence[float], bins: int = 24) -> list[tuple[float, float, int]]:
    """(low, high, number) per bin of equal width; [] of nothing, one bin where all are equal."""
    if not len(values):
        return []
    low, high = float(min(values)), float(max(values))
    if low == high:
        return [(low, high, len(values))]
    numbers, edges = np.histogram(np.asarray(values, np.float64), bins=bins, range=(low, high))
    return [(float(a), float(b), int(n)) for a, b, n in zip(edges[:-1], edges[1:], numbers, strict=True)]
