"""Every published layout, from its files to rows of data/prepared: what the adapters say is what `prepare` reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.datasets.assemble import prepare_dataset
from pipelines.datasets.case import Prepared, load_prepared
from pipelines.datasets.duplicates import Rule
from pipelines.datasets.integrity import policy_of
from pipelines.datasets.read import read_dataset
from pipelines.params.loader import load_params
from pipelines.runtime.artifacts import read_json
from pipelines.runtime.errors import DataError
from tests.support import layouts
from tests.support.workspaces import DEFAULT_PARAMS

RULE = Rule(6, 0.9, 1.1, 0.9, 6, 0.9)  # whole thumbnails alone
SQUARE = 30 * 30  # pixels of layouts.LESION


def prepared(tmp_path: Path, name: str, *, policy: dict[str, str] | None = None) -> Prepared:
    block: Any = load_params(DEFAULT_PARAMS).datasets[name]
    if name == "busi":
        block = block.model_copy(update={"classes": ["benign", "malignant", "normal"]})
    raw, out = tmp_path / "raw", tmp_path / "out"
    out.mkdir()
    prepare_dataset(
        read_dataset(name, raw, block),
        out,
        size=64,
        resize="stretch",
        policy=policy_of(policy or {}, strict=False),
        rule=RULE,
        roots=(raw,),
        faults=tmp_path / "faults.json",
        log=print,
        progress=lambda done: None,
    )
    return load_prepared(out)


def lesion_pixels(found: Prepared) -> dict[str, int]:
    return {case["case"]: int((found.native_label(row) > 0).sum()) for row, case in enumerate(found.cases)}


@pytest.mark.parametrize(
    ("name", "write", "pixels"),
    [
        (
            "busi",
            layouts.busi,
            {"benign (1)": SQUARE, "benign (10)": SQUARE + 20 * 18 + 100, "benign (2)": SQUARE}
            | {f"malignant ({number})": SQUARE for number in (1, 2)}
            | {f"normal ({number})": 0 for number in (1, 2)},
        ),
        (
            "bus_bra",
            layouts.bus_bra,
            dict.fromkeys(["bus_0001-l", "bus_0001-r", "bus_0002-l", "bus_0004-l", "bus_0004-r"], SQUARE),
        ),
        ("stu", layouts.stu, {f"Test_Image_{number}": 64 * 32 for number in (1, 10, 2)}),
        ("udiat", layouts.udiat, dict.fromkeys(["000001", "000002", "000010"], SQUARE)),
        ("ddti", layouts.ddti_preprocessed, dict.fromkeys(["1", "10", "2"], SQUARE)),
        ("ddti", layouts.ddti_pairs, dict.fromkeys(["1", "10", "2"], SQUARE)),
    ],
)
def test_masks_of_every_layout(
    tmp_path: Path, name: str, write: Callable[[Path], None], pixels: dict[str, int]
) -> None:
    write(tmp_path / "raw")
    found = prepared(tmp_path, name)
    assert lesion_pixels(found) == pixels
    assert found.dataset["name"] == name


def test_stu_masks_are_brought_to_their_images_and_named(tmp_path: Path) -> None:
    layouts.stu(tmp_path / "raw")
    found = prepared(tmp_path, "stu")
    assert [case["flags"] for case in found.cases] == ["size_mismatch", "", "size_mismatch"]  # mask_10 fits
    square = np.zeros((128, 128), np.uint8)
    square[32:64, 32:96] = 1
    assert all(np.array_equal(found.native_label(row), square) for row in range(3))


def test_jpeg_masks_of_tn3k_are_nearly_exact(tmp_path: Path) -> None:
    layouts.tn3k(tmp_path / "raw")
    found = prepared(tmp_path, "tn3k")
    assert all(abs(count / SQUARE - 1) < 0.02 for count in lesion_pixels(found).values())
    assert [case["official_part"] for case in found.cases] == ["test"] * 2 + ["val", *["train"] * 4]


def test_wrong_rows_of_bus_bra_and_its_sites(tmp_path: Path) -> None:
    layouts.bus_bra(tmp_path / "raw")
    found = prepared(tmp_path, "bus_bra")
    assert found.cases[2]["site"] == "Toshiba Aplio 300 @12-14 MHz"
    report = read_json(tmp_path / "out" / "integrity.json")
    assert [(item["case"], item["expected"]) for item in report["findings"] if item["check"] == "table"] == [
        ("", "patients in train or in validation"),
        ("bus_0004-l", "97 x 80 as the owner's table says"),
    ]


def test_outlines_of_ddti_are_filled_and_merged(tmp_path: Path) -> None:
    layouts.ddti_outlines(tmp_path / "raw")
    with pytest.raises(DataError, match=r"12_2\.jpg"):
        prepared(tmp_path, "ddti")
    (tmp_path / "out").rename(tmp_path / "first")
    found = prepared(tmp_path, "ddti", policy={"missing mask": "exclude"})
    pixels = lesion_pixels(found)
    assert list(pixels) == ["12_1", "1_1", "1_2"]
    assert pixels["12_1"] == pixels["1_1"] == 31 * 31  # an outline is part of what it encloses
    assert pixels["1_2"] > pixels["1_1"] + 120
    assert [case["identity"] for case in found.cases] == ["case-0012", "case-0001", "case-0001"]
    assert found.dataset["layout"] == "outlines"


def test_images_alone_are_one_fault_as_the_dataset(tmp_path: Path) -> None:
    for name in "ab":
        layouts.picture(tmp_path / "raw" / "images" / f"{name}.png")
    with pytest.raises(DataError, match="1 error"):
        prepared(tmp_path, "folder")
    (finding,) = read_json(tmp_path / "faults.json")["findings"]
    assert (finding["check"], finding["file"], finding["found"]) == ("missing mask", "images/", "images alone")
