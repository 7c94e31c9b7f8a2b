from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.shared_data import find_shared_data


def test_the_variable_comes_first_then_the_folder_beside_the_project(tmp_path: Path) -> None:
    root, beside, named = tmp_path / "project", tmp_path / "shared" / "data", tmp_path / "elsewhere"
    for folder in (root, beside, named):
        folder.mkdir(parents=True)
    assert find_shared_data(root, {"SONOSYNTH_DATA": str(named)}) == named
    assert find_shared_data(root, {"SONOSYNTH_DATA": ""}) == beside
    assert find_shared_data(root, {}) == beside


@pytest.mark.parametrize("environment", [{}, {"SONOSYNTH_DATA": "/nowhere/at/all"}])
def test_where_neither_is_the_message_names_both(tmp_path: Path, environment: dict[str, str]) -> None:
    with pytest.raises(FileNotFoundError, match=r"SONOSYNTH_DATA .* \.\./shared/data"):
        find_shared_data(tmp_path / "project", environment)
