"""Stage `pool`: images of further datasets (`unlabeled` in params.yaml) that join the training images.

None joins that is a duplicate of a val or test image, or of one patient with such a duplicate: by the same rule that
keeps duplicates of the main dataset in one part. It compares thumbnails that `prepare` made; no val or test image is
opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.datasets.case import groups_of, load_prepared
from pipelines.datasets.duplicates import Descriptors, Rule, describe, find_pairs, find_pairs_between
from pipelines.datasets.pooling import HELD_OUT, Decision, Member, decide_pool, qualified
from pipelines.runtime.artifacts import ArrayWriter, load_array, read_csv, read_json, write_csv, write_json
from pipelines.runtime.errors import ArtifactError
from pipelines.runtime.stage import Run, Stage, run_stage
from pipelines.splitting.parts import EXTERNAL

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
    official = [case["official_part"] for source in sources for case in source.cases]
    external = {row for row, part in enumerate(official) if part == EXTERNAL}
    decision = decide_pool(names, identities, within, across, main, external)
    found = report(sources, decision, names, published_names(prepared.cases, parts))
    write(run.out, sources, decision, names, shape)
    write_json(run.out / "pool.json", found)
    for source in found["sources"]:
        run.log(f"{source['name']}: {source['images']} images join, {source['excluded']} are left out")
    for reason, count in sorted(Counter(item.reason for item in decision.excluded).items()):
        run.log(f"left out: {count} x {reason}")
    for warning in found["warnings"]:
        run.log(f"warning: {warning}")


def published_names(cases: Sequence[Mapping[str, str]], parts: Mapping[str, str]) -> dict[str, set[str]]:
    """What of the dataset's val and test a further set may share unseen.

    identity: patients, lesions or videos in val or test; site: sites that only val and test have.
    """
    held_out = {key: {case[key] for case in cases if parts[case["case"]] in HELD_OUT} for key in ("identity", "site")}
    trained = {case["site"] for case in cases if parts[case["case"]] not in HELD_OUT}
    return {"identity": held_out["identity"] - {""}, "site": held_out["site"] - trained - {""}}


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


def report(
    sources: Sequence[Source], decision: Decision, names: Sequence[str], held_out: Mapping[str, set[str]]
) -> dict[str, Any]:
    """pool.json: a line of each source by the order of params, bridges, and warnings in words.

    held_out: of `published_names`. Names are compared as they stand, of images that join; a phantom's patients and
    sites are simulated, whatever their names.
    """
    places = [(source.name, case) for source in sources for case in source.cases]
    left_out = Counter(places[item.row][0] for item in decision.excluded)
    lines = []
    for source in sources:
        joined = [places[row][1] for row in decision.groups if places[row][0] == source.name]
        shared = {
            key: sorted({case[key] for case in joined} & known) if not source.facts["phantom"] else []
            for key, known in held_out.items()
        }
        lines.append(
            {
                "name": source.name,
                "images": len(joined),
                "excluded": left_out[source.name],
                "named_like_held_out": len(shared["identity"]),
                "held_out_sites": shared["site"],
                "terms": source.facts["terms"],
                "citation": source.facts["citation"],
                "phantom": source.facts["phantom"],
            }
        )
    bridges = [{"case": names[item.row], "group": item.group, "held_out": item.held_out} for item in decision.bridges]
    return {
        "sources": lines,
        "images": len(decision.groups),
        "bridges": bridges,
        "warnings": [*warnings_of(lines), *bridge_warnings(bridges)],
    }


def warnings_of(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a person must look at before images of these sources are trained on."""
    found = []
    for line in lines:
        if count := line["named_like_held_out"]:
            found.append(
                f"{line['name']}: {count} patients, lesions or videos of images that join have names of val or test "
                "patients of the dataset, and names are not compared across sets: where they are the same patients, "
                "leave them out; where they are others, rename them in groups.csv"
            )
        if sites := line["held_out_sites"]:
            found.append(
                f"{line['name']}: images of {', '.join(sites)} join, which only val and test of the dataset have: the "
                "scores are no longer those of a site never seen; leave these images out if they should be"
            )
    return found


def bridge_warnings(bridges: Sequence[Mapping[str, str]]) -> list[str]:
    """One line for each pair of a train group and a val or test image that one image of the pool duplicates both."""
    pairs: dict[tuple[str, str], str] = {}
    for item in bridges:
        pairs.setdefault((item["group"], item["held_out"]), item["case"])
    return [
        f"{case} duplicates train group {group} and the val or test image {other}: look whether these two are "
        "near-duplicates that the split's rule missed; the split stays as it is"
        for (group, other), case in pairs.items()
    ]


def write(
    out: Path, sources: Sequence[Source], decision: Decision, names: Sequence[str], shape: tuple[int, ...]
) -> None:
    """Arrays and tables of data/pool; images are copied source by source, never all in memory."""
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
