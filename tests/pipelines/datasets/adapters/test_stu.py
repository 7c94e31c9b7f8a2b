from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets.adapters.stu import read
from pipelines.datasets.images import decode
from tests.support import layouts


def test_published_layout(tmp_path: Path) -> None:
    layouts.stu(tmp_path)
    found = read(tmp_path, None)
    assert [(case.case, case.masks[0].name, case.resize_mask) for case in found.cases] == [
        ("Test_Image_1", "mask_1.png", True),
        ("Test_Image_10", "mask_10.png", True),
        ("Test_Image_2", "mask_2.png", True),
    ]
    assert {decode(case.masks[0]).gray.shape for case in found.cases} == {(420, 420), (512, 512), (128, 128)}
    assert all(np.unique(decode(case.masks[0]).gray).tolist() == [0, 250] for case in found.cases)
    assert [(item.check, item.expected, item.found) for item in found.findings] == [
        ("count", "42 images as published", "3")
    ]


def test_all_42_without_the_outer_folder(tmp_path: Path) -> None:
    layouts.touch(tmp_path, *(f"{kind}_{number}.png" for kind in ("Test_Image", "mask") for number in range(1, 43)))
    found = read(tmp_path, None)
    assert (len(found.cases), found.findings) == (42, ())


def test_faults(tmp_path: Path) -> None:
    names = ("Test_Image_1", "mask_2", "Test_Image_3", "mask_3", "mask_03", "Test_Image_x", "other")
    layouts.touch(tmp_path, *(f"Hospital/{name}.png" for name in names))
    found = read(tmp_path, None)
    assert sorted((item.check, item.case) for item in found.findings if item.check != "count") == [
        ("ambiguous mask", "Test_Image_3"),
        ("mask without image", "Test_Image_2"),
        ("missing mask", "Test_Image_1"),
        ("unread", "Test_Image_x"),
        ("unread", "other"),
    ]


@pytest.mark.parametrize("names", [["deep/Hospital/Test_Image_1.png", "deep/Hospital/mask_1.png"], ["x.png"]])
def test_another_layout_is_one_finding(tmp_path: Path, names: list[str]) -> None:
    layouts.touch(tmp_path, *names)
    (finding,) = read(tmp_path, None).findings
    assert finding.check == "layout"
    assert ("them in deep/Hospital/" in finding.found) == ("deep" in names[0])
