"""Prefect's settings are put in place, and never over the user's."""

from __future__ import annotations

import os

from pipelines.flows.settings import set_environment

NAMES = ("PREFECT_HOME", "PREFECT_SERVER_ANALYTICS_ENABLED", "DO_NOT_TRACK")


def test_prefect_lives_in_the_workspace_and_reports_to_nobody(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that the test's end restores what was there
        monkeypatch.delenv(name)
    set_environment(tmp_path)
    assert os.environ["PREFECT_HOME"] == str(tmp_path / ".state/prefect")
    assert (tmp_path / ".state/prefect").is_dir()
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_what_the_user_has_set_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "true")
    set_environment(tmp_path)
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "own")
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "true"
    assert not (tmp_path / ".state").exists()
