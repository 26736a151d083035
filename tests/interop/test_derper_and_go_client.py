"""Tailscale's derper with Tailscale's client: proves that the Go client tests what it says."""

import http
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from interop_go import run_go_client
from interop_servers import RelayServer, http_get, relay_server
from interop_support import LOOPBACK

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]  # the first test builds derper


def test_derper_runs_and_answers(derper: RelayServer) -> None:
    status, headers, body = http_get(derper.port, "/derp/probe", tls=derper.is_tls)
    refusal, _, _ = http_get(derper.port, "/derp", tls=derper.is_tls)

    assert (status, body) == (http.HTTPStatus.OK, b"")
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert refusal == http.HTTPStatus.UPGRADE_REQUIRED


def test_go_client_passes_every_check_through_derper(go_client: Path, derper: RelayServer) -> None:
    code, results = run_go_client(go_client, derper)

    assert [result for result in results.values() if not result["ok"]] == []
    assert code == 0


def test_go_client_refuses_a_server_whose_certificate_is_not_the_pinned_one(
    go_client: Path, derper_tls: RelayServer
) -> None:
    code, results = run_go_client(go_client, derper_tls, pin="0" * 64)

    assert code == 1
    assert not results["connect"]["ok"]
    assert "hash" in str(results["connect"]["detail"])


class NoDerp(BaseHTTPRequestHandler):
    """Answers every request with an empty page and knows no upgrade."""

    def do_GET(self) -> None:
        self.send_response(http.HTTPStatus.OK)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


def test_go_client_fails_every_check_against_a_server_that_is_no_derp_server(
    go_client: Path, tmp_path: Path
) -> None:
    with ThreadingHTTPServer((LOOPBACK, 0), NoDerp) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        port = web.server_port
        server = relay_server(tmp_path, port, port, None)
        code, results = run_go_client(go_client, server, "-timeout", "30s", "-check-map")
        web.shutdown()

    assert code == 1
    assert [result for result in results.values() if result["ok"]] == []
