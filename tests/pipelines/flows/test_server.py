"""The temporary server; that it dies with a killed flow is tested in test_pipeline.py."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pipelines.flows import server
from pipelines.runtime.errors import SonoSynthError


def test_a_server_that_does_not_come_up_is_one_error(monkeypatch):
    monkeypatch.setattr(server, "_application", lambda: ["no_such_module:app", "--log-level", "critical"])
    with pytest.raises(SonoSynthError, match="did not come up in 3 tries"):
        server.start_temporary_server()


def test_answers_asks_for_health_and_survives_silence():
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{http.server_port}"
            assert server.answers(f"{address}/api")
            assert not server.answers(f"{address}/other")
        finally:
            http.shutdown()
            thread.join()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert not server.answers(f"http://127.0.0.1:{closed.getsockname()[1]}/api")
    assert not server.answers("no address")
