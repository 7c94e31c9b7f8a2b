"""Golden learning curves of both training loops: 20 steps of each on the small speckle dataset, loss by loss.

They hold the whole chain in place: draws, batches, losses, optimizer, schedule, initial weights. When a change is meant
to alter them, write them again and commit them with it:

    python -m tests.generative.traces
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from generative.autoencoder import encode
from generative.autoencoder import train as autoencoder
from generative.diffusion import train as diffusion
from pipelines.runtime.artifacts import read_csv, write_json
from tests.support.generator import make_workspace, run_stages

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "generator_traces.json"
STEPS = 20


def trace() -> dict[str, list[float]]:
    """Stage -> its 20 losses."""

    def edit(tree: dict[str, Any]) -> None:
        for name in ("autoencoder", "diffusion"):
            tree["scales"]["smoke"][name]["total_steps"] = STEPS

    with tempfile.TemporaryDirectory() as folder:
        root = make_workspace(Path(folder), edit)
        for module in (autoencoder, diffusion):
            settings_of = module.settings_of
            with mock.patch.object(module, "settings_of", lambda p, s=settings_of: replace(s(p), log_every=1)):
                run_stages(root, module.STAGE)
            if module is autoencoder:
                run_stages(root, encode.STAGE)
        return {
            name: [float(row["total"]) for row in read_csv(root / "models" / name / "metrics.csv")]
            for name in ("autoencoder", "diffusion")
        }


if __name__ == "__main__":
    write_json(GOLDEN, trace())
    print(f"wrote {GOLDEN}")
