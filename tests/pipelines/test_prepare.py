from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipelines.datasets.case import load_prepared
from pipelines.params.loader import load_params
from pipelines.prepare import STAGE, edges_of, merge, pack_arrays
from pipelines.runtime.artifacts import read_csv, sha256_file
from pipelines.runtime.errors import DataError
from pipelines.runtime.stage import execute
from tests.support.workspaces import smoke_params


def scene(seed: int, height: int = 90, width: int = 120) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((height, width)), 6)
    return np.clip(120 + 40 * noise / noise.std(), 10, 240).astype(np.uint8)


def disc(height: int = 90, width: int = 120, radius: int = 20) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (np.hypot(y - height / 2, x - width / 2) < radius) * np.uint8(255)


def put(root: Path, name: str, image: np.ndarray, mask: np.ndarray | None) -> None:
    for kind, pixels in (("images", image), ("masks", mask)):
        (root / kind).mkdir(parents=True, exist_ok=True)
        if pixels is not None:
            Image.fromarray(pixels).save(root / kind / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with ten sound cases in data/raw/folder, one of them a near-duplicate."""

    def edit(tree: dict[str, Any]) -> None:
        tree["dataset"] = "folder"

    (tmp_path / "params.yaml").write_bytes(smoke_params(edit))
    raw = tmp_path / "data" / "raw" / "folder"
    for index in range(9):
        put(raw, f"case-{index}", scene(index), disc())
    put(raw, "twin", np.clip(scene(4).astype(int) + 5, 0, 255).astype(np.uint8), disc(radius=15))
    return tmp_path


def prepare(root: Path, **changes: Any) -> Path:
    params = load_params(root / "params.yaml")
    execute(STAGE, params.model_copy(update=changes), root, {})
    return root / "data" / "prepared"


def test_files_and_rows(root: Path) -> None:
    folder = prepare(root)
    prepared = load_prepared(folder)
    assert prepared.images.shape == prepared.labels.shape == (10, 64, 64)
    assert prepared.images.dtype == prepared.labels.dtype == np.uint8
    assert [case["case"] for case in prepared.cases] == [*(f"case-{index}" for index in range(9)), "twin"]
    first = prepared.cases[0]
    assert (first["width"], first["height"], first["class"]) == ("120", "90", "none")
    assert float(first["area"]) == pytest.approx((disc() > 0).mean(), abs=1e-6)
    assert [first[f"inner_{key}"] for key in ("top", "left", "height", "width")] == ["0", "0", "64", "64"]
    assert len(first["phash"]) == 16
    assert len(first["sha256_pixels"]) == 64
    assert np.array_equal(prepared.native_label(3), disc() // 255)
    assert set(np.unique(prepared.labels)) == {0, 1}
    assert prepared.dataset["foreground"] == ["lesion"]
    assert prepared.dataset["phantom"] is False


def test_duplicates_are_listed_and_flagged(root: Path) -> None:
    folder = prepare(root)
    rows = read_csv(folder / "duplicates.csv")
    assert [(row["a"], row["b"], row["kind"]) for row in rows] == [("case-4", "twin", "near")]
    assert {case["case"] for case in load_prepared(folder).cases if "duplicate" in case["flags"]} == {"case-4", "twin"}
    report = json.loads((folder / "integrity.json").read_text())
    assert (report["errors"], report["warnings"], report["images"]) == (0, 1, 10)


def test_class_conflict_is_flagged_through_patients_and_duplicates(root: Path) -> None:
    rows = ["case-0,p0,benign", "case-4,p4,benign", "twin,p5,malignant", "case-1,p4,benign"]
    rows += [f"case-{index},p{index + 10},benign" for index in (2, 3, 5, 6, 7, 8)]
    (root / "data/raw/folder/groups.csv").write_text("case,group,class\n" + "\n".join(rows) + "\n")
    cases = load_prepared(prepare(root)).cases
    assert {case["case"] for case in cases if "class_conflict" in case["flags"]} == {"case-1", "case-4", "twin"}


def test_same_files_same_bytes(root: Path) -> None:
    first = prepare(root)
    kept = {path.name: sha256_file(path) for path in first.iterdir()}
    shutil.rmtree(first)
    again = prepare(root)
    assert {path.name: sha256_file(path) for path in again.iterdir()} == kept
    assert not [path for path in again.iterdir() if path.is_dir()]


def test_letterbox(root: Path) -> None:
    block = load_params(root / "params.yaml").prepare.model_copy(update={"resize": "letterbox"})
    prepared = load_prepared(prepare(root, prepare=block))
    assert [prepared.cases[0][f"inner_{key}"] for key in ("top", "left", "height", "width")] == ["8", "0", "48", "64"]
    assert prepared.images[:, :8].max() == 0


def test_all_faults_stand_in_one_report_and_nothing_is_written(root: Path) -> None:
    raw = root / "data" / "raw" / "folder"
    (raw / "images" / "case-0.png").write_bytes(b"text")
    Image.fromarray(disc(80, 120)).save(raw / "masks" / "case-1.png")
    put(raw, "case-2", scene(2), 255 - disc())
    put(raw, "lonely", scene(30), None)
    put(raw, "small", scene(31, 40, 40), disc(40, 40, 9))
    with pytest.raises(DataError) as caught:
        prepare(root)
    text = str(caught.value)
    assert "5 faults, nothing was written" in text
    for part in (
        "case-0.png: does not decode",
        "case-1.png: expected 120 x 90",
        "case-2: ",
        "lonely.png",
        "small: 40 x 40",
    ):
        assert part in text
    assert not (root / "data" / "prepared").exists()


def test_empty_lesion_mask_is_left_out_by_name(root: Path) -> None:
    put(root / "data" / "raw" / "folder", "hollow", scene(40), disc() * 0)
    folder = prepare(root)
    assert "hollow" not in {case["case"] for case in load_prepared(folder).cases}
    findings = json.loads((folder / "integrity.json").read_text())["findings"]
    assert [item["case"] for item in findings if item["check"] == "empty mask"] == ["hollow"]


def test_strict_turns_warnings_into_errors(root: Path) -> None:
    block = load_params(root / "params.yaml").prepare.model_copy(update={"strict": True})
    with pytest.raises(DataError, match=r"(?s)1 faults.*near-duplicates"):
        prepare(root, prepare=block)


def test_constant_image_stays_finite(root: Path) -> None:
    put(root / "data" / "raw" / "folder", "flat", np.full((90, 120), 70, np.uint8), disc())
    folder = prepare(root)
    findings = json.loads((folder / "integrity.json").read_text())["findings"]
    assert [item["case"] for item in findings if item["check"] == "constant image"] == ["flat"]
    assert len(read_csv(folder / "duplicates.csv")) == 1


def test_several_masks_are_united(tmp_path: Path) -> None:
    def edit(tree: dict[str, Any]) -> None:
        tree["dataset"] = "busi"
        tree["datasets"]["busi"]["classes"] = ["benign", "normal"]

    (tmp_path / "params.yaml").write_bytes(smoke_params(edit))
    base = tmp_path / "data/raw/busi"
    for name in ("benign", "normal"):
        (base / name).mkdir(parents=True)
    left, right = np.zeros((90, 120), bool), np.zeros((90, 120), bool)
    left[20:40, 20:40], right[50:70, 60:100] = True, True
    Image.fromarray(np.repeat(scene(0)[..., None], 3, 2)).save(base / "benign/benign (1).png")
    Image.fromarray(left).save(base / "benign/benign (1)_mask.png")
    Image.fromarray(right).convert("RGBA").save(base / "benign/benign (1)_mask_1.png")
    Image.fromarray(scene(1)).save(base / "normal/normal (1).png")
    Image.fromarray(np.zeros((90, 120, 3), np.uint8)).save(base / "normal/normal (1)_mask.png")
    prepared = load_prepared(prepare(tmp_path))
    assert np.array_equal(prepared.native_label(0), (left | right).astype(np.uint8))
    assert not prepared.labels[1].any()
    assert all("reduced_copy" in case["flags"] for case in prepared.cases)


def test_smoke_phantom(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(smoke_params())
    prepared = load_prepared(prepare(tmp_path))
    assert len(prepared.cases) == 48
    assert prepared.dataset["phantom"] is True
    assert prepared.dataset["classes"] == ["benign", "malignant", "normal"]
    assert all(case["identity"].startswith("patient-") for case in prepared.cases)
    lesion_free = [row for row, case in enumerate(prepared.cases) if case["class"] == "normal"]
    assert not prepared.labels[lesion_free].any()
    assert all(label.any() for row, label in enumerate(prepared.labels) if row not in lesion_free)


@pytest.mark.slow
def test_real_images(shared_data: Path, tmp_path: Path) -> None:
    """BUSI, reduced copy: 647 lesion images, the published conflicts of class, nothing stops it."""

    def edit(tree: dict[str, Any]) -> None:
        tree["dataset"] = "busi"

    (tmp_path / "params.yaml").write_bytes(smoke_params(edit))
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "busi").symlink_to(shared_data / "busi")
    folder = prepare(tmp_path)
    cases = {case["case"]: case for case in load_prepared(folder).cases}
    assert len(cases) == 647
    conflict = {name for name, case in cases.items() if "class_conflict" in case["flags"]}
    numbers = {"benign": (42, 85, 131, 164, 333, 399, 406, 433), "malignant": (51, 52, 77, 93, 94, 145)}
    assert conflict == {f"{name} ({number})" for name, own in numbers.items() for number in own}
    colored = {name for name, case in cases.items() if "color" in case["flags"]}
    assert {f"benign ({number})" for number in (234, 240, 255, 261, 277)} <= colored
    areas = [float(case["area"]) for case in cases.values()]
    assert np.median(areas) == pytest.approx(0.058, abs=0.002)
    assert json.loads((folder / "integrity.json").read_text())["errors"] == 0


def test_edges_and_merging() -> None:
    assert list(edges_of(["p", "", "p", ""], [])) == [(0, 2)]
    assert merge([]).vectors.shape == (0, 4096)
    assert pack_arrays([np.eye(3, dtype=np.uint8)]) == pack_arrays([np.eye(3, dtype=np.uint8)])
