"""What models learn from beside labels: the train images, and images of other datasets that `pool` let in.

The pool's images never lie in val or test, carry no mask here, and their classes are those of another dataset.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.datasets.case import groups_of, load_prepared, rows_of_part
from pipelines.runtime.artifacts import load_array, read_csv
from pipelines.runtime.errors import DataError


@dataclass(frozen=True)
class Pooled:
    """The folder `data/pool`. Row k of `cases` (rows of cases.csv) describes images[k]; (M, H, W) uint8, M may be 0."""

    images: np.ndarray
    cases: list[dict[str, str]]

    def rows_outside(self, groups: Collection[str]) -> list[int]:
        """Rows of no such group; with the labeled groups: what may be trained on as unlabeled."""
        return [row for row, case in enumerate(self.cases) if case["group"] not in groups]


@dataclass(frozen=True)
class TrainingImages:
    """The generator's training images (n, H, W) uint8 in memory: `own` train images, then the pool's.

    cases: each image's row of cases.csv; rows: its row in data/prepared or data/pool; groups: its group.
    """

    images: np.ndarray
    cases: list[dict[str, str]]
    rows: list[int]
    groups: list[str]
    own: int

    @property
    def names(self) -> list[str]:
        return [case["case"] for case in self.cases]


def load_pool(folder: Path) -> Pooled:
    """Open data/pool; the images stay on disk until rows are indexed."""
    images, cases = load_array(folder / "images.npy"), read_csv(folder / "cases.csv")
    if len(images) != len(cases):
        raise DataError(
            f"{folder}: images.npy has {len(images)} rows, cases.csv {len(cases)}; expected equal numbers; run pool "
            "again"
        )
    return Pooled(images, cases)


def load_training_images(prepared_folder: Path, split_folder: Path, pool_folder: Path) -> TrainingImages:
    """Copy the train rows of data/prepared and all of data/pool into memory; no other row is read."""
    prepared, pool = load_prepared(prepared_folder), load_pool(pool_folder)
    rows = rows_of_part(prepared, split_folder, "train")
    if not rows:
        raise DataError(f"{split_folder}: expected train cases, found none; raise split.shares.train")
    groups, own = groups_of(prepared, split_folder), [prepared.cases[row] for row in rows]
    return TrainingImages(
        images=stacked(prepared.images[rows], pool.images),
        cases=[*own, *pool.cases],
        rows=[*rows, *range(len(pool.cases))],
        groups=[*(groups[case["case"]] for case in own), *(case["group"] for case in pool.cases)],
        own=len(rows),
    )


def stacked(own: np.ndarray, more: np.ndarray) -> np.ndarray:
    """(n, H, W) and (m, H, W) uint8 to (n + m, H, W); DataError where H x W differ."""
    if own.shape[1:] != more.shape[1:]:
        raise DataError(f"data/pool: expected images of {own.shape[1:]}, found {more.shape[1:]}; run pool again")
    return np.concatenate([own, more]) if len(more) else np.ascontiguousarray(own)
