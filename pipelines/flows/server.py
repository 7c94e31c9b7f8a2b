"""A Prefect server for one run. Prefect would start one by itself, but that one outlives a killed flow."""

import atexit
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from pipelines.runtime.errors import SonoSynthError

START_S = 120.0  # a cold one makes its database first
TRIES = 3  # another process may take the port between the question and the answer


def start_temporary_server() -> str:
    """Start a server on a free port of this machine; returns its API address.

    It keeps its database in PREFECT_HOME, ends when this process ends in order, and on Linux also when it is killed.
    Call it before prefect is imported: Prefect sends its last messages when the interpreter exits, and what was
    registered first is ended last. Raises SonoSynthError if no server comes up.
    """
    for _ in range(TRIES):
        port = _free_port()
        process = subprocess.Popen(
            [*_tether(), sys.executable, "-m", "uvicorn", *_application(), "--host", "127.0.0.1", "--port", str(port)],
            # as Prefect runs its own: without pages, without schedules
            env={
                **os.environ,
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
            },
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt of the terminal reaches the flow first
        )
        atexit.register(_stop, process)
        address, until = f"http://127.0.0.1:{port}/api", time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < until:
            if answers(address):
                return address
            time.sleep(0.1)
        _stop(process)
    raise SonoSynthError(f"Prefect's temporary server did not come up in {TRIES} tries; see its lines above")


def answers(address: str) -> bool:
    """Whether a Prefect server answers at this API address."""
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, ValueError, OSError):
        return False


def _tether() -> list[str]:
    return [sys.executable, "-IS", str(Path(__file__).with_name("tethered.py")), str(os.getpid())]


def _application() -> list[str]:
    spec = importlib.util.find_spec("prefect")  # found, not imported
    assert spec is not None
    assert spec.origin is not None
    folder = str(Path(spec.origin).parents[1])
    factory = "prefect.server.api.server:create_app"
    return ["--app-dir", folder, "--factory", factory, "--log-level", "error", "--lifespan", "on"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
