from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.phantom.emission import emit, make_images
from pipelines.datasets.phantom.image import make_image
from pipelines.datasets.phantom.plan import plan
from pipelines.datasets.phantom.planted import mirror, reframe

CLASSES = ("benign", "malignant", "normal")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    emit(folder, 0, 48, CLASSES, 0.2, plant=True)
    return folder


@pytest.fixture(scope="module")
def facts(planted: Path) -> dict:
    return json.loads((planted / "phantom.json").read_text())


def path_of(folder: Path, case: str, suffix: str = "") -> Path:
    return folder / "Dataset_BUSI_with_GT" / case.split()[0] / f"{case}{suffix}.png"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def mode_of(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


def oddity(facts: dict, kind: str) -> list[str]:
    (found,) = (row["cases"] for row in facts["planted"] if row["kind"] == kind)
    return found


def test_images_come_in_the_order_of_the_plan() -> None:
    views = plan(0, 10, CLASSES, 0.3)
    made = list(make_images(0, 10, CLASSES, 0.3))
    assert [one.view for one in made] == views
    assert np.array_equal(made[7].image, make_image(0, views[7]).image)


def test_busi_layout_with_its_file_modes(planted: Path) -> None:
    base = planted / "Dataset_BUSI_with_GT"
    assert sorted(path.name for path in base.iterdir()) == sorted(CLASSES)
    images = [path for path in base.rglob("*.png") if "_mask" not in path.name]
    assert len(images) == 48
    for path in images:
        with Image.open(path) as image, Image.open(path.with_name(f"{path.stem}_mask.png")) as mask:
            assert image.mode == "RGB"
            assert image.size == mask.size
            assert mask.mode == ("RGB" if "normal" in path.name else mask.mode)
    assert not pixels(base / "normal" / "normal (1)_mask.png").any()
    modes = Counter(mode_of(path) for path in base.glob("*/*_mask*.png") if "normal" not in path.name)
    assert modes["RGBA"] == 1
    assert set(modes) == {"1", "RGBA"}


def test_facts_are_listed(facts: dict) -> None:
    assert facts["phantom"] is True
    assert len(facts["images"]) == facts["count"] == 48
    assert len(facts["planted"]) == 9
    assert facts["not_planted"] == []
    rows = {row["case"]: row for row in facts["images"]}
    assert {row["site"] for row in rows.values()} == {"A", "B"}
    assert all(len(row["lesions"]) == row["masks"] for row in rows.values())
    assert rows[oddity(facts, "two_masks")[0]]["masks"] == 2
    assert rows[oddity(facts, "three_masks")[0]]["masks"] == 3
    assert rows[oddity(facts, "calipers")[0]]["nuisances"] == ["calipers"]


def test_masks_of_the_oddities(planted: Path, facts: dict) -> None:
    (three,) = oddity(facts, "three_masks")
    parts = [pixels(path_of(planted, three, f"_mask{suffix}")) for suffix in ("", "_1", "_2")]
    assert all(part.any() for part in parts)
    assert (sum(part.astype(int) for part in parts) <= 1).all()
    (nested,) = oddity(facts, "nested")
    outer, inner = (pixels(path_of(planted, nested, f"_mask{suffix}")) for suffix in ("", "_1"))
    assert inner.any()
    assert not (inner & ~outer).any()
    (rgba,) = oddity(facts, "rgba_mask")
    assert pixels(path_of(planted, rgba, "_mask")).shape[-1] == 4


def test_copies_of_the_oddities(planted: Path, facts: dict) -> None:
    original, copy = oddity(facts, "identical")
    assert path_of(planted, original).read_bytes() == path_of(planted, copy).read_bytes()
    assert (original.split()[0], copy.split()[0]) == ("malignant", "benign")
    original, copy = oddity(facts, "mirrored")
    assert np.array_equal(pixels(path_of(planted, original))[:, ::-1], pixels(path_of(planted, copy)))
    mask = pixels(path_of(planted, original, "_mask"))[None]
    assert np.array_equal(
        mirror(pixels(path_of(planted, original))[..., 0], mask)[1][0], pixels(path_of(planted, copy, "_mask"))
    )
    original, copy = oddity(facts, "reframed")
    mask = pixels(path_of(planted, original, "_mask"))[None]
    cut, _ = reframe(pixels(path_of(planted, original))[..., 0], mask)
    assert np.array_equal(cut, pixels(path_of(planted, copy))[..., 0])
    patients = {row["case"]: row["patient"] for row in facts["images"]}
    assert patients[original] != patients[copy]
    (color,) = oddity(facts, "color")
    assert np.ptp(pixels(path_of(planted, color)).astype(int), axis=2).max() > 100


def test_without_oddities_and_below_48_images_everything_follows_the_plan(planted: Path, facts: dict, tmp_path: Path):
    emit(tmp_path, 0, 20, CLASSES, 0.2, plant=True)
    plain = json.loads((tmp_path / "phantom.json").read_text())
    assert plain["planted"] == []
    changed = {row["cases"][-1] for row in facts["planted"]}
    shared = [row["case"] for row in plain["images"][:17]]
    assert [row["case"] for row in facts["images"]][:17] == shared
    for case in shared:
        same = path_of(planted, case).read_bytes() == path_of(tmp_path, case).read_bytes()
        assert same == (case not in changed) or case in oddity(facts, "rgba_mask")
