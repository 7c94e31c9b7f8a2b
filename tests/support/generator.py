"""A small prepared dataset of speckle-like images, and the generator's stages run on it inside the test's process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import read_csv, save_array, write_csv, write_json, write_manifest
from pipelines.runtime.stage import Stage, execute
from tests.support.workspaces import smoke_params

PARTS = ("train", "train", "train", "val", "test")


def speckle(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Smooth tissue under smooth speckle with a dark or bright ellipse, (count, size, size) uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    images = []
    for index in range(count):
        tissue = 100 + 40 * random.uniform(-1, 1) * (y - 0.5) + 20 * np.sin(6 * y + random.uniform(0, 6))
        cy, cx = random.uniform(0.35, 0.65, size=2)
        inside = ((y - cy) / 0.15) ** 2 + ((x - cx) / 0.22) ** 2 < 1
        tissue = np.where(inside, tissue + (50 if index % 2 else -60), tissue)
        noise = gaussian_filter(random.normal(size=(size, size)), size / 48)
        images.append(tissue * (1 + 0.35 * noise / noise.std()))
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def make_prepared(
    root: Path,
    *,
    count: int = 20,
    size: int = 32,
    classes: Sequence[str] = ("benign", "malignant"),
    flags: Mapping[int, str] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Write data/prepared and data/split below root; returns the images and each row's part (3 of 5 are train).

    flags: the flags of single rows.
    """
    prepared, split = root / "data" / "prepared", root / "data" / "split"
    prepared.mkdir(parents=True)
    split.mkdir(parents=True)
    images = speckle(count, size)
    parts = [PARTS[row % len(PARTS)] for row in range(count)]
    names = [f"case-{row:03d}" for row in range(count)]
    save_array(prepared / "images.npy", images)
    save_array(prepared / "labels.npy", (images < 60).astype(np.uint8))
    rows = [
        {"case": name, "class": classes[row % len(classes)] if classes else "", "flags": (flags or {}).get(row, "")}
        for row, name in enumerate(names)
    ]
    write_csv(prepared / "cases.csv", rows, ["case", "class", "flags"])
    write_json(prepared / "dataset.json", {"name": "phantom", "classes": list(classes), "phantom": True})
    write_manifest(prepared, dataset="phantom")
    write_csv(
        split / "split.csv",
        [{"case": name, "part": part, "group": name} for name, part in zip(names, parts, strict=True)],
        ["case", "part", "group"],
    )
    write_manifest(split, dataset="phantom")
    make_pool(root, np.zeros((0, size, size), np.uint8))
    return images, parts


def make_pool(root: Path, images: np.ndarray, groups: Sequence[str] | None = None, **columns: Sequence[str]) -> None:
    """Write data/pool with these (M, H, W) uint8 images; each is a group of its own unless `groups` names them."""
    folder = root / "data" / "pool"
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"other/image-{row:03d}" for row in range(len(images))]
    height, width = images.shape[1:]
    box = {"inner_top": 0, "inner_left": 0, "inner_height": height, "inner_width": width}
    rows = [
        {"case": name, "source": "other", "class": "malignant", "group": group, **box}
        | {key: values[row] for key, values in columns.items()}
        for row, (name, group) in enumerate(zip(names, groups or names, strict=True))
    ]
    save_array(folder / "images.npy", images)
    write_csv(folder / "cases.csv", rows, ["case", "source", "class", "group", *box])
    write_manifest(folder, dataset="phantom")


def make_workspace(root: Path, edit: Callable[[dict[str, Any]], None] | None = None, **dataset: Any) -> Path:
    """A root with params.yaml (scale smoke, edited) and the small dataset."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_bytes(smoke_params(edit))
    make_prepared(root, **dataset)
    return root


def run_stages(root: Path, *stages: Stage) -> None:
    """Run stages in this process, one after another; their errors are raised."""
    for stage in stages:
        execute(stage, load_params(root / "params.yaml"), root, {})


def taint(root: Path, *, part: str | None = None) -> None:
    """Overwrite the images and labels of one part (None: of all but train) with noise and renew the manifest."""
    prepared = root / "data" / "prepared"
    random = np.random.default_rng(99)
    rows = [
        row
        for row, case in enumerate(read_csv(root / "data" / "split" / "split.csv"))
        if (case["part"] != "train" if part is None else case["part"] == part)
    ]
    for name in ("images.npy", "labels.npy"):
        array = np.load(prepared / name)
        array[rows] = random.integers(0, 2 if name == "labels.npy" else 256, array[rows].shape)
        save_array(prepared / name, array)
    write_manifest(prepared, dataset="phantom")
