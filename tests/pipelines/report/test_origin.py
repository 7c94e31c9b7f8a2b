"""A folder of other params, or made from other folders, is refused by the report and named by the partial one."""

import re
from pathlib import Path

import pytest
import yaml

from pipelines.params.loader import read_yaml
from pipelines.report.__main__ import STAGE, partial_stage
from pipelines.report.origin import ABSENT, ORDER, first_difference, trace
from pipelines.runtime.artifacts import read_json, read_manifest
from pipelines.runtime.errors import ArtifactError, RefusedError
from pipelines.runtime.stage import run_stage
from tests.support.report_world import GENERATOR, World

ROOT = Path(__file__).resolve().parents[3]
NEVER_READ = ("phantom_pool", "prepare_unlabeled")  # the stages whose manifests the report does not open


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path).everything()


def folders(world: World) -> dict[str, Path]:
    return {name: world.root / STAGE.inputs[name] for name in ORDER}


def change(world: World, block: str, key: str, value: int) -> None:
    """Edit a block of the selected scale, or of the root, in params.yaml."""
    tree = read_yaml(world.root / "params.yaml")
    (tree if block == "audit" else tree["scales"]["smoke"])[block][key] = value
    (world.root / "params.yaml").write_text(yaml.safe_dump(tree))


def test_all_true_folders_are_kept(world):
    kept, notices = trace(folders(world), world.selection(), False)
    assert tuple(kept) == ORDER
    assert notices == []


@pytest.mark.parametrize(
    ("block", "key", "value", "folder", "lost"),
    [
        ("audit", "kid_draws", 7, "data/audit", ("audit",)),
        ("sample", "seed", 9, "data/synthetic", ("synthetic", "audit")),
        ("diffusion", "total_steps", 99, "models/diffusion", ("diffusion", "synthetic", "audit")),
        ("autoencoder", "seed", 5, "models/autoencoder", ORDER[3:]),
    ],
)
def test_folder_of_other_params_goes_with_all_that_was_made_from_it(world, capsys, block, key, value, folder, lost):
    old = world.blocks(STAGE.params.values())[STAGE.params[block]][key]
    change(world, block, key, value)
    assert run_stage(STAGE, [], root=world.root) == 1
    message = capsys.readouterr().err
    assert folder in message
    assert re.search(rf"{block}\.{key} {value}, found {old}; run `dvc repro`", message)
    kept, notices = trace(folders(world), world.selection(), True)
    assert tuple(kept) == tuple(name for name in ORDER if name not in lost)
    assert len(notices) == len(lost)
    assert folder in notices[0]


def test_partial_page_of_an_old_audit_shows_neither_it_nor_its_arms(world, capsys):
    change(world, "audit", "kid_draws", 7)
    assert run_stage(partial_stage(), [], root=world.root) == 0
    numbers = read_json(world.root / "report" / "metrics.json")
    assert (numbers["verdict"], numbers["both"]) == ("not run", "not run")
    assert numbers["supervised"]["images"] == 5
    html = (world.root / "report" / "index.html").read_text()
    assert re.search(r"left out: \S*data/audit: expected audit\.kid_draws 7, found 20", html)
    assert re.search(r"left out: \S*both-0: expected its input audit as params makes it", html)


def test_audit_of_older_samples(world, capsys):
    old = read_manifest(world.root / "data" / "synthetic").sha256
    world.publish_known("data/synthetic", versions={"numpy": "3"})
    new = read_manifest(world.root / "data" / "synthetic").sha256
    assert run_stage(STAGE, [], root=world.root) == 1
    message = capsys.readouterr().err
    for text in ("data/audit", "synthetic", new[:12], old[:12], "dvc repro"):
        assert text in message
    assert tuple(trace(folders(world), world.selection(), True)[0]) == ORDER[:-1]


def test_partial_page_leaves_out_another_dataset(world, capsys):
    for folder in list(GENERATOR)[2:]:
        world.publish_known(folder, dataset="busi")
    assert run_stage(partial_stage(), [], root=world.root) == 0
    html = (world.root / "report" / "index.html").read_text()
    assert len(re.findall(r"left out: \S+ expected dataset &#39;phantom&#39;, found &#39;busi&#39;", html)) == 5
    assert run_stage(STAGE, [], root=world.root) == 1
    assert "expected dataset 'phantom', found 'busi'" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["data/prepared", "data/split"])
def test_no_page_without_data_of_these_params(world, folder):
    world.publish_known(folder, params={"split": {"seed": 77}})
    with pytest.raises(RefusedError, match=folder):
        trace(folders(world), world.selection(), True)


def test_partial_page_passes_over_no_damage(world):
    (world.root / "data" / "audit" / "kept.csv").write_text("sample,row\n")
    with pytest.raises(ArtifactError, match=r"kept\.csv"):
        trace(folders(world), world.selection(), True)


def test_message_names_the_leaf():
    assert first_difference("a", {"b": {"c": 1, "d": 2}}, {"b": {"c": 1, "d": 3}}) == ("a.b.d", 2, 3)
    assert first_difference("a", {"b": 1}, {}) == ("a.b", 1, ABSENT)
    assert first_difference("a", 1, 1) == ("a", 1, 1)


def test_the_report_declares_every_parameter_that_a_manifest_may_record():
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    stages = {name: set(stage["params"]) for name, stage in stages.items() if name not in NEVER_READ}
    declared = stages.pop("report")
    assert set().union(*stages.values()) - {"dataset"} <= declared
