"""Stage `pool`: images of further datasets (`unlabeled` in params.yaml) that join the training images.

None joins that is a duplicate of a val or test image, or of one patient with such a duplicate: by the same rule that
keeps duplicates of the main dataset in one part. It compares thumbnails that `prepare` made; no val or test image is
opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.case import groups_of, load_prepared
from pipelines.datasets.duplicates import Descriptors, Rule, describe, find_pairs, find_pairs_between
from pipelines.datasets.pooling import Decision, Member, decide_pool, qualified
from pipelines.runtime.artifacts import ArrayWriter, load_array, read_csv, read_json, write_csv, write_json
from pipelines.runtime.errors import ArtifactError
from pipelines.runtime.stage import Run, Stage, run_stage

COLUMNS = (
    *("case", "source", "class", "site", "group", "width", "height"),
    *("inner_top", "inner_left", "inner_height", "inner_width"),
)


@dataclass(frozen=True)
class Source:
    """A folder `data/unlabeled/<name>`. images: (M, H, W) uint8 on disk; cases: rows of cases.csv."""

    name: str
    folder: Path
    images: np.ndarray
    cases: list[dict[str, str]]
    facts: dict[str, Any]


def run(run: Run) -> None:
    """The stage's body."""
    prepared = load_prepared(run.inputs["prepared"])
    shape, resize = prepared.images.shape[1:], prepared.dataset["resize"]
    sources = [read_source(name, run.inputs[f"unlabeled/{name}"], shape, resize) for name in run.params.unlabeled]
    names = [qualified(source.name, case["case"]) for source in sources for case in source.cases]
    identities = [qualified(source.name, case["identity"]) for source in sources for case in source.cases]
    parts = {row["case"]: row["part"] for row in read_csv(run.inputs["split"] / "split.csv")}
    groups = groups_of(prepared, run.inputs["split"])
    main = [Member(case["case"], parts[case["case"]], groups[case["case"]]) for case in prepared.cases]
    ours, rule = describe_all([source.folder for source in sources]), Rule(**run.params.prepare.duplicates.model_dump())
    within = find_pairs(ours, rule)
    across = find_pairs_between(ours, describe_all([run.inputs["prepared"]]), rule) if names else []
    decision = decide_pool(names, identities, within, across, main)
    write(run.out, sources, decision, names, shape)
    for source in report(sources, decision):
        run.log(f"{source['name']}: {source['images']} images join, {source['excluded']} are left out")
    for reason, count in sorted(Counter(item.reason for item in decision.excluded).items()):
        run.log(f"left out: {count} x {reason}")


def read_source(name: str, folder: Path, shape: tuple[int, ...], resize: str) -> Source:
    """Open one prepared dataset. ArtifactError where its images are not made like those of the main dataset."""
    images, cases = load_array(folder / "images.npy"), read_csv(folder / "cases.csv")
    facts = read_json(folder / "dataset.json")
    found = (facts["name"], tuple(images.shape[1:]), facts["resize"])
    if found != (name, tuple(shape), resize) or len(images) != len(cases):
        raise ArtifactError(
            f"{folder}: expected {name} at {tuple(shape)}, {resize}, one line of cases.csv per image, found {found[0]} "
            f"at {found[1]}, {found[2]}, {len(cases)} lines for {len(images)} images; run `dvc repro`"
        )
    return Source(name, folder, images, cases, facts)


def describe_all(folders: Sequence[Path]) -> Descriptors:
    """What images are compared by, of several prepared sets in a row; no image is opened for it."""
    pixels = [case["sha256_pixels"] for folder in folders for case in read_csv(folder / "cases.csv")]
    thumbnails = [load_array(folder / "thumbnails.npy") for folder in folders]
    return Descriptors(tuple(pixels), np.concatenate(thumbnails) if thumbnails else describe([]).thumbnails)


def report(sources: Sequence[Source], decision: Decision) -> list[dict[str, Any]]:
    """pool.json's line of each source, by the order of params."""
    owner = [source.name for source in sources for _ in source.cases]
    joined = Counter(owner[row] for row in decision.groups)
    left_out = Counter(owner[item.row] for item in decision.excluded)
    return [
        {
            "name": source.name,
            "images": joined[source.name],
            "excluded": left_out[source.name],
            "terms": source.facts["terms"],
            "citation": source.facts["citation"],
            "phantom": source.facts["phantom"],
        }
        for source in sources
    ]


def write(
    out: Path, sources: Sequence[Source], decision: Decision, names: Sequence[str], shape: tuple[int, ...]
) -> None:
    """All files of data/pool but the manifest; images are copied source by source, never all in memory."""
    places = [(source, row) for source in sources for row in range(len(source.cases))]
    kept = list(decision.groups)
    rows = []
    with ArrayWriter(out / "images.npy", tuple(shape)) as images:
        for index in kept:
            source, row = places[index]
            images.append(source.images[row])
            own = {"case": names[index], "source": source.name, "group": decision.groups[index]}
            rows.append({key: own.get(key, source.cases[row].get(key)) for key in COLUMNS})
    write_csv(out / "cases.csv", rows, COLUMNS)
    excluded = [
        {"case": names[item.row], "source": places[item.row][0].name, "reason": item.reason, "other": item.other}
        for item in decision.excluded
    ]
    write_csv(out / "excluded.csv", excluded, ("case", "source", "reason", "other"))
    write_json(out / "pool.json", {"sources": report(sources, decision), "images": len(kept)})


STAGE = Stage(
    name="pool",
    module="pipelines.pool",
    run=run,
    output="data/pool",
    inputs={"prepared": "data/prepared", "split": "data/split", "unlabeled": "data/unlabeled/{unlabeled}"},
    params={"unlabeled": "unlabeled", "prepare": "prepare"},
)

if __name__ == "__main__":
    raise SystemExit(run_stage(STAGE))
