"""Schedules that really fire: a started Prefect server on loopback, its own database, a trivial workspace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.flows.server import answers
from tests.support.workspaces import ROOT, project_environment

pytestmark = pytest.mark.e2e


def ask(server: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        server + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process group: asked first, then made."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """(API address, environment of its clients) of a server that runs while this module's tests do."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("prefect")
    environment = {**project_environment(), "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = (home / "server.log").open("wb")
    process = subprocess.Popen(command, cwd=home, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}/api"
    try:
        until = time.monotonic() + 120
        while not answers(address):
            assert process.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < until, "the server did not come up in two minutes"
            time.sleep(0.2)
        yield address, {**environment, "PREFECT_API_URL": address}
    finally:
        stop(process)
        log.close()


def test_an_interval_schedule_fires_and_its_run_completes(server, trivial):
    address, environment = server
    log = (trivial / "serve.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.flows.serve", "--interval", "5"],
        cwd=trivial,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        until, runs = time.monotonic() + 90, []
        while time.monotonic() < until and not runs:
            time.sleep(0.5)
            assert process.poll() is None, (trivial / "serve.log").read_text()
            runs = ask(
                address,
                "/flow_runs/filter",
                {
                    "deployments": {"name": {"any_": ["scheduled"]}},
                    "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}},
                },
            )
        assert runs, (trivial / "serve.log").read_text()
        assert runs[0]["state_type"] == "COMPLETED", (trivial / "serve.log").read_text()
        assert runs[0]["auto_scheduled"] is True
    finally:
        stop(process)
        log.close()
    assert (trivial / "out/report/result.txt").read_text() == "report"
    [deployment] = ask(address, "/deployments/filter", {"deployments": {"name": {"any_": ["scheduled"]}}})
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"


def test_the_deployments_of_prefect_yaml_are_accepted(server):
    address, environment = server
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    for command in (["work-pool", "create", "local", "--type", "process"], ["deploy", "--all"]):
        done = subprocess.run(
            [*prefect, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    [deployment] = ask(address, "/deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
    assert deployment["entrypoint"] == "pipelines/flows/flow.py:pipeline"
    assert deployment["work_pool_name"] == "local"
    assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
    assert [schedule["schedule"]["cron"] for schedule in deployment["schedules"]] == ["0 3 * * *"]
    assert Path(deployment["pull_steps"][0]["prefect.deployments.steps.set_working_directory"]["directory"]) == ROOT


def test_without_a_server_the_message_says_what_to_start(trivial):
    environment = {**project_environment(), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    command = [sys.executable, "-m", "pipelines.flows.serve", "--interval", "60"]
    done = subprocess.run(
        command, cwd=trivial, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "run `prefect server start`" in done.stderr
