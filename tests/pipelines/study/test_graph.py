"""The calls behind a result, from the real dvc.yaml, and what each one's key hangs on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.params.loader import parse_params, read_yaml
from pipelines.runtime.errors import ParamsError
from pipelines.study.graph import Call, Sources, calls_for, items_of, open_sources, resolve
from tests.support.workspaces import ROOT, smoke_params

STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]
DATA = {"prepare", "split", "pool"}


def calls(
    edit: Callable[[dict[str, Any]], None] = lambda tree: None,
    *,
    arm: str = "real",
    targets: tuple[str, ...] = ("evaluate",),
    changed: str = "",
) -> dict[str, Call]:
    """Stage -> its call (matrix items of a job are one per stage); changed: the dependency that is another one."""
    tree = yaml.safe_load(smoke_params())
    tree["arms"] = {"plain": [], "synthetic": [], "phantom": []}
    kind = {"real": "plain", "both": "synthetic", "phantom": "phantom"}[arm]
    tree["arms"][kind] = [arm]
    tree["segmenter"]["system"] = "unet"
    edit(tree)

    def hashed(name: str) -> str:
        return "other" if name == changed else "same"

    found, _ = calls_for(parse_params(tree, "test"), targets, Sources(STAGES, hashed, hashed, {}))
    return {call.stage: call for call in found.values()}


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        ("real", DATA | {"segment", "evaluate"}),
        (
            "both",
            DATA | {"autoencoder", "encode", "diffusion", "sample", "audit", "segment_synthetic", "evaluate_synthetic"},
        ),
        ("phantom", {"prepare", "split", "phantom_pool", "segment_phantom", "evaluate_phantom"}),
    ],
)
def test_an_arm_needs_these_stages(arm: str, expected: set[str]) -> None:
    assert set(calls(arm=arm)) == expected


def test_ancestors_come_first_and_inputs_are_named() -> None:
    found = calls()
    names = [call.name for call in found.values()]
    for call in found.values():
        assert all(names.index(maker) < names.index(call.name) for maker in call.inputs.values())
    segment = found["segment"]
    assert segment.command == ("segmentation.train", "--arm", "real", "--seed", "0")
    assert segment.output == "models/segmenter/real-0"
    places = {"data/prepared": "prepare", "data/split": "split", "data/pool": "pool"}
    assert segment.inputs == {place: found[stage].name for place, stage in places.items()}
    assert found["evaluate"].inputs["models/segmenter/real-0"] == segment.name
    assert (found["prepare"].raw, segment.raw) == (("phantom",), ())


def put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(tree: dict[str, Any]) -> None:
        for part in path[:-1]:
            tree = tree[part]
        tree[path[-1]] = value

    return edit


ALL = DATA | {"segment", "evaluate"}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (put("segmenter", "label_fraction", value=0.5), {"segment", "evaluate"}),
        (put("segmenter", "semi", "w_max", value=0.125), {"segment", "evaluate"}),
        (put("segmenter", "crossdiff", "aux_decoders", value=1), set()),  # of the system that is not selected
        (put("scales", "demo", "prepare", "size", value=128), set()),  # of the scale that is not selected
        (put("scales", "smoke", "segment", "lr", value=0.5), {"segment", "evaluate"}),
        (put("scales", "smoke", "prepare", "size", value=128), ALL),
        (put("split", "seed", value=2), ALL - {"prepare"}),
        (put("evaluate", "bootstrap", value=100), {"evaluate"}),
        (put("runtime", "threads", value=2), {"segment", "evaluate"}),
        (put("seeds", value=[1]), {"segment", "evaluate"}),
        (put("audit", "seed", value=9), set()),
        (put("unlabeled", value=["stu"]), {"pool", "prepare_unlabeled", "segment", "evaluate"}),
        (put("dataset", value="busi"), ALL),
    ],
)
def test_a_change_of_params_changes_exactly_these_keys(
    edit: Callable[[dict[str, Any]], None], expected: set[str]
) -> None:
    before, after = calls(), calls(edit)
    assert {stage for stage in after if stage not in before or after[stage].key != before[stage].key} == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("segmentation/systems/unet.py", {"segment", "evaluate"}),
        ("segmentation/systems/crossdiff.py", set()),
        ("segmentation/evaluate.py", {"evaluate"}),
        ("pipelines/pool.py", {"pool", "segment", "evaluate"}),
        ("pipelines/params", ALL),
        ("phantom", ALL),  # the raw folder
    ],
)
def test_a_change_of_a_dependency_changes_exactly_these_keys(changed: str, expected: set[str]) -> None:
    before, after = calls(), calls(changed=changed)
    assert {stage for stage in after if after[stage].key != before[stage].key} == expected


def test_arms_share_what_they_have_in_common() -> None:
    real, both = calls(), calls(arm="both")
    assert {stage for stage in real.keys() & both.keys() if real[stage].key == both[stage].key} == DATA


def test_further_datasets_are_inputs_of_pool() -> None:
    found = calls(put("unlabeled", value=["stu"]))
    assert found["pool"].inputs["data/unlabeled/stu"] == found["prepare_unlabeled"].name
    assert found["prepare_unlabeled"].command == ("pipelines.prepare_unlabeled", "--name", "stu")
    assert found["prepare_unlabeled"].raw == ("stu",)


def test_targets_are_stages_or_kinds_of_them() -> None:
    assert "audit" in calls(targets=("audit",))
    assert set(calls(targets=("segment",), arm="phantom")) & {"segment_phantom", "evaluate_phantom"} == {
        "segment_phantom"
    }
    with pytest.raises(ParamsError, match="no stage serves 'evaluat'"):
        calls(targets=("evaluat",))


def test_resolve() -> None:
    tree = {"a": {"b": [1, 2]}, "name": "x"}
    assert resolve("${a.b}", tree, {}) == [1, 2]
    assert resolve("m-${item.arm}/${name}", tree, {"arm": "real"}) == "m-real/x"
    with pytest.raises(ParamsError, match=r"params has no 'a\.c'"):
        resolve("${a.c}", tree, {})


def test_a_matrix_is_a_product_and_an_empty_list_gives_nothing() -> None:
    stage = {
        "matrix": {"arm": "${arms}", "seed": [0, 1]},
        "cmd": "exec python -m m --s ${item.seed}",
        "outs": ["o/${item.arm}-${item.seed}"],
    }
    assert [item.output for item in items_of("s", stage, {"arms": ["a", "b"]})] == ["o/a-0", "o/a-1", "o/b-0", "o/b-1"]
    assert items_of("s", stage, {"arms": []}) == []
    with pytest.raises(ParamsError, match="expected a command"):
        items_of("s", {**stage, "cmd": "make it"}, {"arms": ["a"]})


def test_what_no_key_would_hang_on_is_refused() -> None:
    def with_dep(dep: str) -> dict[str, Call]:
        stages = {**STAGES, "split": {**STAGES["split"], "deps": [*STAGES["split"]["deps"], dep]}}
        params = parse_params(yaml.safe_load(smoke_params()), "test")
        return calls_for(params, ("split",), Sources(stages, lambda _: "", lambda _: "", {}))[0]

    # a folder above outputs whose matrix is empty here, and one below it
    assert [call.stage for call in with_dep("data/unlabeled").values()] == ["prepare", "split"]
    assert len(with_dep("data/unlabeled/stu")) == 2
    for dep in ("docs/prices.csv", "data/unlabelled", "params.yaml", "results/real-0/per_case.csv"):
        with pytest.raises(ParamsError, match=f"split: {dep}: expected sources"):
            with_dep(dep)


def test_another_version_of_a_package_changes_every_key() -> None:
    params = parse_params(yaml.safe_load(smoke_params()), "test")
    keys = [
        {call.key for call in calls_for(params, ("pool",), Sources(STAGES, str, str, {"torch": version}))[0].values()}
        for version in ("2.0", "2.0", "2.1")
    ]
    assert keys[0] == keys[1]
    assert not keys[0] & keys[2]


def test_sources_hash_the_folder_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "m.py").write_text("1")
    first = open_sources(tmp_path, tmp_path).code_hash("m.py")
    (tmp_path / "m.py").write_text("2")
    assert open_sources(tmp_path, tmp_path).code_hash("m.py") != first
