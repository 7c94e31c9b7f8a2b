"""Evaluation of a tiny untrained U-Net, as a stage in a made-up workspace."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pipelines.params.loader import load_params, select
from pipelines.runtime.artifacts import (
    read_csv,
    read_json,
    save_array,
    verify_folder,
    write_csv,
    write_json,
    write_manifest,
)
from pipelines.runtime.stage import run_stage
from segmentation.evaluate import STAGES, dice_by_call, modes_of, numbers, stage_of, subsets
from segmentation.inference import predict_rows
from segmentation.metrics import dice
from segmentation.scores import COLUMNS
from segmentation.system import SystemConfig, build_system, load_system, save_system
from tests.support.workspaces import smoke_params

pytestmark = pytest.mark.filterwarnings("ignore:.timm-. encoders are deprecated")

SIZE, COUNT = 64, 9
PARTS = ["train"] * 2 + ["val"] + ["test"] * 6
LEAKED = (4, 6)
HOSTILE = "../../x <b>"


def publish(folder: Path, **facts: Any) -> None:
    write_manifest(
        folder, **({"dataset": "phantom", "params": {}, "arguments": {}, "inputs": {}, "versions": {}} | facts)
    )


def make_data(root: Path) -> None:
    """Six test images: five with a bright disk as lesion, the last one without a lesion."""
    folder = root / "data" / "prepared"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:SIZE, :SIZE]
    centers = rng.integers(20, 44, (COUNT, 2))
    labels = np.stack([(yy - y) ** 2 + (xx - x) ** 2 < 144 for y, x in centers]).astype(np.uint8)
    labels[-1] = 0
    save_array(folder / "images.npy", (40 + 120 * labels + rng.integers(0, 40, labels.shape)).astype(np.uint8))
    save_array(folder / "labels.npy", labels)
    natives = {f"{row:06d}": np.kron(label, np.ones((2, 2), np.uint8)) for row, label in enumerate(labels)}
    np.savez_compressed(folder / "native_labels.npz", **natives)
    names = [HOSTILE if row == 3 else f"c{row}" for row in range(COUNT)]
    place = {"inner_top": 0, "inner_left": 0, "inner_height": SIZE, "inner_width": SIZE}
    native = {"width": 2 * SIZE, "height": 2 * SIZE, "spacing_x": "0.1", "spacing_y": "0.1"}
    sites = ["A"] * 7 + ["B"] * 2
    rows = [{"case": n, "class": "benign", "site": s, **place, **native} for n, s in zip(names, sites, strict=True)]
    write_csv(folder / "cases.csv", rows, tuple(rows[0]))
    facts = {"name": "phantom", "phantom": True, "foreground": ["lesion"], "classes": ["benign"], "resize": "stretch"}
    write_json(folder / "dataset.json", facts)
    publish(folder)
    split = root / "data" / "split"
    split.mkdir()
    lines = [
        {"case": name, "part": part, "group": f"g{row}", "leaked": row in LEAKED}
        for row, (name, part) in enumerate(zip(names, PARTS, strict=True))
    ]
    write_csv(split / "split.csv", lines, ("case", "part", "group", "leaked"))
    publish(split)


def make_audit(root: Path, samples: np.ndarray) -> None:
    folder = root / "data" / "synthetic"
    folder.mkdir()
    save_array(folder / "images.npy", samples)
    publish(folder)
    audit = root / "data" / "audit"
    audit.mkdir()
    kept = [{"sample": f"s{row}", "row": row} for row in range(len(samples))]
    write_csv(audit / "kept.csv", kept, ("sample", "row"))
    write_json(audit / "metrics.json", {"detector": {"tau": {"pixels": 0.9}, "ratio": 0.33}})
    publish(audit, params={"audit": {"hard_ncc": 0.95}})


def make_segmenter(root: Path, arm: str) -> None:
    params = load_params(root / "params.yaml")
    config = SystemConfig(
        system="unet",
        classes=1,
        width=0.25,
        mean=0.5,
        std=0.5,
        encoder=params.segmenter.encoder.model_copy(update={"weights": "none"}),
        mask_diffusion=params.segmenter.mask_diffusion,
        semi=params.segmenter.semi,
        augment=params.segmenter.augment,
        method=select(params, "segmenter.unet"),
        size=SIZE,
        resize="stretch",
        foreground=["lesion"],
        dataset="phantom",
        phantom=True,
        arm=arm,
        seed=0,
    )
    torch.manual_seed(0)
    folder = root / "models" / "segmenter" / f"{arm}-0"
    folder.mkdir(parents=True)
    save_system(build_system(config), folder)
    publish(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("evaluate")
    (root / "params.yaml").write_bytes(smoke_params())
    make_data(root)
    prepared = np.load(root / "data" / "prepared" / "images.npy")
    noise = np.random.default_rng(1).integers(0, 255, (2, SIZE, SIZE)).astype(np.uint8)
    make_audit(root, np.concatenate([noise, prepared[3:4]]))
    make_segmenter(root, "supervised")
    make_segmenter(root, "both")
    for arm in ("supervised", "both"):
        assert run_stage(stage_of(arm), ["--arm", arm, "--seed", "0"], root=root) == 0
    return root


def test_one_row_per_test_image_and_no_nan(root):
    rows = read_csv(root / "results" / "supervised-0" / "per_case.csv")
    assert [row["case"] for row in rows] == [HOSTILE, "c4", "c5", "c6", "c7", "c8"]
    assert tuple(rows[0]) == COLUMNS
    assert {row["mode"] for row in rows} == {"direct"}
    assert rows[0]["group"] == "g3"
    assert not [value for row in rows for value in row.values() if value.lower() in ("nan", "inf")]
    assert float(rows[0]["hd95_mm"]) == pytest.approx(0.1 * float(rows[0]["hd95_native"]))
    assert rows[-1]["ece_box"] == ""


def test_numbers_keep_lesion_free_images_apart(root):
    table = read_json(root / "results" / "supervised-0" / "metrics.json")
    rows = read_csv(root / "results" / "supervised-0" / "per_case.csv")
    found = table["modes"]["direct"]["lesion"]
    assert found["lesion"]["images"] == 5
    assert found["lesion"]["dice"]["mean"] == pytest.approx(np.mean([float(row["dice"]) for row in rows[:5]]))
    assert found["lesion_free"]["images"] == 1
    assert (table["arm"], table["seed"], table["primary"], table["phantom"]) == ("supervised", 0, "direct", True)
    assert table["views"] == 1
    assert "copies_of_test" not in table


def test_scores_without_the_leaked_images_and_by_site(root):
    table = read_json(root / "results" / "supervised-0" / "metrics.json")
    rows = read_csv(root / "results" / "supervised-0" / "per_case.csv")
    assert [row["leaked"] for row in rows] == ["false", "true", "false", "true", "false", "false"]
    dice = {row["case"]: float(row["dice"]) for row in rows}
    clean = table["clean_subset"]
    assert (table["leaked_images"], clean["images"]) == (2, 4)
    found = clean["modes"]["direct"]["lesion"]
    assert found["lesion"]["dice"]["mean"] == pytest.approx(np.mean([dice[HOSTILE], dice["c5"], dice["c7"]]))
    assert found["lesion_free"]["images"] == 1
    assert {site: block["images"] for site, block in table["sites"].items()} == {"A": 4, "B": 2}
    second = table["sites"]["B"]["modes"]["direct"]["lesion"]["lesion"]
    assert (second["images"], second["dice"]["mean"]) == (1, pytest.approx(dice["c7"]))


def test_uncertainty_of_each_mode_stands_in_the_numbers(root):
    table = read_json(root / "results" / "supervised-0" / "metrics.json")
    rows = read_csv(root / "results" / "supervised-0" / "per_case.csv")
    found = table["modes"]["direct"]["lesion"]["uncertainty"]
    each = [float(row["error_auroc"]) for row in rows if row["error_auroc"]]
    assert found["error_auroc"]["mean"] == pytest.approx(np.mean(each))
    assert 0.0 <= found["pooled"]["error_auroc"] <= 1.0
    referral = found["referral"]
    assert referral["images"] == 5
    assert [line["share"] for line in referral["table"]] == [0.0, 0.05, 0.1, 0.2, 0.3]
    lesion = sorted(rows[:5], key=lambda row: -float(row["uncertainty"]))
    kept = np.mean([float(row["dice"]) for row in lesion[1:]])
    assert referral["table"][3]["uncertainty"] == pytest.approx(kept)
    assert "seed_agreement" not in table  # nothing is drawn in the direct mode


def test_one_site_without_leaks_has_no_further_blocks():
    rows = [{"case": "a", "leaked": False, "site": ""}]
    assert subsets(rows, [], [], 10) == {"leaked_images": 0}
    assert set(subsets([*rows, {"case": "b", "leaked": False, "site": "B"}], [], [], 10)["sites"]) == {"unnamed", "B"}


def test_copy_of_a_test_image_is_counted_for_synthetic_arms(root):
    table = read_json(root / "results" / "both-0" / "metrics.json")
    assert table["copies_of_test"] == {"samples": 3, "flagged": 1, "hard": 1}


def test_overlays_stay_inside_and_are_named_by_number(root):
    folder = root / "results" / "supervised-0" / "overlays"
    lines = read_csv(folder / "overlays.csv")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*(line["file"] for line in lines), "overlays.csv"])
    assert {line["kind"] for line in lines} == {"best", "median", "worst"}
    assert HOSTILE in {line["case"] for line in lines}
    assert "c8" not in {line["case"] for line in lines}


def test_again_gives_the_same_bytes(root):
    first = verify_folder(root / "results" / "supervised-0")
    assert run_stage(STAGES["evaluate"], ["--arm", "supervised", "--seed", "0"], root=root) == 0
    assert verify_folder(root / "results" / "supervised-0").files == first.files


def test_views_are_averaged_and_counted(root):
    folder = root / "results" / "supervised-0"
    plain, probabilities = read_csv(folder / "per_case.csv"), predicted(root, views=3)
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(yaml.safe_dump(change(yaml.safe_load(text), views=3)))
    try:
        assert run_stage(STAGES["evaluate"], ["--arm", "supervised", "--seed", "0"], root=root) == 0
        table, rows = read_json(folder / "metrics.json"), read_csv(folder / "per_case.csv")
    finally:
        (root / "params.yaml").write_text(text)
        assert run_stage(STAGES["evaluate"], ["--arm", "supervised", "--seed", "0"], root=root) == 0
    labels = np.load(root / "data" / "prepared" / "labels.npy")[3:]
    assert table["views"] == 3
    expected = [dice(p[0] >= 0.5, label == 1) for p, label in zip(probabilities, labels, strict=True)]
    assert [float(row["dice"]) for row in rows] == pytest.approx(expected, abs=1e-6)
    assert [row["ece_box"] for row in rows] != [row["ece_box"] for row in plain]


def predicted(root: Path, views: int) -> np.ndarray:
    system = load_system(root / "models" / "segmenter" / "supervised-0")
    images = np.load(root / "data" / "prepared" / "images.npy")[3:]
    return predict_rows(system, images, list("abcdef"), steps=1, seeds=1, mode="direct", views=views).probability


def change(tree: dict[str, Any], **values: Any) -> dict[str, Any]:
    tree["evaluate"].update(values)
    return tree


def test_stages_by_arm():
    assert [stage_of(arm).name for arm in ("real", "all_labels", "both", "phantom")] == [
        "evaluate",
        "evaluate",
        "evaluate_synthetic",
        "evaluate_phantom",
    ]
    assert "audit" not in STAGES["evaluate"].inputs
    assert set(STAGES["evaluate_synthetic"].inputs) == {"prepared", "split", "segmenter", "synthetic", "audit"}


def test_modes_are_named_for_what_was_computed():
    p, direct = np.ones((2, 1, 4, 4)), np.zeros((2, 1, 4, 4))
    diffusion, twin = (
        SimpleNamespace(method=SimpleNamespace(twin="none")),
        SimpleNamespace(method=SimpleNamespace(twin="zero")),
    )
    assert list(modes_of(diffusion, "refine", p, {"direct": direct})) == ["refine", "direct"]
    assert list(modes_of(twin, "refine", p, {"direct": direct})) == ["twin", "direct"]
    assert list(modes_of(diffusion, "refine", p, {"direct": p})) == ["direct"]
    assert list(modes_of(diffusion, "refine", p, {})) == ["direct"]


def test_dice_by_call_by_hand():
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[0, :2] = 1  # the second image has no lesion and does not count
    calls = np.zeros((2, 2, 1, 4, 4), np.float32)
    calls[0, 0, 0, :1] = 0.9
    calls[0, 1, 0, :2] = 0.9
    whole = {"inner_top": "0", "inner_left": "0", "inner_height": "4", "inner_width": "4"}
    cases = [whole, whole]
    assert dice_by_call(calls, labels, cases, ["lesion"]) == {"lesion": [pytest.approx(2 / 3), 1.0]}
    # of a letterbox the padding (its lower rows) does not count, whatever is predicted there
    calls[0, :, 0, 3] = 0.9
    cases[0] = {**whole, "inner_height": "3"}
    assert dice_by_call(calls, labels, cases, ["lesion"]) == {"lesion": [pytest.approx(2 / 3), 1.0]}


def test_numbers_of_nothing():
    assert numbers([], ["direct"], ["lesion"], 100)["modes"]["direct"]["lesion"]["lesion"]["images"] == 0
