"""The command line of the flow, in real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.workspaces import ROOT, processes_in, project_environment, wait_until_gone


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


@pytest.mark.e2e
@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_killed_flow_leaves_no_process_and_the_next_one_ends(trivial):
    (trivial / "orders/side").write_text("sleep 100")
    command = [sys.executable, "-m", "pipelines.flows.pipeline"]
    with (trivial / "flow.log").open("wb") as log:
        flow = subprocess.Popen(command, cwd=trivial, env=project_environment(), stdout=log, stderr=log)
    until = time.monotonic() + 120
    while "side: begins" not in (trivial / "flow.log").read_text():
        assert flow.poll() is None, (trivial / "flow.log").read_text()
        assert time.monotonic() < until, "stage side did not begin"
        time.sleep(0.1)
    pids = processes_in(trivial)
    assert len(pids) >= 4  # the flow, its server, dvc and the stage
    flow.kill()
    flow.wait()
    assert wait_until_gone(pids, 5) == set()
    (trivial / "orders/side").unlink()
    done = run_module(trivial, "pipelines.flows.pipeline")
    assert done.returncode == 0, done.stderr
    assert "raw: begins" not in done.stderr
    assert (trivial / "out/report/result.txt").read_text() == "report"


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
