"""Tailscale's client through `derphole relay`: it must see no difference to a derper."""

from pathlib import Path

import pytest
from interop_go import run_go_client
from interop_servers import embedded_relay

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]

CHECKS = {
    "http_probe",
    "connect",
    "packets",
    "order",
    "ping",
    "note_preferred",
    "peer_gone_not_here",
    "fast_start",
    "peer_gone_disconnected",
    "duplicate_key",
    "mesh_refused",
    "server_info_first",
    "derp_map",
    "stun",
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_go_client_passes_every_check_through_the_embedded_relay(
    go_client: Path, tmp_path: Path, tls: bool
) -> None:
    with embedded_relay(tmp_path, tls=tls) as relay:
        code, results = run_go_client(go_client, relay, "-check-map")

    assert [result for result in results.values() if not result["ok"]] == []
    assert set(results) == CHECKS
    assert code == 0
