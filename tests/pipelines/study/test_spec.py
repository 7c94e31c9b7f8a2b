"""study.yaml: expansion by hand, and every fault with file, key and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.params.loader import read_yaml
from pipelines.runtime.errors import ParamsError
from pipelines.study.spec import Job, expand_jobs, flat, kind_of, load_study, params_of
from tests.support.study_world import write_study
from tests.support.workspaces import DEFAULT_PARAMS

BASE = read_yaml(DEFAULT_PARAMS)


def jobs_of(folder: Path, **content: Any) -> list[Job]:
    path = write_study(folder, **content)
    return expand_jobs(load_study(path), path)


def fault_of(folder: Path, **content: Any) -> str:
    with pytest.raises(ParamsError) as caught:
        [params_of(job, BASE) for job in jobs_of(folder, **content)]
    return str(caught.value)


def test_a_product_in_the_order_of_the_file(tmp_path: Path) -> None:
    axes = {"dataset": ["bus_bra", "busi"], "arm": ["real"], "seed": [0, 1]}
    jobs = jobs_of(tmp_path, grids=[{"axes": axes}])
    assert [job.label for job in jobs] == [
        "dataset=bus_bra arm=real seed=0",
        "dataset=bus_bra arm=real seed=1",
        "dataset=busi arm=real seed=0",
        "dataset=busi arm=real seed=1",
    ]
    assert [(job.arm, job.seed, dict(job.settings)) for job in jobs[1:3]] == [
        ("real", 1, {"dataset": "bus_bra"}),
        ("real", 0, {"dataset": "busi"}),
    ]


def test_grids_are_united_and_equal_jobs_count_once(tmp_path: Path) -> None:
    one = {"axes": {"arm": ["supervised", "real"], "seed": [0, 1]}}
    two = {"axes": {"arm": ["real", "control"], "seed": [1, 2]}}
    labels = [job.label for job in jobs_of(tmp_path, grids=[one, two])]
    assert labels == [
        "arm=supervised seed=0",
        "arm=supervised seed=1",
        "arm=real seed=0",
        "arm=real seed=1",
        "arm=real seed=2",
        "arm=control seed=1",
        "arm=control seed=2",
    ]


def test_a_named_axis_bundles_settings_the_arm_included(tmp_path: Path) -> None:
    method = {
        "plain": {"arm": "supervised"},
        "teacher": {"arm": "real", "segmenter": {"unet": {"semi": "mean_teacher"}}},
    }
    jobs = jobs_of(tmp_path, grids=[{"axes": {"method": method}, "set": {"seed": 3, "segmenter.system": "unet"}}])
    assert [(dict(job.axes), job.arm, job.seed, dict(job.settings)) for job in jobs] == [
        ({"method": "plain"}, "supervised", 3, {"segmenter.system": "unet"}),
        ({"method": "teacher"}, "real", 3, {"segmenter.system": "unet", "segmenter.unet.semi": "mean_teacher"}),
    ]


def test_an_axis_goes_before_its_grid_that_before_the_study_that_before_the_base(tmp_path: Path) -> None:
    (job,) = jobs_of(
        tmp_path,
        set={"split.seed": 5, "evaluate": {"overlays": 1, "bootstrap": 300}, "segmenter.label_fraction": 0.5},
        grids=[
            {
                "axes": {"arm": ["real"], "seed": [0], "split.seed": [7]},
                "set": {"split.seed": 6, "evaluate.overlays": 2},
            }
        ],
    )
    params = params_of(job, BASE)
    assert (params.split.seed, params.evaluate.overlays, params.evaluate.bootstrap) == (7, 2, 300)
    assert params.evaluate.margin == BASE["evaluate"]["margin"]  # blocks are merged
    assert params.segmenter.label_fraction == 0.5


def test_params_name_the_job_alone(tmp_path: Path) -> None:
    first, second = (
        params_of(job, BASE)
        for job in jobs_of(tmp_path, grids=[{"axes": {"arm": ["both", "real"]}, "set": {"seed": 4}}])
    )
    assert (first.arms.plain, first.arms.synthetic, first.arms.phantom, first.seeds) == ([], ["both"], [], [4])
    assert (second.arms.plain, second.arms.synthetic, second.arms.phantom) == (["real"], [], [])
    assert BASE["arms"]["plain"] == ["supervised"]  # the base is left alone


def test_blocks_are_merged_into_a_dataset(tmp_path: Path) -> None:
    (job,) = jobs_of(
        tmp_path,
        grids=[{"axes": {"arm": ["real"], "seed": [0]}}],
        set={"datasets.bus_bra": {"folds": [1, 2], "test_fold": 1}},
    )
    block = params_of(job, BASE).datasets["bus_bra"]
    assert block.model_dump() == {"adapter": "bus_bra", "folds": [1, 2], "test_fold": 1}


def test_flat() -> None:
    assert flat({"a.b": {"c": 1, "d": {"e": [2]}}, "f": {}, "a.b.c": 3}) == {"a.b.c": 3, "a.b.d.e": [2], "f": {}}


def test_arms_have_their_kind() -> None:
    kinds = {arm: kind_of(arm, "x") for arm in ("supervised", "all_labels", "both", "all_labels_synthetic", "phantom")}
    assert list(kinds.values()) == ["plain", "plain", "synthetic", "synthetic", "phantom"]


GRID = {"axes": {"arm": ["real"], "seed": [0]}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"refrence": {"arm": "real"}}, "refrence: unknown key; the nearest known one is 'reference'"),
        ({"grids": [{"axis": {}, **GRID}]}, "grids.0.axis: unknown key; the nearest known one is 'axes'"),
        ({"grids": []}, "grids: list should have at least 1 item"),
        ({"set": {"segmenter.sistem": "unet"}}, "segmenter.sistem: unknown key; the nearest known one is 'system'"),
        ({"set": {"segmenter.system": "unett"}}, "segmenter.system: "),
        ({"set": {"split.seed.x": 1}}, "split.seed.x: expected a block at 'seed', found 1"),
        ({"set": {"arms.plain": ["real"]}}, "arms: a job is one segmenter; write `arm`"),
        (
            {"grids": [{"axes": {"seed": [0]}}]},
            "arm: expected the name of an arm as an axis or below `set`, found None",
        ),
        ({"grids": [{"axes": {"arm": ["reel"], "seed": [0]}}]}, "unknown arm 'reel'; the nearest known one is 'real'"),
        ({"grids": [{"axes": {"arm": ["real"], "seed": [-1]}}]}, "seed: expected a number of at least 0"),
        (
            {"grids": [{"axes": {"arm": ["real", "real"], "seed": [0]}}]},
            "axes.arm: expected at least one value and each once",
        ),
        (
            {"grids": [{"axes": {"split.seed": [1, 2], "s": {"x": {"split": {"seed": 3}}}, **GRID["axes"]}}]},
            "axes split.seed and s both set split.seed; let one do it",
        ),
        ({"grids": [GRID, {**GRID, "set": {"split.seed": 2}}]}, "two rows would look alike"),
        ({"reference": {"am": "real"}}, "reference: no axis is named 'am'; the nearest is 'arm'"),
        ({"reference": {"arm": "suprvised"}}, "reference.arm: no row has 'suprvised'; the nearest is 'supervised'"),
        ({"compare": [[{"arm": "real"}]]}, "compare.0: list should have at least 2 items"),
        ({"compare": [[{"arm": "real"}, {"seed": 0}]]}, "compare.0: no axis is named 'seed'"),
        (
            {
                "grids": [GRID, {"axes": {"arm": ["control"], "split.seed": [2], "seed": [0]}}],
                "reference": {"arm": "real", "split.seed": 2},
            },
            "reference: no row has all of",
        ),
        (
            {"compare": [[{"arm": "real", "foreground": "a"}, {"arm": "supervised", "foreground": "b"}]]},
            "compare.0: foreground: expected one class on both sides, found ['a', 'b']",
        ),
        ({"grids": [{"axes": {"mode": {"x": {}}, **GRID["axes"]}}]}, "an axis cannot be named 'mode'"),
        ({"grids": [{"axes": {"dice_mean": {"x": {}}, **GRID["axes"]}}]}, "an axis cannot be named 'dice_mean'"),
        ({"pool": "fold"}, "pool: expected an axis to put together, found 'fold'; the nearest is 'arm'"),
        (
            {"pool": "fold", "grids": [{"axes": {"seed": [0]}, "set": {"arm": "real"}}]},
            "pool: expected an axis to put together, found 'fold'; there is none but seed",
        ),
        ({"metrics": ["dice", "dice"]}, "metrics: expected each once, found ['dice', 'dice']"),
        ({"metrics": ["dise"]}, "metrics: unknown metric 'dise'; the nearest known one is 'dice'"),
    ],
)
def test_faults_name_file_and_key(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    found = fault_of(tmp_path, **content)
    assert found.startswith(f"{tmp_path / 'study.yaml'}: ")
    assert said in found
