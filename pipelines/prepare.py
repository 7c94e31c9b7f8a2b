"""Stage `prepare`: a published dataset to arrays, with every fault named first.

Reads data/raw/<dataset>, which has no manifest; writes data/prepared. Nothing is written while an error stands.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.case import Case, Dataset, Finding
from pipelines.datasets.duplicates import Descriptors, Pair, connected_groups, describe, find_pairs, phash_hex
from pipelines.datasets.images import COLOR_SHARE, Box, box_of, decode, resize_image, resize_label
from pipelines.datasets.integrity import as_report, check_counts, check_image, check_mask, check_names, ordered, table
from pipelines.datasets.read import read_dataset
from pipelines.runtime.artifacts import save_array, write_csv, write_json
from pipelines.runtime.errors import DataError
from pipelines.runtime.stage import Run, Stage, run_stage

COLUMNS = (
    "case class identity official_part flags width height spacing_x spacing_y area "
    "inner_top inner_left inner_height inner_width phash sha256_pixels"
).split()
CHAIN = 6  # a duplicate cluster above this size may be a chain of resemblances


@dataclass
class Collected:
    """What one pass over the files yields; lists are parallel, one entry per kept case."""

    cases: list[Case] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    natives: list[np.ndarray] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    descriptors: list[Descriptors] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def run(run: Run) -> None:
    """The stage's body."""
    with tempfile.TemporaryDirectory(dir=run.out) as folder:
        dataset = read_dataset(
            run.dataset, run.raw, run.params.dataset, work=Path(folder), count=run.params.scale.phantom_images
        )
        run.log(f"{dataset.name}: {len(dataset.cases)} images; terms: {dataset.terms}")
        collected = collect(dataset, run.params.scale.size, run.params.prepare.resize, run.progress(len(dataset.cases)))
    known = merge(collected.descriptors)
    rule = run.params.prepare.duplicates
    pairs = find_pairs(known, rule.phash_distance, rule.ncc)
    findings = [*dataset.findings, *check_counts(dataset), *collected.findings, *check_pairs(collected.cases, pairs)]
    if findings:
        run.log("integrity check\n" + table(findings))
    stop_on_errors(findings, run.params.prepare.strict)
    write(run.out, dataset, collected, known, pairs, findings, run.params.prepare.resize)


def collect(dataset: Dataset, size: int, resize: str, progress: Any = None) -> Collected:
    """Decode, check and resize every case, one at a time; faults become findings, so that one report names them all."""
    result = Collected(findings=check_names(dataset.cases))
    for case in dataset.cases:
        kept = _collect_case(case, size, resize, result)
        if progress is not None:
            progress.update(1)
        if not kept:
            continue
    shapes = [native.shape for native in result.natives]
    if dataset.adapter == "busi" and shapes and max(max(shape) for shape in shapes) <= REDUCED:
        result.cases = [replace(case, flags=(*case.flags, "reduced_copy")) for case in result.cases]
        message = f"no side is above {REDUCED} pixels: a reduced copy; its native-size scores are not those of the set"
        result.findings.append(Finding("flag", "reduced_copy", "", message))
    return result


REDUCED = 352  # no published BUSI image set has all sides this short
