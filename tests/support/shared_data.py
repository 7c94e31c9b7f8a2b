"""Where the published real datasets lie; they are no part of the project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

VARIABLE = "SONOSYNTH_DATA"
BESIDE = Path("shared") / "data"


def find_shared_data(root: Path, environment: Mapping[str, str]) -> Path:
    """The folder that SONOSYNTH_DATA names, else ../shared/data beside root; FileNotFoundError names both."""
    named = environment.get(VARIABLE, "")
    folder = Path(named).expanduser().resolve() if named else root.parent / BESIDE
    if folder.is_dir():
        return folder
    raise FileNotFoundError(
        f"no real data: {VARIABLE} is {named or 'not set'} and is read first, else ../{BESIDE.as_posix()} beside the "
        "project; expected a folder with busi, bus_bra, thyroid_crops as published"
    )
