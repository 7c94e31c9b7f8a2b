"""Shared fixtures: no network, real data where it lies, workspaces of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.guard import sitecustomize as guard
from tests.support.shared_data import find_shared_data
from tests.support.workspaces import ROOT, make_smoke, make_trivial

guard.install()


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Loopback and unix sockets only, here and in each Python that a test starts; no telemetry."""
    with pytest.MonkeyPatch.context() as patch:
        path = [str(Path(guard.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        for name in ("DVC_NO_ANALYTICS", "DO_NOT_TRACK", "HF_HUB_OFFLINE"):
            patch.setenv(name, "1")
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the published real datasets; the tests that need it are skipped where it is not."""
    try:
        return find_shared_data(ROOT, os.environ)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def trivial(tmp_path: Path) -> Path:
    """A DVC workspace with five stages of milliseconds."""
    return make_trivial(tmp_path / "trivial")


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[..., Path]:
    """`workspace(edit)`: a copy of the project at scale smoke; `edit(tree)` changes its parameters in place."""

    def make(edit: Callable[[dict[str, Any]], None] | None = None) -> Path:
        return make_smoke(tmp_path / "workspace", edit)

    return make
