"""The whole pipeline under DVC at scale smoke: once for real, then what a second run and small edits cost.

What an edit would run is read from `dvc status`, which compares hashes and runs nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from pipelines import demo
from pipelines.flows import dvc
from pipelines.flows.dvc import Outcome
from pipelines.runtime.artifacts import read_json
from tests.support.workspaces import make_smoke, project_environment, smoke_params, tree_hashes

pytestmark = pytest.mark.e2e

GENERATOR = {"prepare", "split", "pool", "autoencoder", "encode", "diffusion", "sample", "audit"}
SEGMENTER = {"segment@supervised-0", "segment_synthetic@both-0"}
EVALUATION = {"evaluate@supervised-0", "evaluate_synthetic@both-0"}
ALL = GENERATOR | SEGMENTER | EVALUATION | {"report"}
DATA = ("data/prepared", "data/split", "data/pool", "data/latents", "data/synthetic", "data/audit")
OUTPUTS = (*DATA, "models", "results", "report")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which `dvc repro` ran through once."""
    folder = make_smoke(tmp_path_factory.mktemp("repro") / "smoke")
    started = time.monotonic()
    outcomes = dvc.repro(folder)
    print(f"\ndvc repro at scale smoke: {time.monotonic() - started:.1f} s")
    for stage, seconds in demo.durations(folder):
        print(f"  {stage:<32}{seconds:6.1f} s")
    assert outcomes == dict.fromkeys(outcomes, Outcome.RAN)
    assert set(outcomes) == ALL
    return folder


@pytest.fixture
def edit_params(smoke: Path) -> Iterator[Callable[[Callable[[dict[str, Any]], None]], None]]:
    """`edit_params(change)` writes edited parameters; they are as before after the test."""
    yield lambda change: (smoke / "params.yaml").write_bytes(smoke_params(change))
    (smoke / "params.yaml").write_bytes(smoke_params())


@pytest.fixture
def edit_source(smoke: Path) -> Iterator[Callable[[str], None]]:
    """`edit_source(path)` adds a comment to a source file of the workspace, for the time of the test."""
    before: dict[Path, bytes] = {}

    def add_comment(name: str) -> None:
        path = smoke / name
        before[path] = path.read_bytes()
        path.write_bytes(before[path] + b"# edited\n")

    yield add_comment
    for path, content in before.items():
        path.write_bytes(content)


def draw_folder(folder: Path, count: int) -> None:
    """A small dataset of the user's own: dark ellipses in noise, with their masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        mask = Image.new("L", (96, 80))
        left, top, width, height = rng.integers([5, 5, 20, 15], [40, 30, 50, 40])
        ImageDraw.Draw(mask).ellipse((left, top, left + width, top + height), fill=255)
        inside = np.asarray(mask) > 0
        coarse = np.kron(rng.uniform(60, 220, (10, 12)), np.ones((8, 8)))
        image = np.where(inside, 0.4, 1.0) * coarse * rng.uniform(0.8, 1.1, inside.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"case_{index:03d}.png")
        mask.save(folder / "masks" / f"case_{index:03d}.png")


def test_one_run_makes_the_report(smoke):
    page = (smoke / "report/index.html").read_text(encoding="utf-8")
    assert "phantom" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert list(smoke.rglob("*.partial")) == []
    assert dvc.changed(smoke) == set()


def test_a_second_run_runs_nothing(smoke):
    started = time.monotonic()
    outcomes = dvc.repro(smoke)
    seconds = time.monotonic() - started
    print(f"\nno-op dvc repro: {seconds:.1f} s")
    assert outcomes == dict.fromkeys(outcomes, Outcome.UNCHANGED)
    assert set(outcomes) == ALL
    assert seconds < 20  # 3 s on two idle cores; the tests may share theirs


def test_a_block_that_is_not_selected_changes_nothing(smoke, edit_params):
    def change(tree: dict[str, Any]) -> None:
        tree["datasets"]["busi"]["classes"] = ["benign"]
        tree["scales"]["full"]["diffusion"]["lr"] = 0.5
        tree["segmenter"]["unet"]["semi"] = "fixmatch"

    edit_params(change)
    assert dvc.changed(smoke) == set()


def test_the_label_fraction_touches_no_generator_stage(smoke, edit_params):
    edit_params(lambda tree: tree["segmenter"].update(label_fraction=0.25))
    changed = dvc.changed(smoke)
    assert changed & GENERATOR == set()
    assert changed >= SEGMENTER


def test_another_arm_trains_that_arm_alone(smoke, edit_params):
    edit_params(lambda tree: tree["arms"].update(plain=["supervised", "control"]))
    assert dvc.changed(smoke) == {"segment@control-0", "evaluate@control-0", "report"}


def test_evaluation_parameters_train_nothing(smoke, edit_params):
    edit_params(lambda tree: tree["evaluate"].update(ece_bins=10))
    assert dvc.changed(smoke) == EVALUATION | {"report"}


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("pipelines/check.py", set()),
        ("pipelines/flows/flow.py", set()),
        ("pipelines/split.py", {"split"}),
        ("generative/diffusion/sample.py", {"sample"}),
        ("segmentation/evaluate.py", EVALUATION),
        ("segmentation/systems/unet.py", set()),
        ("pipelines/datasets/adapters/bus_bra.py", {"prepare"}),  # a name in params may mean any adapter
        ("pipelines/runtime/stage.py", ALL),
    ],
)
def test_an_edited_source_runs_exactly_its_dependents(smoke, edit_source, path, changed):
    edit_source(path)
    assert dvc.changed(smoke) == changed


def test_a_swapped_dataset_and_back_runs_nothing_again(smoke, edit_params):
    before = tree_hashes(smoke, *OUTPUTS)
    draw_folder(smoke / "data/raw/folder", 24)
    edit_params(lambda tree: tree.update(dataset="folder"))
    assert dvc.repro(smoke, ["split"]) == {"prepare": Outcome.RAN, "split": Outcome.RAN}
    assert tree_hashes(smoke, "data/prepared") != {name: before[name] for name in before if "data/prepared" in name}
    edit_params(lambda tree: None)
    outcomes = dvc.repro(smoke)
    assert Outcome.RAN not in outcomes.values()
    assert outcomes["prepare"] is outcomes["split"] is Outcome.RESTORED
    assert tree_hashes(smoke, *OUTPUTS) == before


def test_another_system_by_one_line_and_back(smoke, edit_params):
    """The default one: the workspace has the other, which has more parts."""
    before = tree_hashes(smoke, *OUTPUTS)
    edit_params(lambda tree: tree["segmenter"].update(system="unet"))
    outcomes = dvc.repro(smoke)
    ran = {name for name, outcome in outcomes.items() if outcome is Outcome.RAN}
    assert ran == SEGMENTER | EVALUATION | {"report"}
    for arm in ("supervised-0", "both-0"):
        assert read_json(smoke / "models/segmenter" / arm / "config.json")["system"] == "unet"
        assert list(read_json(smoke / "results" / arm / "metrics.json")["modes"]) == ["direct"]
    edit_params(lambda tree: None)
    assert Outcome.RAN not in dvc.repro(smoke).values()
    assert tree_hashes(smoke, *OUTPUTS) == before


def test_an_unlabeled_set_runs_what_learns_from_it_and_its_removal_runs_nothing_more(smoke, edit_params):
    """The list is swapped there and back; only the stages that decide are run, what they would change is asked."""
    name, before, lock = "prepare_unlabeled@extra", tree_hashes(smoke, *OUTPUTS), (smoke / "dvc.lock").read_bytes()

    def listed(tree: dict[str, Any]) -> None:
        tree["datasets"]["extra"] = {**tree["datasets"]["folder"], "adapter": "folder"}
        tree["unlabeled"] = ["extra"]

    draw_folder(smoke / "data/raw/extra", 6)
    edit_params(listed)
    assert dvc.changed(smoke) == {name, "pool", "report"}
    kept = {"prepare": Outcome.UNCHANGED, "split": Outcome.UNCHANGED}
    assert dvc.repro(smoke, ["pool"]) == {**kept, name: Outcome.RAN, "pool": Outcome.RAN}
    assert len(np.load(smoke / "data/pool/images.npy")) == 6
    assert dvc.changed(smoke) == {"autoencoder", "encode", "audit", *SEGMENTER, "report"}
    edit_params(lambda tree: None)
    assert dvc.repro(smoke, ["pool"]) == {**kept, "pool": Outcome.RAN}  # data/unlabeled/extra lies there and is ignored
    assert tree_hashes(smoke, *OUTPUTS) == before
    assert dvc.changed(smoke) == set()
    edit_params(listed)
    assert dvc.repro(smoke, ["pool"]) == {**kept, name: Outcome.UNCHANGED, "pool": Outcome.RESTORED}
    edit_params(lambda tree: None)
    shutil.rmtree(smoke / "data/unlabeled/extra")
    assert dvc.repro(smoke, ["pool"]) == {**kept, "pool": Outcome.RESTORED}
    (smoke / "dvc.lock").write_bytes(lock)  # without the entry of the stage that is gone
    assert dvc.changed(smoke) == set()


def test_deleted_outputs_and_lock_are_restored_without_a_run(smoke):
    before, lock = tree_hashes(smoke, *OUTPUTS), (smoke / "dvc.lock").read_bytes()
    for name in OUTPUTS:
        shutil.rmtree(smoke / name)
    (smoke / "dvc.lock").unlink()
    assert dvc.repro(smoke) == dict.fromkeys(ALL, Outcome.RESTORED)
    assert tree_hashes(smoke, *OUTPUTS) == before
    assert yaml.safe_load((smoke / "dvc.lock").read_bytes()) == yaml.safe_load(lock)


def test_metrics_and_plots_are_shown_by_dvc(smoke):
    metrics = "\n".join(dvc.run_dvc(["metrics", "show", "--json"], smoke))
    assert "report/metrics.json" in metrics
    assert "data/audit/metrics.json" in metrics
    assert '"error"' not in metrics
    dvc.run_dvc(["plots", "show", "--out", str(smoke / ".state/plots")], smoke)
    shown = (smoke / ".state/plots/index.html").read_text(encoding="utf-8")
    for series in ("autoencoder", "diffusion", "supervised-0", "both-0"):  # a line of its own each
        assert f"report/curves/{series}.csv" in shown


def test_the_flow_finds_nothing_to_do(smoke):
    command = [sys.executable, "-m", "pipelines.flows.pipeline"]
    done = subprocess.run(
        command, cwd=smoke, env=project_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(ALL)} stages up to date" in done.stdout
    assert done.stderr.count(" unchanged ") == len(ALL)


@pytest.mark.slow
def test_a_forced_second_run_yields_the_same_bytes(smoke):
    before = tree_hashes(smoke, *OUTPUTS)
    dvc.run_dvc(["repro", "--force"], smoke)
    assert tree_hashes(smoke, *OUTPUTS) == before
