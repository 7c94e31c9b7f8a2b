"""Where sets come from; and copies of them that lie in a wrong place."""

from importlib import import_module
from pathlib import Path

import pytest

from pipelines.datasets.read import ADAPTERS
from pipelines.datasets.sources import LOOKED_AT, SOURCES, look_alike
from tests.support import layouts

SIGNS = ("Hospital", "Test_Image_1.png", "sub/*_mask.*")


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_terms_are_those_that_the_adapter_writes(name: str) -> None:
    adapter = import_module(f"pipelines.datasets.adapters.{name}")
    assert SOURCES[name].terms == f"{adapter.TERMS}; to cite: {adapter.CITATION}"


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("Hospital/x.png", "Hospital"),
        ("download/Hospital/x.png", "download"),  # the folder that holds the sign is the one to move
        ("a/b/Test_Image_1.png", "a/b"),
        ("a/sub/case_mask.jpg", "a"),
        ("a/b/c/Test_Image_1.png", ""),  # two levels are looked at
        (".hidden/Test_Image_1.png", ""),
        ("known/Test_Image_1.png", ""),
        ("Test_Image_1.png", ""),  # beside the sets lies no set
    ],
)
def test_a_copy_is_found_up_to_two_levels_below(tmp_path: Path, file: str, found: str) -> None:
    layouts.touch(tmp_path, file)
    assert look_alike(tmp_path, SIGNS, {"known"}) == found


def test_links_are_not_followed_and_few_folders_are_opened(tmp_path: Path) -> None:
    layouts.touch(tmp_path / "elsewhere", "Test_Image_1.png")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "link").symlink_to(tmp_path / "elsewhere")
    assert look_alike(tmp_path / "raw", SIGNS, ()) == ""
    assert look_alike(tmp_path / "nowhere", SIGNS, ()) == ""
    layouts.touch(tmp_path / "many", *(f"{number:03d}/x.png" for number in range(LOOKED_AT)), "999/Test_Image_1.png")
    assert look_alike(tmp_path / "many", SIGNS, ()) == ""
