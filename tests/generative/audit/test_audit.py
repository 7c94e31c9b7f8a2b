"""The stage on real files: what is planted is found, what is fresh passes, what is published is complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generative.audit import audit as module
from generative.audit.audit import STAGE, asked_for, read_real
from generative.audit.planted import gain, jpeg, shifted
from pipelines.datasets.training import load_training_images
from pipelines.runtime.artifacts import MANIFEST, read_csv, read_json, sha256_file, write_csv, write_manifest
from pipelines.runtime.errors import ArtifactError, DataError
from pipelines.runtime.stage import run_stage
from tests.generative.audit.conftest import COUNT, SIZE, make_audit_root, write_samples
from tests.support.generator import make_pool, run_stages, speckle, taint

TRAIN = [row for row in range(COUNT) if row % 5 < 3]
FRESH = speckle(20, SIZE, seed=11)


def with_copies() -> tuple[np.ndarray, dict[int, str]]:
    """20 fresh images and altered copies of train images; sample row -> train case."""
    source = speckle(COUNT, SIZE)
    copies = {
        TRAIN[2]: source[TRAIN[2]],
        TRAIN[5]: source[TRAIN[5]][:, ::-1],
        TRAIN[9]: shifted(source[TRAIN[9]], 8),
        TRAIN[14]: jpeg(source[TRAIN[14]]),
        TRAIN[20]: gain(source[TRAIN[20]], 1.2),
    }
    images = np.concatenate([FRESH, np.stack([np.ascontiguousarray(copy) for copy in copies.values()])])
    return images, {20 + k: f"case-{row:03d}" for k, row in enumerate(copies)}


def test_copies_are_flagged_named_and_not_kept(audit: Callable[[np.ndarray], Path]) -> None:
    images, planted = with_copies()
    out = audit(images)
    decisions = read_csv(out / "decisions.csv")
    assert len(decisions) == 25
    flagged = {int(row["row"]): row["nearest"] for row in decisions if row["flagged"] == "true"}
    assert flagged == planted
    assert {int(row["row"]) for row in read_csv(out / "kept.csv")} == set(range(20))
    assert read_json(out / "verdict.json")["verdict"] == "inconclusive"
    pictures = read_csv(out / "pictures.csv")
    assert [row["flagged"] for row in pictures[:6]] == ["true"] * 5 + ["false"]
    assert all((out / row["picture"]).is_file() for row in pictures)


def test_fresh_images_are_not_failed(audit: Callable[[np.ndarray], Path]) -> None:
    out = audit(FRESH)
    verdict, metrics = read_json(out / "verdict.json"), read_json(out / "metrics.json")
    assert verdict["verdict"] == "inconclusive"  # 32 real images cannot prove a detector
    assert "32 real images" in " ".join(verdict["reasons"])
    assert any("8 held-out groups" in text for text in verdict["warnings"])
    assert metrics["flagged"] == 0
    assert metrics["kept"] == metrics["samples"] == 20
    assert metrics["n"] == metrics["groups"] == 8
    assert metrics["hard_kept"] == 0
    for name in ("kid", "kid_floor", "kid_real", "gap_low", "gap_high"):
        assert np.isfinite(metrics[name])
    assert abs(metrics["kid"]) < 0.1  # fresh images of the same maker
    for bounds in (*metrics["excess"].values(), *metrics["excess_smooth"].values()):
        assert bounds["low"] - 1e-9 <= bounds["value"] <= bounds["high"] + 1e-9
    assert 0.0 < metrics["detector"]["tau"]["pixels"] < 1.0


def test_forced_copy_fails_but_is_published_with_exit_0(
    shared_audit_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = module.decide_samples

    def blind(*arguments: object) -> object:
        decision = honest(*arguments)  # type: ignore[arg-type]
        return replace(decision, flagged=np.zeros_like(decision.flagged))

    monkeypatch.setattr(module, "decide_samples", blind)
    images, _ = with_copies()
    write_samples(shared_audit_root, images)
    assert run_stage(STAGE, [], root=shared_audit_root) == 0
    out = shared_audit_root / "data" / "audit"
    verdict = read_json(out / "verdict.json")
    assert verdict["verdict"] == "fail"
    assert "s000020" in verdict["reasons"][0]
    assert read_json(out / "metrics.json")["hard_kept"] >= 1
    assert len(list((out / "pictures").glob("*.png"))) == 12


def test_all_copies_leave_an_empty_list_and_a_warning(audit: Callable[[np.ndarray], Path]) -> None:
    out = audit(speckle(COUNT, SIZE)[TRAIN[:10]])
    assert read_csv(out / "kept.csv") == []
    verdict = read_json(out / "verdict.json")
    assert verdict["verdict"] == "inconclusive"
    assert "no sample was kept" in " ".join(verdict["reasons"])
    assert "10 of 10 samples were dropped" in verdict["warnings"][0]


def test_test_images_change_no_byte(tmp_path: Path, audit: Callable[[np.ndarray], Path]) -> None:
    clean = audit(with_copies()[0])
    tainted = tmp_path / "tainted"
    shutil.copytree(clean.parents[1], tainted)
    taint(tainted, part="test")
    run_stages(tainted, STAGE)
    hashes = published(clean)
    assert hashes == published(tainted / "data" / "audit")
    assert {"verdict.json", "decisions.csv", "kept.csv", "metrics.json", "pictures.csv"} <= set(hashes)


def with_pool(source: Path, target: Path, pool: np.ndarray, samples: np.ndarray, groups: list[str] | None) -> Path:
    """A copy of the workspace in which the generator learned from a pool too; data/audit of these samples."""
    shutil.copytree(source, target)
    make_pool(target, pool, groups)
    write_samples(target, samples)
    run_stages(target, STAGE)
    return target / "data" / "audit"


@pytest.fixture(scope="module")
def tau_without_pool(shared_audit_root: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """The pixel threshold of the workspace as it is."""
    folder = tmp_path_factory.mktemp("plain") / "root"
    out = with_pool(shared_audit_root, folder, np.zeros((0, SIZE, SIZE), np.uint8), FRESH, None)
    return float(read_json(out / "metrics.json")["detector"]["tau"]["pixels"])


def test_a_copy_of_a_pool_image_is_flagged_and_named(shared_audit_root: Path, tmp_path: Path) -> None:
    pool = speckle(6, SIZE, seed=21)
    samples = np.concatenate([FRESH, [pool[4][:, ::-1], jpeg(pool[1])]])
    out = with_pool(shared_audit_root, tmp_path / "pool", pool, samples, None)
    flagged = {int(row["row"]): row["nearest"] for row in read_csv(out / "decisions.csv") if row["flagged"] == "true"}
    assert flagged == {20: "other/image-004", 21: "other/image-001"}
    assert {int(row["row"]) for row in read_csv(out / "kept.csv")} == set(range(20))
    assert read_json(out / "metrics.json")["planted"]["identical"]["count"] == 24 + 6


def test_what_is_normal_is_asked_of_the_datasets_own_images(
    shared_audit_root: Path, tmp_path: Path, tau_without_pool: float
) -> None:
    """One image many times over, of patients unknown to be one, would raise a threshold that it had a say in."""
    dense = np.repeat(speckle(1, SIZE, seed=22), 12, axis=0)
    out = with_pool(shared_audit_root, tmp_path / "dense", dense, FRESH, None)
    tau = read_json(out / "metrics.json")["detector"]["tau"]["pixels"]
    assert tau_without_pool <= tau < 0.9  # more images to be near to
    train = load_training_images(*(tmp_path / "dense" / "data" / name for name in ("prepared", "split", "pool")))
    assert asked_for(train, ["benign", "malignant"]) == 24
    assert asked_for(train, ["lesion"]) == 24 + 12  # without classes samples come from the pool as well


def test_duplicates_of_a_train_image_in_the_pool_are_of_its_group(
    shared_audit_root: Path, tmp_path: Path, tau_without_pool: float
) -> None:
    """Compared with each other they would push the threshold to 1."""
    twins = speckle(COUNT, SIZE)[TRAIN[:20]]
    named = [f"case-{row:03d}" for row in TRAIN[:20]]
    out = with_pool(shared_audit_root, tmp_path / "twins", twins, FRESH, named)
    tau = read_json(out / "metrics.json")["detector"]["tau"]["pixels"]
    assert tau == pytest.approx(tau_without_pool, abs=0.02)
    assert tau < 0.9


def published(folder: Path) -> dict[str, str]:
    """Hashes of all files but the manifest, which names the inputs by their hash."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path) for path in folder.rglob("*.*") if path.name != MANIFEST
    }


def test_samples_of_another_size_are_refused(shared_audit_root: Path) -> None:
    write_samples(shared_audit_root, speckle(4, 16))
    with pytest.raises(ArtifactError, match=r"expected samples of \(32, 32\)"):
        run_stages(shared_audit_root, STAGE)


def test_too_few_patients_are_refused(tmp_path: Path, shared_audit_root: Path) -> None:
    split = tmp_path / "split"
    shutil.copytree(shared_audit_root / "data" / "split", split)
    rows = [{**row, "group": "one" if row["part"] == "train" else "two"} for row in read_csv(split / "split.csv")]
    write_csv(split / "split.csv", rows, ["case", "part", "group"])
    with pytest.raises(DataError, match="at least 3 groups in the train part, found 1"):
        read_real(shared_audit_root / "data" / "prepared", split, shared_audit_root / "data" / "pool")


def test_without_val_images_there_is_a_verdict_and_no_distance(tmp_path: Path) -> None:
    root = make_audit_root(tmp_path)
    split = root / "data" / "split"
    rows = [{**row, "part": row["part"].replace("val", "test")} for row in read_csv(split / "split.csv")]
    write_csv(split / "split.csv", rows, ["case", "part", "group"])
    write_manifest(split, dataset="phantom")
    write_samples(root, FRESH)
    run_stages(root, STAGE)
    metrics = read_json(root / "data" / "audit" / "metrics.json")
    assert metrics["kid"] is None
    assert any("0 held-out groups" in text for text in read_json(root / "data" / "audit" / "verdict.json")["warnings"])


def test_blurred_images_are_not_called_copies(audit: Callable[[np.ndarray], Path]) -> None:
    """What a generator draws that has not learned yet: near to everything, copies of nothing."""
    from scipy.ndimage import gaussian_filter

    soft = np.stack([gaussian_filter(image.astype(float), 5.0) for image in speckle(30, SIZE, seed=12)])
    out = audit(soft.round().astype(np.uint8))
    metrics = read_json(out / "metrics.json")
    assert read_json(out / "verdict.json")["verdict"] == "inconclusive"
    assert metrics["excess_smooth"]["pixels"]["value"] <= metrics["excess"]["pixels"]["value"]


def test_dark_images_leave_no_nan(audit: Callable[[np.ndarray], Path]) -> None:
    out = audit(np.zeros((6, SIZE, SIZE), np.uint8))
    assert read_json(out / "verdict.json")["verdict"] == "inconclusive"
    assert read_json(out / "metrics.json")["flagged"] == 0
