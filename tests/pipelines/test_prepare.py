from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.case import load_prepared
from pipelines.params.loader import load_params
from pipelines.prepare import STAGE
from pipelines.runtime.artifacts import read_csv, sha256_file
from pipelines.runtime.errors import DataError
from pipelines.runtime.stage import execute
from tests.support.scenes import disc, scene
from tests.support.workspaces import project_environment, smoke_params


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
    assert [(row["a"], row["b"], row["kind"]) for row in rows] == [("case-4", "twin", "re-encoded")]
    assert {case["case"] for case in load_prepared(folder).cases if "duplicate" in case["flags"]} == {"case-4", "twin"}
    report = json.loads((folder / "integrity.json").read_text())
    assert (report["errors"], report["warnings"], report["images"]) == (0, 1, 10)


def test_class_conflict_is_flagged_in_duplicates_not_in_patients(root: Path) -> None:
    rows = ["case-0,p0,benign", "case-4,p4,benign", "twin,p5,malignant", "case-1,p4,cyst"]
    rows += [f"case-{index},p{index + 10},benign" for index in (2, 3, 5, 6, 7, 8)]
    (root / "data/raw/folder/groups.csv").write_text("case,group,class\n" + "\n".join(rows) + "\n")
    cases = load_prepared(prepare(root)).cases
    assert {case["case"] for case in cases if "class_conflict" in case["flags"]} == {"case-4", "twin"}


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


def test_all_faults_stand_in_one_table_and_nothing_is_published(root: Path) -> None:
    earlier = {path.name: sha256_file(path) for path in prepare(root).iterdir()}
    raw = root / "data" / "raw" / "folder"
    (raw / "images" / "case-0.png").write_bytes(b"text")
    Image.fromarray(disc(80, 120)).save(raw / "masks" / "case-1.png")
    put(raw, "case-2", scene(2), 255 - disc())
    put(raw, "lonely", scene(30), None)
    Image.fromarray(disc()).save(raw / "masks" / "orphan.png")
    put(raw, "small", scene(31, 40, 40), disc(40, 40, 9))
    put(raw, "hollow", scene(40), disc() * 0)
    put(raw, "copy", scene(3), disc(radius=15))
    with pytest.raises(DataError) as caught:
        prepare(root)
    text = str(caught.value)
    assert "integrity check of folder: 6 errors; nothing was published" in text
    assert "the whole table is in .state/integrity-folder.json" in text
    found = {tuple(re.split(r"  +", line)[:3]) for line in text.splitlines()[2:] if not line.startswith(" ")}
    assert found == {
        ("error", "inverted mask", "masks/case-2.png"),
        ("error", "mask size", "masks/case-1.png"),
        ("error", "mask without image", "masks/orphan.png"),
        ("error", "missing mask", "images/lonely.png"),
        ("error", "small image", "images/small.png"),
        ("error", "unreadable", "images/case-0.png"),
        ("exclude", "empty mask", "masks/hollow.png"),
        ("warning", "different masks", "case-3.png and copy.png"),
        ("warning", "duplicates", "the set"),
    }
    report = json.loads((root / ".state" / "integrity-folder.json").read_text())
    assert (report["errors"], len(report["findings"])) == (6, 9)
    assert report["excluded"][0]["case"] == "hollow"
    assert {path.name: sha256_file(path) for path in (root / "data" / "prepared").iterdir()} == earlier
    assert [path.name for path in (root / "data").iterdir() if path.name.startswith(".")] == []
    for name in ("case-0", "case-1", "case-2", "lonely", "small", "orphan"):
        for kind in ("images", "masks"):
            (raw / kind / f"{name}.png").unlink(missing_ok=True)
    assert len(load_prepared(prepare(root)).cases) == 8
    assert not (root / ".state" / "integrity-folder.json").exists()


def test_policy_leaves_unreadable_cases_out_by_name(root: Path) -> None:
    raw = root / "data" / "raw" / "folder"
    (raw / "images" / "case-0.png").write_bytes(b"text")
    put(raw, "hollow", scene(40), disc() * 0)
    put(raw, "lonely", scene(30), None)
    with pytest.raises(DataError, match="2 errors"):
        prepare(root)
    block = load_params(root / "params.yaml").prepare
    policy = {"unreadable": "exclude", "missing mask": "exclude"}
    folder = prepare(root, prepare=block.model_copy(update={"policy": policy}))
    prepared = load_prepared(folder)
    assert [case["case"] for case in prepared.cases] == [*(f"case-{index}" for index in range(1, 9)), "twin"]
    assert len(prepared.images) == len(prepared.labels) == len(np.load(folder / "thumbnails.npy")) == 9
    assert np.array_equal(prepared.native_label(8), disc(radius=15) // 255)
    report = json.loads((folder / "integrity.json").read_text())
    assert [(item["case"], item["check"]) for item in report["excluded"]] == [
        ("case-0", "unreadable"),
        ("hollow", "empty mask"),
        ("lonely", "missing mask"),
    ]
    assert (report["errors"], report["excluded_cases"], report["images"]) == (0, 3, 9)


def test_a_set_of_which_nothing_is_left_is_an_error(root: Path) -> None:
    for path in (root / "data" / "raw" / "folder" / "masks").iterdir():
        Image.fromarray(disc() * 0).save(path)
    with pytest.raises(DataError, match="no case is left; nothing was published"):
        prepare(root)
    assert not (root / "data" / "prepared").exists()


def test_a_policy_that_cannot_be_is_refused(root: Path) -> None:
    block = load_params(root / "params.yaml").prepare.model_copy(update={"policy": {"unreadable": "warning"}})
    with pytest.raises(DataError, match=r"prepare\.policy: unreadable: expected error or exclude"):
        prepare(root, prepare=block)


def test_empty_lesion_mask_is_left_out_by_name(root: Path) -> None:
    put(root / "data" / "raw" / "folder", "hollow", scene(40), disc() * 0)
    folder = prepare(root)
    assert "hollow" not in {case["case"] for case in load_prepared(folder).cases}
    excluded = json.loads((folder / "integrity.json").read_text())["excluded"]
    assert [(item["case"], item["check"]) for item in excluded] == [("hollow", "empty mask")]


def test_strict_turns_warnings_into_errors(root: Path) -> None:
    block = load_params(root / "params.yaml").prepare.model_copy(update={"strict": True})
    with pytest.raises(DataError, match=r"(?s)1 error.*near-duplicates"):
        prepare(root, prepare=block)
    kept = block.model_copy(update={"policy": {"duplicates": "flag"}})
    assert len(load_prepared(prepare(root, prepare=kept)).cases) == 10


def test_constant_image_stays_finite(root: Path) -> None:
    put(root / "data" / "raw" / "folder", "flat", np.full((90, 120), 70, np.uint8), disc())
    folder = prepare(root)
    findings = json.loads((folder / "integrity.json").read_text())["findings"]
    assert [item["case"] for item in findings if item["check"] == "constant image"] == ["flat"]
    assert len(read_csv(folder / "duplicates.csv")) == 1


def test_integrity_of_the_whole_set(root: Path) -> None:
    report = json.loads((prepare(root) / "integrity.json").read_text())
    assert report["sizes"]["width"]["p50"] == 120
    assert report["sizes"]["largest"] == [120, 90]
    assert report["classes"] == {"none": 10}
    assert report["flagged"] == {"duplicate": 2}
    area = (disc() > 0).mean()
    assert report["areas"]["none"]["p50"] == pytest.approx(area, abs=1e-6)
    assert report["areas"]["none"]["p5"] < area


def test_order_of_the_file_system_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "data/raw/folder/groups.csv").write_text("case,group,class\nca\u00e9,p,none\n", encoding="utf-8")
    put(root / "data/raw/folder", "ca\u00e9", scene(50), disc())
    kept = {path.name: sha256_file(path) for path in prepare(root).iterdir()}
    walk, turn = os.walk, random.Random(0)

    def shuffled(top: Any, **options: Any) -> Iterator[Any]:
        for folder, names, files in walk(top, **options):
            turn.shuffle(names)
            turn.shuffle(files)
            yield folder, names, files

    monkeypatch.setattr(os, "walk", shuffled)
    for _ in range(2):
        shutil.rmtree(root / "data" / "prepared")
        assert {path.name: sha256_file(path) for path in prepare(root).iterdir()} == kept


AUDITED = """
import sys
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from pipelines.prepare import STAGE
from pipelines.runtime.stage import run_stage
code = run_stage(STAGE, [])
with open("opened.txt", "w", encoding="utf-8", errors="replace") as handle:
    handle.write("\\n".join(opened))
raise SystemExit(code)
"""


def prepare_audited(root: Path, locale: str) -> tuple[subprocess.CompletedProcess[str], set[Path]]:
    """Run the stage in a process of that locale; also the real paths of all files that it opened."""
    environment = {**project_environment(), "LC_ALL": locale}
    command = [sys.executable, "-c", AUDITED]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    names = (root / "opened.txt").read_text().splitlines()
    return done, {(root / name).resolve() for name in names}


def test_locale_changes_nothing_and_no_file_outside_is_opened(root: Path) -> None:
    raw = root / "data" / "raw" / "folder"
    put(raw, "ca\u00e9", scene(50), disc())
    hashes = []
    for locale in ("C", "C.UTF-8"):
        done, opened = prepare_audited(root, locale)
        assert done.returncode == 0, done.stderr
        assert (raw / "images" / "case-0.png").resolve() in opened
        folder = root / "data" / "prepared"
        hashes.append({path.name: sha256_file(path) for path in folder.iterdir()})
        shutil.rmtree(folder)
    assert hashes[0] == hashes[1]
    outside = root / "outside"
    put(outside, "secret", scene(60), disc())
    (raw / "images" / "led.png").symlink_to(outside / "images" / "secret.png")
    (raw / "masks" / "led.png").symlink_to("../../../../outside/masks/secret.png")
    (raw / "images" / "inner.png").symlink_to(raw / "images" / "case-1.png")
    Image.fromarray(disc()).save(raw / "masks" / "inner.png")
    (raw / "more").symlink_to(outside)
    (raw / "groups.csv").symlink_to(outside / "groups.csv")
    (outside / "groups.csv").write_text("case,group\ncase-0,p\n")
    done, opened = prepare_audited(root, "C.UTF-8")
    assert done.returncode == 1
    for name in ("images/led.png", "masks/led.png", "more", "groups.csv"):
        assert re.search(rf"error  +link  +{re.escape(name)}  ", done.stderr), done.stderr
    assert not {path for path in opened if path.is_relative_to(outside)}


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
    numbers = {"benign": (42, 85, 131, 164, 333, 399, 406, 433), "malignant": (51, 52, 77, 78, 93, 94, 145)}
    assert conflict == {f"{name} ({number})" for name, own in numbers.items() for number in own}
    colored = {name for name, case in cases.items() if "color" in case["flags"]}
    assert {f"benign ({number})" for number in (234, 240, 255, 261, 277)} <= colored
    areas = [float(case["area"]) for case in cases.values()]
    assert np.median(areas) == pytest.approx(0.058, abs=0.002)
    report = json.loads((folder / "integrity.json").read_text())
    assert (report["errors"], report["excluded"]) == (0, [])
    assert {item["check"] for item in report["findings"] if item["severity"] == "warning"} <= {
        *("class conflict", "different masks", "duplicates", "duplicate chain", "area", "components", "vanished lesion")
    }
    masks = [(item["case"], item["file"]) for item in report["findings"] if item["check"] == "different masks"]
    assert masks == [("malignant (145)", "benign (433).png and malignant (145).png")]
