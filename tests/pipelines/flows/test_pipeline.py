"""The command line of the flow, in real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.workspaces import ROOT, project_environment


def run_module(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=folder, env=project_environment(), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.e2e
def test_a_run_without_a_server(trivial):
    first = run_module(trivial, "pipelines.flows.pipeline")
    assert first.returncode == 0, first.stderr
    assert "5 stages up to date" in first.stdout
    assert (trivial / "out/report/result.txt").read_text() == "report"
    assert (trivial / ".state/prefect").is_dir()


def test_refused_params_are_named_at_once(trivial):
    params = trivial / "params.yaml"
    params.write_text(params.read_text().replace("scale: demo", "scale: dmeo", 1))
    started = time.monotonic()
    done = run_module(trivial, "pipelines.flows.pipeline")
    assert time.monotonic() - started < 5
    assert done.returncode == 1
    assert done.stderr.startswith("ParamsError: ")
    assert "scale: input should be 'smoke', 'demo' or 'full', found 'dmeo'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["pipelines.flows.pipeline", "pipelines.flows.serve"])
def test_help_does_not_wait_for_prefect(module):
    code = f"import sys, {module} as m\ntry: m.main(['--help'])\nfinally: print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "example:" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
