"""The thresholds of the pristine params, for tests of what uses them."""

from __future__ import annotations

from pathlib import Path

import yaml

from pipelines.datasets.duplicates import Rule

DEFAULT = Path(__file__).resolve().parents[2] / "pipelines" / "default.yaml"


def default_rule() -> Rule:
    return Rule(**yaml.safe_load(DEFAULT.read_text())["prepare"]["duplicates"])
