"""Tables of small results, every number by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.runtime.errors import ParamsError
from pipelines.study.render import flat_rows, markdown
from pipelines.study.spec import Job, Study, expand_jobs, load_study
from pipelines.study.table import build_table, write_table
from tests.support.study_world import case_row, make_project, write_results, write_study


def open_study(folder: Path, **content: Any) -> tuple[Study, list[Job]]:
    path = write_study(folder, **content)
    study = load_study(path)
    return study, expand_jobs(study, path)


def rows_of(*dice: float, **more: Any) -> list[dict[str, Any]]:
    """One image per score, two images to a group."""
    return [case_row(f"case{n}", f"g{n // 2}", value, **more) for n, value in enumerate(dice)]


def by_label(jobs: list[Job], **results: list[dict[str, Any]]) -> dict[str, tuple[Job, list[dict[str, Any]]]]:
    """`real_0=rows`: the job of that arm and seed."""
    found = {f"{job.arm}_{job.seed}": job for job in jobs}
    return {name: (found[name], rows) for name, rows in results.items()}


def table_of(folder: Path, study: Study, jobs: list[Job], results: dict[str, Any], **more: Any) -> dict[str, Any]:
    plan = write_results(folder / "out", results, **more)
    return build_table(study, jobs, plan, folder / "out")


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
    assert first["training"] == {"wall_minutes": 2.0, "cpu_minutes": 1.0, "devices": ["cpu"], "unmeasured": 0}
    assert (second["done"], second["mode"], second["metrics"]) == (0, None, {})
    assert set(second["missing"].values()) == {"not run"}


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


def test_gains_are_paired_by_image_and_common_seed(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, reference={"arm": "supervised"})
    results = by_label(
        jobs,
        supervised_0=rows_of(0.2, 0.4, 0.6, 0.8),
        supervised_1=rows_of(0.9, 0.9, 0.9, 0.9),  # seed 1 of `real` is not run
        real_0=list(reversed(rows_of(0.3, 0.5, 0.7, 0.9))),  # in another order
    )
    reference, real = table_of(tmp_path, study, jobs, results)["rows"]
    assert reference["gain"] is None
    gain = real["gain"]["dice"]
    assert (gain["mean"], gain["low"], gain["high"]) == pytest.approx((0.1, 0.1, 0.1))
    assert (gain["images"], gain["groups"], gain["seeds"]) == (4, 2, 1)
    assert gain["p"] == gain["p_holm"] == pytest.approx(0.5)  # two groups: 2 / 2^2


def test_gains_of_a_table_are_one_family_for_holm(tmp_path: Path) -> None:
    axes = {"arm": ["control", "supervised", "real", "all_labels"], "seed": [0]}
    study, jobs = open_study(tmp_path, grids=[{"axes": axes}], reference={"arm": "control"})
    base = [0.1] * 10
    up, mixed = [0.1 + 0.01 * n for n in range(1, 11)], [0.1 + 0.01 * n * (-1) ** n for n in range(1, 11)]
    results = by_label(
        jobs, control_0=rows_of(*base), supervised_0=rows_of(*up), real_0=rows_of(*mixed), all_labels_0=rows_of(*up)
    )
    _, first, second, third = table_of(tmp_path, study, jobs, results)["rows"]
    p = first["gain"]["dice"]["p"]  # five groups, all up
    assert p == third["gain"]["dice"]["p"] == pytest.approx(2 / 32)
    assert [row["gain"]["dice"]["p_holm"] for row in (first, third)] == pytest.approx([3 * p, 3 * p])
    assert second["gain"]["dice"]["p_holm"] == pytest.approx(max(3 * p, second["gain"]["dice"]["p"]))


def test_the_reference_is_that_of_the_same_other_axes(tmp_path: Path) -> None:
    axes = {"dataset": ["busi", "bus_bra"], "arm": ["supervised", "real"], "seed": [0]}
    study, jobs = open_study(tmp_path, grids=[{"axes": axes}], reference={"arm": "supervised"})
    scores = {"busi/supervised": 0.2, "busi/real": 0.3, "bus_bra/supervised": 0.6, "bus_bra/real": 0.4}
    results = {}
    for job in jobs:
        name = f"{job.axes['dataset']}/{job.arm}"
        results[name.replace("/", "-")] = (job, rows_of(scores[name], scores[name]))
    datasets = {name: name.partition("-")[0] for name in results}
    rows = table_of(tmp_path, study, jobs, results, datasets=datasets)["rows"]
    assert [row["gain"] and round(row["gain"]["dice"]["mean"], 6) for row in rows] == [None, 0.1, None, -0.2]


def test_modes_are_rows_and_are_compared_with_the_same_mode_or_the_primary_one(tmp_path: Path) -> None:
    axes = {"segmenter.system": ["unet", "crossdiff"], "arm": ["real"], "seed": [0]}
    compare = [
        [{"segmenter.system": "crossdiff", "mode": "refine"}, {"segmenter.system": "unet"}],
        [{"segmenter.system": "crossdiff", "mode": "refine"}, {"segmenter.system": "crossdiff", "mode": "direct"}],
    ]
    study, jobs = open_study(tmp_path, grids=[{"axes": axes}], reference={"segmenter.system": "unet"}, compare=compare)
    both = [*rows_of(0.6, 0.8, mode="refine"), *rows_of(0.5, 0.6)]
    results = {"unet": (jobs[0], rows_of(0.5, 0.5)), "crossdiff": (jobs[1], both)}
    table = table_of(tmp_path, study, jobs, results)
    assert [row["mode"] for row in table["rows"]] == ["direct", "refine", "direct"]
    assert [row["gain"] and round(row["gain"]["dice"]["mean"], 6) for row in table["rows"]] == [None, 0.2, 0.05]
    assert [round(record["gain"]["dice"]["mean"], 6) for record in table["comparisons"]] == [0.2, 0.15]


def test_a_comparison_of_what_is_not_run_says_so(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, compare=[[{"arm": "real"}, {"arm": "supervised"}]])
    table = table_of(tmp_path, study, jobs, by_label(jobs, real_0=rows_of(0.5)))
    assert [record["gain"] for record in table["comparisons"]] == [None]


def test_a_selector_that_means_several_rows_is_refused(tmp_path: Path) -> None:
    one = {"axes": {"arm": ["real"], "seed": [0]}}
    two = {"axes": {"arm": ["control"], "split.seed": [1, 2], "seed": [0]}}
    study, jobs = open_study(tmp_path, grids=[one, two], compare=[[{"arm": "real"}, {"arm": "control"}]])
    with pytest.raises(ParamsError, match="means several rows"):
        build_table(study, jobs, {"jobs": {}, "calls": {}}, tmp_path)


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
        "arm=real seed=1": "damaged: its test images are not those of seed 0; run the study again"
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


def test_reasons_stand_where_a_gain_is_missing(tmp_path: Path) -> None:
    axes = {"dataset": ["busi", "bus_bra"], "arm": ["supervised", "real"], "seed": [0, 1]}
    lonely = {"axes": {"dataset": ["stu"], "arm": ["real"], "seed": [0]}}
    compare = [[{"arm": "real"}, {"arm": "supervised"}]]
    study, jobs = open_study(tmp_path, grids=[{"axes": axes}, lonely], reference={"arm": "supervised"}, compare=compare)
    results = {
        f"{job.axes['dataset']}{job.arm}{job.seed}": (job, rows_of(0.5))
        for job in jobs
        if "dataset" in job.axes and (job.axes["dataset"], job.arm, job.seed) in DONE
    }
    table = table_of(tmp_path, study, jobs, results)
    why = {(row["axes"].get("dataset"), row["axes"]["arm"]): row["why"] for row in table["rows"]}
    assert why == {
        ("busi", "supervised"): "",
        ("busi", "real"): "no common seed",
        ("bus_bra", "supervised"): "",
        ("bus_bra", "real"): "reference not run",
        ("stu", "real"): "no such reference",
    }
    assert [record["why"] for record in table["comparisons"]] == [
        "no common seed",
        "second not run",
        "no such second row",
    ]
    assert table["families"] == {"reference": {"planned": 2, "there": 0}, "compare": {"planned": 2, "there": 0}}


DONE = {("busi", "supervised", 0), ("busi", "real", 1), ("bus_bra", "real", 0), ("stu", "real", 0)}


def test_images_that_no_two_have_in_common(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, reference={"arm": "supervised"})
    results = by_label(jobs, supervised_0=[case_row("a", "g", 0.5)], real_0=[case_row("b", "g", 0.5)])
    assert table_of(tmp_path, study, jobs, results)["rows"][1]["why"] == "no common image"


def test_a_gain_of_fewer_seeds_than_its_row_says_so(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, reference={"arm": "supervised"})
    results = by_label(jobs, supervised_0=rows_of(0.5), real_0=rows_of(0.6), real_1=rows_of(0.7))
    lines = markdown(table_of(tmp_path, study, jobs, results)).splitlines()
    (real,) = [line for line in lines if line.startswith("| real")]
    assert "+0.100 (+0.100 to +0.100), 1 seed |" in real
    assert any(line.startswith("Rows of one seed") for line in lines)


def test_holm_counts_what_is_planned_and_not_there_yet(tmp_path: Path) -> None:
    axes = {"arm": ["control", "supervised", "real", "all_labels"], "seed": [0]}
    study, jobs = open_study(tmp_path, grids=[{"axes": axes}], reference={"arm": "control"})
    results = by_label(jobs, control_0=rows_of(*[0.1] * 10), real_0=rows_of(*[0.1 + 0.01 * n for n in range(1, 11)]))
    table = table_of(tmp_path, study, jobs, results)
    assert table["rows"][2]["gain"]["dice"]["p"] == pytest.approx(2 / 32)
    assert table["rows"][2]["gain"]["dice"]["p_holm"] == pytest.approx(3 * 2 / 32)
    assert table["families"]["reference"] == {"planned": 3, "there": 1}


def test_only_the_primary_metric_is_tested(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, metrics=["dice", "hd95"], reference={"arm": "supervised"})
    results = by_label(jobs, supervised_0=rows_of(0.5, 0.6), real_0=rows_of(0.6, 0.7))
    table = table_of(tmp_path, study, jobs, results)
    gain = table["rows"][1]["gain"]
    assert gain["dice"]["p"] is not None
    assert gain["hd95"]["p"] is None
    columns, _ = flat_rows(table)
    assert [name for name in columns if "_p" in name] == ["gain_dice_p", "gain_dice_p_holm"]


def test_classes_are_compared_each_with_itself(tmp_path: Path) -> None:
    compare = [
        [{"arm": "real"}, {"arm": "supervised"}],
        [{"arm": "real", "foreground": "benign"}, {"arm": "supervised"}],
    ]
    study, jobs = open_study(tmp_path, compare=compare)
    cases = {arm: [] for arm in ("real", "supervised")}
    scores = {("real", "malignant"): 0.4, ("real", "benign"): 0.6, ("real", "cyst"): 0.5}
    scores |= {("supervised", "benign"): 0.5, ("supervised", "malignant"): 0.1}
    for (arm, name), score in scores.items():
        cases[arm] += rows_of(score, score, foreground=name)
    table = table_of(tmp_path, study, jobs, by_label(jobs, real_0=cases["real"], supervised_0=cases["supervised"]))
    found = [(record["foreground"], round(record["gain"]["dice"]["mean"], 6)) for record in table["comparisons"]]
    assert found == [("malignant", 0.3), ("benign", 0.1), ("benign", 0.1)]
    assert "| direct | benign | +0.100" in markdown(table)


def test_what_the_second_selector_leaves_open_is_as_in_the_first_row(tmp_path: Path) -> None:
    semi = {"a": {"segmenter.unet.semi": "mean_teacher"}, "b": {"segmenter.unet.semi": "unimatch"}}
    axes = {"semi": semi, "arm": ["supervised", "real"], "seed": [0]}
    compare = [[{"arm": "real", "semi": "b"}, {"semi": "a"}]]
    study, jobs = open_study(tmp_path, grids=[{"axes": axes}], set={"segmenter.system": "unet"}, compare=compare)
    scores = {("a", "supervised"): 0.1, ("a", "real"): 0.3, ("b", "supervised"): 0.2, ("b", "real"): 0.7}
    results = {f"{job.axes['semi']}{job.arm}": (job, rows_of(scores[job.axes["semi"], job.arm])) for job in jobs}
    (record,) = table_of(tmp_path, study, jobs, results)["comparisons"]
    assert record["gain"]["dice"]["mean"] == pytest.approx(0.4)  # of the arm real on both sides


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
