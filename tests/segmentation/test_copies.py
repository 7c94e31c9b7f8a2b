import numpy as np
import pytest

from pipelines.datasets.alignment import thumbnail
from pipelines.runtime.artifacts import save_array, write_csv, write_json, write_manifest
from pipelines.runtime.errors import ArtifactError
from segmentation.copies import Thresholds, copies_of_test, count_copies, frozen_thresholds

RULE = Thresholds(tau=0.8, ratio=1 / 3, hard_ncc=0.95)


def pictures(count: int, seed: int) -> np.ndarray:
    """Smooth random images, as different from each other as patients are."""
    rng = np.random.default_rng(seed)
    return np.stack([thumbnail(rng.integers(0, 255, (6, 6)).astype(np.uint8), 64) for _ in range(count)]).astype(
        np.uint8
    )


def test_planted_copies_are_counted_and_strangers_are_not():
    test, samples = pictures(6, 0), pictures(5, 1)
    samples[1] = test[2]
    samples[3] = test[4][:, ::-1]
    groups, names = [f"g{i}" for i in range(6)], [f"s{i}" for i in range(5)]
    found = count_copies(samples, names, test, [f"t{i}" for i in range(6)], groups, RULE)
    assert (found.samples, found.flagged, found.hard) == (5, 2, 2)
    assert found.cases == (("s1", "t2"), ("s3", "t4"))


def test_no_samples_no_copies():
    found = count_copies(np.zeros((0, 64, 64), np.uint8), [], pictures(2, 0), ["a", "b"], ["a", "b"], RULE)
    assert (found.samples, found.flagged, found.hard) == (0, 0, 0)


def write_audit(folder, kept: list[int]) -> None:
    folder.mkdir()
    write_json(folder / "metrics.json", {"detector": {"tau": {"pixels": 0.8, "latents": 0.1}, "ratio": 0.25}})
    write_csv(folder / "kept.csv", [{"sample": f"s{row}", "row": row} for row in kept], ("sample", "row"))
    write_manifest(folder, params={"audit": {"hard_ncc": 0.93}})


def test_only_kept_samples_count_under_the_published_thresholds(tmp_path):
    test, samples = pictures(4, 0), pictures(3, 1)
    samples[0], samples[2] = test[0], test[3]
    (tmp_path / "synthetic").mkdir()
    save_array(tmp_path / "synthetic" / "images.npy", samples)
    write_audit(tmp_path / "audit", kept=[1, 2])
    assert frozen_thresholds(tmp_path / "audit") == Thresholds(0.8, 0.25, 0.93)
    found = copies_of_test(tmp_path / "synthetic", tmp_path / "audit", test, list("abcd"), list("abcd"))
    assert (found.samples, found.hard, found.cases) == (2, 1, (("s2", "d"),))


def test_audit_without_a_detector_is_named(tmp_path):
    write_audit(tmp_path / "audit", kept=[])
    write_json(tmp_path / "audit" / "metrics.json", {"kid": 1.0})
    with pytest.raises(ArtifactError, match=r"metrics\.json.*detector"):
        frozen_thresholds(tmp_path / "audit")
