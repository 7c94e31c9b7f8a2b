"""The stage; groups, protocols, ranks and reports are tested in tests/pipelines/splitting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.datasets.case import PARTS
from pipelines.datasets.phantom.plan import plan
from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import read_csv, write_csv, write_json, write_manifest
from pipelines.runtime.errors import DataError
from pipelines.runtime.stage import execute
from pipelines.split import STAGE
from pipelines.splitting.literature import published_lists, published_names
from pipelines.splitting.parts import unit_hash
from tests.support.split_sets import Rows, case, pair
from tests.support.workspaces import smoke_params


def write_workspace(root: Path, cases: Rows, duplicates: Rows | None = None, **split: Any) -> Path:
    """What `prepare` would have left for `split`; the literature's lists are known for BUSI alone."""
    name = "busi" if split.get("protocol") == "literature" else "phantom"

    def edit(tree: dict[str, Any]) -> None:
        tree["dataset"] = name
        tree["split"].update(split)

    (root / "params.yaml").write_bytes(smoke_params(edit))
    prepared = root / "data" / "prepared"
    prepared.mkdir(parents=True)
    write_csv(prepared / "cases.csv", cases, tuple(cases[0]))
    write_csv(prepared / "duplicates.csv", duplicates or [], ("a", "b", "kind"))
    write_json(prepared / "dataset.json", {"name": name, "adapter": name})
    write_manifest(prepared, dataset=name)
    return root


def run_split(root: Path) -> Path:
    execute(STAGE, load_params(root / "params.yaml"), root, {})
    return root / "data" / "split"


def test_a_class_absent_from_train_stops_the_stage(tmp_path: Path) -> None:
    lost = next(f"m{k}" for k in range(99) if unit_hash(default_seed(), "phantom", f"m{k}") > 0.8)
    cases = [case(f"c{index}") for index in range(60)] + [case(lost, "", "malignant")]
    with pytest.raises(DataError, match="train holds 0 images of malignant, needed 1"):
        run_split(write_workspace(tmp_path, cases))
    assert not (tmp_path / "data" / "split").exists()


def default_seed() -> int:
    return int(yaml.safe_load(smoke_params())["split"]["seed"])


def phantom_cases(count: int) -> Rows:
    """The patients of the phantom that the default params make."""
    block = yaml.safe_load(smoke_params())["datasets"]["phantom"]
    views = plan(block["seed"], count, tuple(block["classes"]), block["site_b"])
    return [
        case(
            view.case,
            f"patient-{view.patient:04d}",
            view.class_name,
            "external" if view.site == "B" else "",
            0.05,
            view.site,
        )
        for view in views
    ]


@pytest.mark.parametrize("count", [240, 780])
def test_default_seed_keeps_the_tolerance_on_the_phantom(tmp_path: Path, count: int) -> None:
    folder = run_split(write_workspace(tmp_path, phantom_cases(count)))
    assert json.loads((folder / "leakage.json").read_text())["warnings"] == []


def test_stage_on_the_smoke_phantoms_patients(tmp_path: Path) -> None:
    """The default seed gives train and test each class at 48 images too."""
    cases = phantom_cases(48)
    folder = run_split(write_workspace(tmp_path, cases))
    rows = read_csv(folder / "split.csv")
    assert len(rows) == 48
    assert {row["part"] for row in rows} == set(PARTS)
    train = {row["case"] for row in rows if row["part"] == "train"}
    labels = read_csv(folder / "labels.csv")
    assert {row["case"] for row in labels} == train
    group = {row["case"]: row["group"] for row in rows}
    assert len({(group[row["case"]], row["label_rank"]) for row in labels}) == len({group[name] for name in train})
    report = json.loads((folder / "leakage.json").read_text())
    assert report["groups_that_cross_parts"] == 0
    assert sum(report["parts"][part]["images"] for part in PARTS) == 48
    assert all(min(report["parts"][part]["classes"].values()) >= 1 for part in ("train", "test"))
    assert report["sites"]["B"]["test"] == sum(row["site"] == "B" for row in cases) > 0
    assert report["sites"]["B"]["train"] == report["sites"]["B"]["val"] == 0
    assert {row["leaked"] for row in rows} == {"false"}
    assert report["protocol"] == "clean"


def test_a_class_that_only_another_site_has_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [case(f"c{index}") for index in range(60)] + [case("x", "", "malignant", official="external")]
    rows = read_csv(run_split(write_workspace(tmp_path, cases)) / "split.csv")
    assert rows[-1]["part"] == "test"
    assert "warning: train holds no image of class malignant" in capsys.readouterr().out


def test_literature_lists_leak_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One near-duplicate on either side of the lists; each group has one rank though its members are cut apart."""
    trained, scored = published_lists(64)
    cases = [case(name, "", name.split()[0]) for name in published_names()]
    near = [pair(scored[0], trained[0]), pair(trained[0], trained[1])]
    folder = run_split(write_workspace(tmp_path, cases, near, protocol="literature", literature_seed=64))
    rows = {row["case"]: row for row in read_csv(folder / "split.csv")}
    assert {name for name, row in rows.items() if row["part"] == "test"} == set(scored)
    assert [name for name, row in rows.items() if row["leaked"] == "true"] == [scored[0]]
    labels = {row["case"]: row["label_rank"] for row in read_csv(folder / "labels.csv")}
    assert set(labels) == {name for name, row in rows.items() if row["part"] == "train"}
    assert labels.get(trained[0]) == labels.get(trained[1])
    report = json.loads((folder / "leakage.json").read_text())
    assert report["test"]["leaked_images"] == report["groups_that_cross_parts"] == 1
    assert report["literature"]["seed"] == 64
    assert "warning: 1 of 195 test images (0.5%) have a near-duplicate" in capsys.readouterr().out
