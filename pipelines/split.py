"""Stage `split`: whole groups to train, val and test, and a nested rank of the train groups' labels."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.datasets.case import PARTS
from pipelines.runtime.artifacts import read_csv, read_json, write_csv, write_json
from pipelines.runtime.errors import DataError
from pipelines.runtime.stage import Run, Stage, run_stage
from pipelines.splitting.groups import Group, Rows, find_groups, restrict
from pipelines.splitting.leakage import describe_split, leaked_rows
from pipelines.splitting.parts import HASH, Draw
from pipelines.splitting.protocols import Division, divide
from pipelines.splitting.ranks import label_ranks


def run(run: Run) -> None:
    """The stage's body."""
    folder, settings = run.inputs["prepared"], run.params.split
    cases, duplicates = read_csv(folder / "cases.csv"), read_csv(folder / "duplicates.csv")
    dataset = read_json(folder / "dataset.json")
    draw = Draw(settings.seed, dataset["name"], {part: getattr(settings.shares, part) for part in PARTS})
    groups = find_groups(cases, duplicates)
    division = divide(settings.protocol, cases, groups, draw, dataset, settings.literature_seed)
    report = describe_split(settings.protocol, cases, duplicates, groups, division, draw)
    for line in report["warnings"]:
        run.log(f"warning: {line}")
    for part in PARTS:
        facts = report["parts"][part]
        run.log(f"{part:5} {facts['images']:5} images ({facts['share_images']:.1%}) in {facts['groups']} groups")
    check_classes(cases, groups, division)

    owner = {row: group.name for group in groups for row in group.rows}
    leaked = leaked_rows(groups, division.parts)
    rows = [
        {"case": case["case"], "part": division.parts[row], "group": owner[row], "leaked": row in leaked}
        for row, case in enumerate(cases)
    ]
    write_csv(run.out / "split.csv", rows, ("case", "part", "group", "leaked"))
    inside = {row for row, part in enumerate(division.parts) if part == "train"}
    train = [kept for group in groups if (kept := restrict(group, inside))]
    ranks = label_ranks(cases, train, draw)
    labels = [{"case": cases[row]["case"], "label_rank": ranks[owner[row]]} for row in sorted(inside)]
    write_csv(run.out / "labels.csv", labels, ("case", "label_rank"))
    write_json(run.out / "leakage.json", report)


def check_classes(cases: Rows, groups: Sequence[Group], division: Division) -> None:
    """DataError where the hash left train without a class; that another site or the owner did so is no fault."""
    trained = {case["class"] for case, part in zip(cases, division.parts, strict=True) if part == "train"}
    hashed = {name for group in groups if division.placed[group.name].reason == HASH for name in group.classes}
    if absent := sorted(hashed - trained):
        raise DataError(f"split: train holds 0 images of {', '.join(absent)}, needed 1; add patients of that class")


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
