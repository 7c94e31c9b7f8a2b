"""The rules by themselves; what they make of whole folders is in adapters/test_folder.py."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.datasets.case import Finding
from pipelines.datasets.mask_folders import choose_masks, class_fault, image_of, named_folders, several_classes


@pytest.mark.parametrize(
    ("below", "found"),
    [
        ({"cyst", "nodule"}, ["nodule", "cyst"]),
        ({"CYST", "Nodule"}, ["Nodule", "CYST"]),
        ({"cyst", "stone"}, ["cyst", "stone"]),  # one is known: both are given, so that the other can be named
        ({"stone"}, []),
        (set(), []),
    ],
)
def test_folders_are_in_the_order_of_the_classes(below: set[str], found: list[str]) -> None:
    assert named_folders(below, ["nodule", "cyst"]) == found


def test_a_folder_in_decomposed_form_is_the_class() -> None:
    composed, decomposed = (unicodedata.normalize(form, "tumör") for form in ("NFC", "NFD"))
    settings = SimpleNamespace(foreground=[composed], masks="binary")
    assert named_folders({decomposed}, [composed]) == [decomposed]
    assert class_fault([], [decomposed], settings) is None


def test_the_image_of_a_mask() -> None:
    images = {name: Path(f"{name}.png") for name in ("a", "a_seg")}
    assert [image_of(name, images) for name in ("a", "a_mask", "a_seg", "a_seg_gt", "z_mask")] == [
        *("a", "a", "a_seg", "a_seg", "z_mask"),
    ]


def test_one_mask_is_chosen_and_the_rest_named(tmp_path: Path) -> None:
    images = {name: tmp_path / f"images/{name}.png" for name in "abc"}
    masks = {name: tmp_path / f"masks/{name}.png" for name in ("a_gt", "b", "b_mask", "z")}
    findings: list[Finding] = []
    assert choose_masks(tmp_path, images, masks, "masks", findings) == {"a": masks["a_gt"]}
    assert [(item.check, item.case) for item in findings] == [
        ("ambiguous mask", "b"),
        ("missing mask", "c"),
        ("mask without image", "z"),
    ]


def test_several_classes_need_label_maps_or_folders() -> None:
    binary, labels = (SimpleNamespace(masks=kind) for kind in ("binary", "labels"))
    assert several_classes(["a"], binary) is None
    assert several_classes(["a", "b"], labels) is None
    assert several_classes(["a", "b"], binary) is not None
