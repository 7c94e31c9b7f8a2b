"""The project's own stages on the phantom, as a study runs them: linked inputs, shared calls, frozen sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.runtime.artifacts import read_manifest
from tests.support.study_world import run_study_apart, write_study
from tests.support.workspaces import ROOT, smoke_params

pytestmark = pytest.mark.e2e

SMALL = {"scales.smoke.prepare.phantom_images": 12, "datasets.phantom.site_b": 0.0}


def test_real_stages_share_their_inputs_and_frozen_runs_go_on(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_bytes(smoke_params())
    axes = {"prepare.strict": [False], "split.seed": [1], "arm": ["real"], "seed": [0, 1]}
    study = write_study(tmp_path, base="base.yaml", set=SMALL, targets=["pool"], grids=[{"axes": axes}])
    out = ["--folder", str(tmp_path / "out")]
    code, printed = run_study_apart(ROOT, "run", str(study), *out, "--workers", "2")
    assert code == 0, printed
    assert "2 jobs, 3 stage calls" in printed  # seeds share all of it
    roots = {path.name.rpartition("-")[0]: path for path in (tmp_path / "out" / "store").iterdir()}
    prepared, pool = roots["prepare"] / "data/prepared", roots["pool"] / "data/pool"
    assert (roots["pool"] / "data/prepared").resolve() == prepared
    assert read_manifest(pool).facts["inputs"]["prepared"] == read_manifest(prepared).sha256

    (tmp_path / "base.yaml").write_text("edited: true\n")
    assert "edited: unknown key" in run_study_apart(ROOT, "run", str(study), *out)[1]
    code, printed = run_study_apart(ROOT, "run", str(study), *out, "--frozen")
    assert (code, "0 of 3 calls are to be run" in printed) == (0, True), printed


@pytest.mark.slow
def test_a_whole_study_at_scale_smoke(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_bytes(smoke_params())
    axes = {"arm": ["supervised", "phantom"], "seed": [0, 1]}
    settings = {"segmenter.system": "unet", "segmenter.label_fraction": 0.5}
    reference = {"arm": "supervised"}
    study = write_study(tmp_path, base="base.yaml", set=settings, grids=[{"axes": axes}], reference=reference)
    out = ["--folder", str(tmp_path / "out")]
    code, printed = run_study_apart(ROOT, "run", str(study), *out, "--workers", "2")
    assert (code, "4 of 4 jobs are done; 12 calls ran" in printed) == (0, True), printed
    assert run_study_apart(ROOT, "table", str(study), *out)[0] == 0
    rows = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    assert [(row["axes"]["arm"], row["done"]) for row in rows] == [("supervised", 2), ("phantom", 2)]
    assert all(0.0 <= row["metrics"]["dice"]["mean"] <= 1.0 for row in rows)
    assert rows[1]["gain"]["dice"]["seeds"] == 2
