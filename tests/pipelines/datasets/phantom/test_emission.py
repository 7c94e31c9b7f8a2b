from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.phantom.emission import emit, make_image, make_images, plan

CLASSES = ("benign", "malignant", "normal")


def test_plan_has_the_class_ratio_of_busi() -> None:
    for count in (48, 240, 780):
        views = plan(0, count, CLASSES)
        assert len(views) == count
        found = Counter(view.class_name for view in views)
        for name, share in (("benign", 437 / 780), ("malignant", 210 / 780), ("normal", 133 / 780)):
            assert abs(found[name] - share * count) <= 3
    assert {view.class_name for view in plan(0, 20, ("benign",))} == {"benign"}


def test_plan_is_nested_and_patients_have_one_to_three_views_of_one_class() -> None:
    views = plan(5, 240, CLASSES)
    assert plan(5, 120, CLASSES)[:117] == views[:117]
    patients: dict[int, list] = {}
    for view in views:
        patients.setdefault(view.patient, []).append(view)
    assert {len(own) for own in patients.values()} == {1, 2, 3}
    assert all(len({view.class_name for view in own}) == 1 for own in patients.values())
    assert all([view.view for view in own] == list(range(len(own))) for own in patients.values())
    assert len({view.case for view in views}) == 240
    assert plan(6, 240, CLASSES) != views


def test_two_lesions_are_planted_in_small_sets_too() -> None:
    assert [view.lesions for view in plan(0, 48, CLASSES)].count(2) >= 1


def test_an_image_depends_on_seed_patient_and_view_alone() -> None:
    views = plan(0, 12, CLASSES)
    alone = make_image(0, views[7])
    among = list(make_images(0, 12, CLASSES))[7]
    assert np.array_equal(alone.image, among.image)
    assert np.array_equal(alone.masks, among.masks)
    assert not np.array_equal(make_image(1, views[7]).image[:200, :200], alone.image[:200, :200])


def test_images_are_usable() -> None:
    for made in make_images(3, 16, CLASSES):
        height, width = made.image.shape
        assert 150 <= height <= 420
        assert 256 <= width <= 336
        assert 25 < made.image.mean() < 190
        assert made.image.std() > 15
        assert len(made.masks) == made.view.lesions


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    emit(folder, 0, 20, CLASSES)
    return folder


def test_busi_layout_with_its_file_modes(emitted: Path) -> None:
    base = emitted / "Dataset_BUSI_with_GT"
    assert sorted(path.name for path in base.iterdir()) == sorted(CLASSES)
    with (
        Image.open(base / "benign" / "benign (1).png") as image,
        Image.open(base / "benign" / "benign (1)_mask.png") as mask,
    ):
        assert (image.mode, mask.mode) == ("RGB", "1")
        assert image.size == mask.size
    with Image.open(base / "normal" / "normal (1)_mask.png") as empty:
        assert empty.mode == "RGB"
        assert not np.array(empty).any()


def test_facts_are_listed(emitted: Path) -> None:
    facts = json.loads((emitted / "phantom.json").read_text())
    assert facts["phantom"] is True
    assert len(facts["images"]) == facts["count"] == 20
    first = facts["images"][0]
    assert {"case", "class", "patient", "view", "site", "lesions", "scanner"} == set(first)
    assert sum(row["lesions"] == 2 for row in facts["images"]) == len(list(emitted.rglob("*_mask_1.png"))) >= 1


def test_same_seed_same_bytes(emitted: Path, tmp_path: Path) -> None:
    emit(tmp_path, 0, 20, CLASSES)
    names = sorted(path.relative_to(emitted) for path in emitted.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((emitted / name).read_bytes() == (tmp_path / name).read_bytes() for name in names)


def test_speed_per_core() -> None:
    views = plan(0, 9, CLASSES)
    make_image(0, views[0])
    started = time.process_time()
    for view in views[1:]:
        make_image(0, view)
    assert (time.process_time() - started) / 8 <= 0.3
