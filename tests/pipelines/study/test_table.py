"""Tables of small results, every number by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.study.render import flat_rows, markdown
from pipelines.study.table import build_table, write_table
from tests.support.study_world import by_label, case_row, make_project, open_study, rows_of, table_of, write_results


def test_means_over_images_of_means_over_seeds(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, metrics=["dice", "hd95"])
    results = by_label(jobs, supervised_0=rows_of(0.2, 0.4, 0.9), supervised_1=rows_of(0.4, 0.6, 0.8))
    first, second = table_of(tmp_path, study, jobs, results)["rows"]
    dice = first["metrics"]["dice"]
    assert dice["mean"] == pytest.approx(0.55)  # (0.3 + 0.5 + 0.85) / 3
    assert dice["sd"] == pytest.approx(0.1 / 2**0.5)  # of 0.5 and 0.6
    # one replicate in 16 is the first group alone and twice seed 0, one the second group so
    assert (dice["low"], dice["high"]) == pytest.approx((0.3, 0.9))
    assert (dice["images"], dice["groups"]) == (3, 2)
    assert first["metrics"]["hd95"]["mean"] == pytest.approx(4.5)
    assert (first["done"], first["asked"], first["mode"], first["leaked"]) == (2, 2, "direct", 0)
    spent = {"wall_minutes": 2.0, "cpu_minutes": 1.0, "devices": ["cpu"], "unmeasured": 0, "reached": None}
    assert first["training"] == spent
    assert (second["done"], second["mode"], second["metrics"]) == (0, None, {})
    assert set(second["missing"].values()) == {"not run"}


def test_the_minutes_until_a_validation_dice(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, reach=0.75)
    results = by_label(jobs, supervised_0=rows_of(0.2), real_0=rows_of(0.4), real_1=rows_of(0.4))
    curves = {"supervised_0": [0.4, 0.74], "real_0": [0.8, 0.7, 0.7, 0.9], "real_1": [0.7, 0.75]}
    table = table_of(tmp_path, study, jobs, results, curves=curves)
    never, both = (row["training"]["reached"] for row in table["rows"])
    assert never == {"cells": 0, "of": 1, "unmeasured": 0, "wall_minutes": None, "cpu_minutes": None}
    # 2 minutes (1 of the CPU): after a quarter of real_0, at the end of real_1
    minutes = {"wall_minutes": pytest.approx(1.25), "cpu_minutes": pytest.approx(0.625)}
    assert both == {"cells": 2, "of": 2, "unmeasured": 0, **minutes}
    lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert lines[0].endswith("| training, min (CPU) | until Dice 0.75 |")
    assert [line.split("|")[-2].strip() for line in lines[2:]] == ["never", "1.2 (0.6)"]
    lost = table_of(tmp_path / "lost", study, jobs, results, curves=curves, seconds={"unmeasured": 1})
    assert "| at least 1.2 (0.6) |" in markdown(lost)
    columns, (_, flat) = flat_rows(table)
    assert (flat["reached_cells"], flat["reached_wall_minutes"]) == (2, pytest.approx(1.25))
    assert set(flat) == set(columns)


def test_images_that_do_not_count(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path)
    rows = [
        *rows_of(0.5, 0.7),
        case_row("free", "g8", 1.0, target_area=0.0, empty="both", empty_native="both"),
        case_row("vanished", "g9", 1.0, empty="both"),
        case_row("leaked", "g7", 0.9, leaked=True),
    ]
    row = table_of(tmp_path, study, jobs, by_label(jobs, real_0=rows))["rows"][1]
    assert row["metrics"]["dice"]["mean"] == pytest.approx(0.7)
    assert (row["metrics"]["dice"]["images"], row["done"], row["asked"], row["leaked"]) == (3, 1, 2, 1)
    assert row["metrics"]["dice"]["sd"] is None


def test_folds_are_pooled_image_by_image(tmp_path: Path) -> None:
    fold = {"a": {"datasets.bus_bra.test_fold": 2}, "b": {"datasets.bus_bra.test_fold": 3}}
    axes = {"fold": fold, "arm": ["supervised", "real"], "seed": [0, 1]}
    study, jobs = open_study(tmp_path, grids=[{"axes": axes}], pool="fold", reference={"arm": "supervised"})
    results = {}
    for job in jobs:
        if job.arm == "real" and job.axes["fold"] == "b" and job.seed == 1:
            continue  # seed 1 of `real` is not done in both folds
        value = 0.2 if job.axes["fold"] == "a" else 0.5
        cases = 1 if job.axes["fold"] == "a" else 2  # names come again in the other fold
        results[f"{job.axes['fold']}{job.arm}{job.seed}"] = (job, rows_of(*[value + 0.1 * (job.arm == "real")] * cases))
    first, second = table_of(tmp_path, study, jobs, results)["rows"]
    assert first["axes"] == {"arm": "supervised"}
    assert first["metrics"]["dice"]["mean"] == pytest.approx(0.4)  # (0.2 + 0.5 + 0.5) / 3: images, not folds
    assert (first["metrics"]["dice"]["images"], first["done"]) == (3, 2)
    assert (second["metrics"]["dice"]["mean"], second["done"]) == (pytest.approx(0.5), 1)
    assert second["gain"]["dice"]["mean"] == pytest.approx(0.1)


def test_a_fold_that_is_missing_leaves_the_row_not_run(tmp_path: Path) -> None:
    fold = {"a": {"datasets.bus_bra.test_fold": 2}, "b": {"datasets.bus_bra.test_fold": 3}}
    study, jobs = open_study(tmp_path, grids=[{"axes": {"fold": fold, "arm": ["real"], "seed": [0]}}], pool="fold")
    (row,) = table_of(tmp_path, study, jobs, {"a": (jobs[0], rows_of(0.5))})["rows"]
    assert (row["mode"], row["missing"]) == (None, {"fold=b arm=real seed=0": "not run"})


def test_seeds_of_other_images_are_damaged(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path)
    results = by_label(jobs, real_0=rows_of(0.5, 0.6), real_1=rows_of(0.5))
    row = table_of(tmp_path, study, jobs, results)["rows"][1]
    assert (row["done"], row["metrics"]["dice"]["mean"]) == (1, pytest.approx(0.55))
    assert row["missing"] == {
        "arm=real seed=1": "damaged: its test images are not those of seed 0; see its split and its data"
    }


def test_one_damaged_result_does_not_refuse_the_others(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, reference={"arm": "supervised"})
    results = by_label(jobs, supervised_0=rows_of(0.5), supervised_1=rows_of(0.5), real_0=rows_of(0.7))
    plan = write_results(tmp_path / "out", results)
    for name, text in (("supervised_0", "x"), ("real_0", "y")):
        (tmp_path / "out/store" / f"evaluate-{name}" / "results/x-0/per_case.csv").write_text(text)
    (tmp_path / "out/store/segment-supervised_1/models/segmenter/x-0/manifest.json").write_text("{")
    table = build_table(study, jobs, plan, tmp_path / "out")
    first, second = table["rows"]
    assert (first["done"], second["done"], second["why"]) == (1, 0, "not run")
    said = first["missing"]["arm=supervised seed=0"]
    assert said.startswith("damaged: ")
    assert said.endswith("; run the study again")
    assert "per_case.csv" in said
    assert first["training"]["wall_minutes"] is None  # that of a damaged segmenter
    assert "## Damaged" in markdown(table)
    (line,) = [line for line in markdown(table).splitlines() if line.startswith("| real")]
    assert "damaged" in line


def test_lesion_free_images_and_numbers_that_differ_are_shown(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, metrics=["dice", "hd95"], grids=[{"axes": {"arm": ["real"], "seed": [0, 1]}}])

    def rows(*components: float) -> list[dict[str, Any]]:
        free = {"target_area": 0.0, "empty": "target", "empty_native": "target"}
        found = [case_row(f"f{n}", "g", 0.0, largest_component=size, **free) for n, size in enumerate(components)]
        return [*rows_of(0.5), case_row("missed", "g8", 0.0, hd95=None), *found]

    table = table_of(tmp_path, study, jobs, by_label(jobs, real_0=rows(0.004, 0.006), real_1=rows(0.006, 0.1)))
    (row,) = table["rows"]
    assert (row["lesion_free"], row["false_lesion"]) == (2, 0.75)
    (line,) = [line for line in markdown(table).splitlines() if line.startswith("| real")]
    assert "| 2 of 2 | 2 | 2 | 2 | 0.750 |" in line
    assert "5.0 ± 0.0, n = 1 |" in line
    assert flat_rows(table)[1][0]["false_lesion"] == 0.75


def test_mixed_versions_and_devices_are_said(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path)
    results = by_label(jobs, supervised_0=rows_of(0.5), real_0=rows_of(0.5))
    facts = {"supervised_0": {"device": "cuda", "versions": {"torch": "2.0"}}, "real_0": {"versions": {"torch": "2.1"}}}
    assert table_of(tmp_path, study, jobs, results, facts=facts)["notes"] == [
        "these results mix devices of the trainings: cpu, cuda",
        "these results mix versions of torch: 2.0, 2.1",
    ]


def test_the_files(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    study, jobs = open_study(tmp_path, metrics=["dice", "hd95"], reference={"arm": "supervised"})
    results = by_label(jobs, supervised_0=rows_of(0.2, 0.4), supervised_1=rows_of(0.4, 0.6))
    folder = tmp_path / "out"
    write_results(folder, results, seconds={"unmeasured": 1})
    page, where = write_table(study, jobs, tmp_path / "study.yaml", folder, project)
    assert str(folder / "table.md") in where
    assert (folder / "table.md").read_text() == page
    lines = page.splitlines()
    (supervised,) = [line for line in lines if line.startswith("| supervised")]
    scores = "0.400 ± 0.141 (0.300 to 0.500) | 6.0 ± 1.4"
    assert supervised == f"| supervised | direct | 2 of 2 | 2 | 1 | {scores} | at least 2.0 (1.0), cpu |  |  |"
    assert "| real | not run |  |  |  |  |  |  |  |  |" in lines
    assert "Hardware: Toy, 2 cores; trained on cpu." in lines
    assert any(line.startswith("Note: the sources have changed") for line in lines)
    with (folder / "table.csv").open() as handle:
        first, second = csv.DictReader(handle)
    assert (first["arm"], first["state"], float(first["dice_mean"])) == ("supervised", "done", pytest.approx(0.4))
    assert (second["arm"], second["state"], second["dice_mean"]) == ("real", "not run", "")
    assert json.loads((folder / "table.json").read_text())["hardware"] == [
        {"cpu": "Toy", "cores": 2, "devices": ["cpu"]}
    ]
    before = {path.name: path.read_bytes() for path in folder.glob("table.*")}
    write_table(study, jobs, tmp_path / "study.yaml", folder, project)
    assert {path.name: path.read_bytes() for path in folder.glob("table.*")} == before
