"""Which rows, views, images and seeds are compared, every number by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.runtime.errors import ParamsError
from pipelines.study.compare import check_rows
from pipelines.study.render import flat_rows, markdown
from pipelines.study.table import build_table
from tests.support.study_world import by_label, case_row, open_study, rows_of, table_of


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
    assert table["families"]["reference"] == {"planned": 1, "there": 1}  # of the primary mode, as if it were not run
    assert [row["gain"] and row["gain"]["dice"]["p"] is not None for row in table["rows"]] == [None, True, False]
    (direct,) = [line for line in markdown(table).splitlines() if line.startswith("| crossdiff | real | direct")]
    assert direct.endswith("+0.050 (+0.050 to +0.050) |  |")


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


def test_a_table_that_could_not_be_made_is_refused_beforehand(tmp_path: Path) -> None:
    one = {"axes": {"arm": ["real"], "seed": [0]}}
    two = {"axes": {"arm": ["control"], "split.seed": [1, 2], "seed": [0]}}
    with pytest.raises(ParamsError, match="means several rows"):
        check_rows(*open_study(tmp_path, grids=[one, two], reference={"arm": "control"}))
    splits = {"0": {"seed": 0, "split.seed": 0}, "1": {"seed": 1, "split.seed": 1}}
    grids = [{"axes": {"arm": ["real"], "seed": splits}}]
    with pytest.raises(ParamsError, match=r"seed=1: split\.seed: expected 0 as in seed 0, found 1: a row has the same"):
        check_rows(*open_study(tmp_path, grids=grids))
    bundles = {"0": {"seed": 0, "scales.full.sample.seed": 0}, "1": {"seed": 1, "scales.full.sample.seed": 1}}
    check_rows(*open_study(tmp_path, grids=[{"axes": {"arm": ["real"], "seed": bundles}}]))


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
    assert any(line.startswith("Bounds of two or three seeds") for line in lines)


def test_a_gain_of_fewer_seeds_than_its_reference_says_so(tmp_path: Path) -> None:
    study, jobs = open_study(tmp_path, reference={"arm": "supervised"})
    results = by_label(jobs, supervised_0=rows_of(0.5), supervised_1=rows_of(0.3), real_0=rows_of(0.6))
    lines = markdown(table_of(tmp_path, study, jobs, results)).splitlines()
    (real,) = [line for line in lines if line.startswith("| real")]
    assert "+0.100 (+0.100 to +0.100), 1 seed |" in real


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
