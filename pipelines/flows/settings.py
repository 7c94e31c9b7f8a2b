"""Prefect's settings for this project, put into the environment before prefect is imported.

What the user has set stays as it is.
"""

import os
from pathlib import Path


def set_environment(root: Path) -> None:
    """Keep Prefect's own files in .state/prefect and send no telemetry."""
    defaults = {
        "PREFECT_HOME": str(root / ".state" / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # Prefect makes the last folder only
