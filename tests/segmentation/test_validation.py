"""Validation in training: a number for the log by hand, images by a fixed rule, no byte of the weights changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.datasets.case import load_prepared
from pipelines.runtime.artifacts import read_csv, save_array, sha256_file, write_csv
from segmentation import train
from segmentation.system import Prediction
from segmentation.validation import LIMIT, make_observer, score, validation_rows
from tests.segmentation.test_train import SIZE, make_world, publish, run


def world(root: Path, every: int, edit: Callable[[dict[str, Any]], None] | None = None, val: int = 3) -> Path:
    """As in the tests of the stage; of the test images the first `val` are validation images."""

    def validated(tree: dict[str, Any]) -> None:
        tree["scales"]["smoke"]["segment"]["validate_every"] = every
        if edit:
            edit(tree)

    made = make_world(root, validated)
    split = made / "data" / "split"
    rows = read_csv(split / "split.csv")
    for row in rows[8 : 8 + val]:
        row["part"] = "val"
    write_csv(split / "split.csv", rows, ["case", "part", "group"])
    publish(split)
    return made


class Fixed:
    """Predicts what it was given, one image after the other."""

    def __init__(self, probability: torch.Tensor) -> None:
        self.probability, self.done = probability, 0

    def predict(self, images: torch.Tensor, *, mode: str, **_: Any) -> Prediction:
        assert mode == "direct"
        p = self.probability[self.done : self.done + len(images)]
        self.done += len(images)
        return Prediction(p, p[:, :1], {})


def test_dice_and_share_by_hand() -> None:
    labels = np.zeros((2, 32, 32), np.uint8)
    labels[0, :4, :4], labels[1, :8, :8] = 1, 1  # 16 and 64 pixels
    p = torch.zeros(2, 1, 32, 32)
    p[0, 0, :4, :8] = 0.9  # 32 pixels, 16 of them right: 2 * 16 / 48
    images = np.zeros((2, 32, 32), np.uint8)
    found = score(Fixed(p), images, labels, ["a", "b"], 1)  # type: ignore[arg-type]
    assert found["dice_val"] == pytest.approx((2 / 3 + 0.0) / 2)
    assert found["foreground_val"] == 32 / (2 * 32 * 32)
    full = score(Fixed(torch.ones(2, 1, 32, 32)), images, labels, ["a", "b"], 1)  # type: ignore[arg-type]
    assert full["foreground_val"] == 1.0


def test_a_class_counts_where_it_is_shown() -> None:
    labels = np.zeros((2, 32, 32), np.uint8)
    labels[0, :4], labels[1, :4] = 1, 2
    p = torch.zeros(2, 3, 32, 32)
    p[:, 0] = 0.5
    p[0, 1, :4] = p[1, 1, :4] = 0.9  # the first is right, the second is taken for class 1
    found = score(Fixed(p), np.zeros((2, 32, 32), np.uint8), labels, ["a", "b"], 3)  # type: ignore[arg-type]
    assert found == {"dice_val": 0.5, "foreground_val": 4 / 32}


def test_images_are_chosen_by_a_fixed_rule(tmp_path: Path) -> None:
    root = world(tmp_path, 1)
    prepared, split = load_prepared(root / "data" / "prepared"), root / "data" / "split"
    assert validation_rows(prepared, split) == [8, 9, 10]
    count = 3 * LIMIT
    labels = np.ones((count, 2, 2), np.uint8)
    labels[::3] = 0  # two thirds show a lesion
    many: Any = SimpleNamespace(labels=labels, cases=[{"case": str(row)} for row in range(count)])
    write_csv(split / "split.csv", [{"case": str(row), "part": "val"} for row in range(count)], ["case", "part"])
    rows = validation_rows(many, split)
    assert len(rows) == len(set(rows)) == LIMIT
    assert rows == sorted(rows)
    assert all(labels[row].any() for row in rows)
    assert rows[-1] > count - 6


@pytest.mark.parametrize("system", ["unet", "crossdiff"])
def test_the_same_weights_with_and_without(system: str, tmp_path: Path) -> None:
    def edit(tree: dict[str, Any]) -> None:
        tree["segmenter"]["system"] = system
        tree["segmenter"]["encoder"]["norm"] = "bn"  # running statistics would show a look in training mode

    silent, watched = (run(world(tmp_path / str(every), every, edit), "both") for every in (0, 2))
    assert sha256_file(silent / "weights.safetensors") == sha256_file(watched / "weights.safetensors")
    assert "dice_val" not in read_csv(silent / "metrics.csv")[0]
    rows = read_csv(watched / "metrics.csv")
    assert [row["step"] for row in rows] == ["2", "3"]
    assert all(0.0 <= float(row["dice_val"]) <= 1.0 and row["total"] for row in rows)


def test_interrupted_it_yields_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def longer(tree: dict[str, Any]) -> None:
        tree["segmenter"]["system"] = "unet"
        tree["scales"]["smoke"]["segment"] |= {"total_steps": 13, "checkpoint_every": 4}

    whole = run(world(tmp_path / "whole", 3, longer), "supervised")
    root, original = world(tmp_path / "broken", 3, longer), train.make_batch

    def breaks(pools: Any, step: Any, *more: Any) -> Any:
        if step.index == 9:
            raise KeyboardInterrupt
        return original(pools, step, *more)

    with monkeypatch.context() as patch:
        patch.setattr(train, "make_batch", breaks)
        with pytest.raises(KeyboardInterrupt):
            run(root, "supervised")
    again = run(root, "supervised")
    assert (again / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    filled = {row["step"]: bool(row["dice_val"]) for row in read_csv(again / "metrics.csv")}
    assert filled == {"3": True, "6": True, "9": True, "10": False, "12": True, "13": True}


def test_test_pixels_change_nothing(tmp_path: Path) -> None:
    tables = []
    for name in ("plain", "marked"):
        root = world(tmp_path / name, 2, lambda tree: tree["segmenter"].update(system="unet"))
        if name == "marked":
            path = root / "data" / "prepared" / "images.npy"
            images = np.load(path)
            images[11:] = 255
            save_array(path, images)
            publish(path.parent)
        tables.append((run(root, "supervised") / "metrics.csv").read_bytes())
    assert tables[0] == tables[1]


def test_without_validation_images_it_says_so_once_and_goes_on(tmp_path: Path) -> None:
    root = world(tmp_path, 1, val=0)
    prepared, said = load_prepared(root / "data" / "prepared"), []
    stage_run: Any = SimpleNamespace(inputs={"split": root / "data" / "split"}, log=said.append)
    settings: Any = SimpleNamespace(validate_every=1, total_steps=3)
    assert make_observer(stage_run, prepared, settings, 1) is None
    assert said == ["no image with a lesion in the val part: no validation Dice is logged"]
    assert make_observer(stage_run, prepared, SimpleNamespace(validate_every=0, total_steps=3), 1) is None  # type: ignore[arg-type]
    assert len(said) == 1


def test_a_collapse_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("segmentation.validation.predict_rows", lambda system, images, *_, **__: nothing(images))
    folder = run(world(tmp_path, 2, lambda tree: tree["segmenter"].update(system="unet")), "supervised")
    assert read_csv(folder / "metrics.csv")[-1]["foreground_val"] == "0.0"
    assert "warning: collapsed: at step 3 every pixel of the validation images is called background" in (
        capsys.readouterr().out
    )


def nothing(images: np.ndarray) -> Any:
    return SimpleNamespace(probability=np.zeros((len(images), 1, SIZE, SIZE), np.float32))
