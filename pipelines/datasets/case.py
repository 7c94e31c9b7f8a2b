"""What an adapter hands to `prepare`, and how every later stage reads what `prepare` and `split` wrote. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.runtime.artifacts import load_array, read_csv, read_json
from pipelines.runtime.errors import DataError

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Finding:
    """One line of the integrity report. `check` is a key of `integrity.CHECKS`, which knows its severity.

    case: "" where the whole set is meant; file: relative to the raw folder, "" where none is to blame.
    """

    check: str
    case: str
    file: str
    expected: str
    found: str
    remedy: str

    @property
    def message(self) -> str:
        """One line: where, expected, found, what to do; printable whatever a file's name holds."""
        where = self.file or self.case or "the set"
        text = f"{where}: expected {self.expected}, found {self.found}; {self.remedy}"
        return "".join(char if char.isprintable() else "?" for char in text)


@dataclass(frozen=True)
class Case:
    """One image of a published dataset with its masks, as files; nothing is decoded yet.

    `identity` is the published patient, lesion or video, "" where none is published. `lesion` says whether an empty
    mask is a fault (True) or the truth (False, lesion-free images, which need no mask file where the owner publishes
    none; where one is expected, the adapter names it as missing). `spacing` is (x, y) in mm per native pixel;
    `published_size` is (width, height) where a table gives it.

    official_part: train, val or test where the owner says so; external for another site, which is always tested on and
    never trained on. mask_classes: foreground class (1 ... K) of each mask file, () where all are class 1. label_map:
    the one mask file holds the values 0 ... K. polygons: outlines ((x, y), ...) in native pixels of lesions of class 1,
    where the owner publishes these and no mask file. resize_mask: the owner's masks differ in size from their images
    and are brought to it (nearest neighbor); elsewhere that is a fault.
    """

    case: str
    image: Path
    masks: tuple[Path, ...]
    class_name: str
    lesion: bool = True
    identity: str = ""
    official_part: str = ""
    flags: tuple[str, ...] = ()
    spacing: tuple[float, float] | None = None
    published_size: tuple[int, int] | None = None
    site: str = ""
    mask_classes: tuple[int, ...] = ()
    label_map: bool = False
    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()
    resize_mask: bool = False


@dataclass(frozen=True)
class Dataset:
    """A dataset in its published layout: the cases, sorted by name, and the terms under which it may be used.

    expected: published number of images per class, for a warning. reduced_below: a set in which no side is longer
    (pixels) cannot be the published one; 0 where that is not known. layout: which of the circulating layouts was found,
    in words, "" where there is but one.
    """

    name: str
    adapter: str
    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    foreground: tuple[str, ...]
    terms: str
    citation: str
    channels: int = 1
    phantom: bool = False
    expected: dict[str, int] = field(default_factory=dict)
    reduced_below: int = 0
    layout: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """The folder `data/prepared`. Row k of `cases` describes images[k] and labels[k].

    images: (N, H, W) uint8 gray; labels: (N, H, W) uint8, 0 = background, k = foreground class k; cases: the rows of
    cases.csv.
    """

    folder: Path
    images: np.ndarray
    labels: np.ndarray
    cases: list[dict[str, str]]
    dataset: dict[str, Any]

    def native_label(self, row: int) -> np.ndarray:
        """The label map of one row at native size, (h, w) uint8."""
        with np.load(self.folder / "native_labels.npz", allow_pickle=False) as shard:
            return shard[f"{row:06d}"]


def load_prepared(folder: Path, mmap: bool = True) -> Prepared:
    """Open data/prepared; with `mmap` the arrays stay on disk and only the rows that are indexed are read."""
    images = load_array(folder / "images.npy", mmap=mmap)
    labels = load_array(folder / "labels.npy", mmap=mmap)
    cases = read_csv(folder / "cases.csv")
    if not len(images) == len(labels) == len(cases):
        raise DataError(
            f"{folder}: images.npy has {len(images)} rows, labels.npy {len(labels)}, cases.csv {len(cases)}; expected "
            "equal numbers; run prepare again"
        )
    return Prepared(folder, images, labels, cases, read_json(folder / "dataset.json"))


def rows_of_part(prepared: Prepared, split_folder: Path, part: str) -> list[int]:
    """Rows of `prepared` that lie in one part (train, val or test), in the order of cases.csv."""
    if part not in PARTS:
        raise DataError(f"part {part!r}: expected one of {', '.join(PARTS)}")
    parts = {row["case"]: row["part"] for row in read_csv(split_folder / "split.csv")}
    missing = [row["case"] for row in prepared.cases if row["case"] not in parts]
    if missing:
        table = split_folder / "split.csv"
        raise DataError(f"{table}: {len(missing)} prepared cases have no part, first {missing[0]}; run split again")
    return [index for index, row in enumerate(prepared.cases) if parts[row["case"]] == part]


def groups_of(prepared: Prepared, split_folder: Path) -> dict[str, str]:
    """Case name -> group name (patient, lesion, video or duplicate cluster, merged transitively)."""
    known = {row["case"]: row["group"] for row in read_csv(split_folder / "split.csv")}
    return {row["case"]: known[row["case"]] for row in prepared.cases}


def leaked_cases(split_folder: Path) -> set[str]:
    """Test cases with a near-duplicate, or an image of the same patient, lesion or video, in train or val."""
    table = split_folder / "split.csv"
    rows = read_csv(table)
    if rows and "leaked" not in rows[0]:
        raise DataError(f"{table}: expected the column leaked, found {', '.join(rows[0])}; run split again")
    return {row["case"] for row in rows if row["leaked"] == "true"}


def labeled_rows(prepared: Prepared, split_folder: Path, fraction: float) -> tuple[list[int], list[int]]:
    """(labeled, unlabeled) rows of the train part: whole groups in the order of their label rank.

    The labeled set is the prefix whose image count lies nearest to `fraction` of the train images (the shorter one of
    two equally near), at least one group, and everything at 1.0; so the set of a smaller fraction lies inside that of a
    larger one.
    """
    if not 0.0 < fraction <= 1.0:
        raise DataError(f"label_fraction {fraction}: expected a number above 0 and at most 1")
    ranks = {row["case"]: int(row["label_rank"]) for row in read_csv(split_folder / "labels.csv")}
    train = rows_of_part(prepared, split_folder, "train")
    by_rank: dict[int, list[int]] = {}
    for row in train:
        by_rank.setdefault(ranks[prepared.cases[row]["case"]], []).append(row)
    target = fraction * len(train)
    labeled: list[int] = []
    for rank in sorted(by_rank):
        longer = len(labeled) + len(by_rank[rank])
        if labeled and fraction < 1.0 and abs(longer - target) >= abs(len(labeled) - target):
            break
        labeled += by_rank[rank]
    chosen = set(labeled)
    return sorted(labeled), [row for row in train if row not in chosen]
