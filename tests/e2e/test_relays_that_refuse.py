"""Relays that can never work: every command says so and ends after 30 s, unless told to wait."""

import json
import re
import signal
import ssl
import subprocess
import time
from pathlib import Path

import pytest
import tcp_servers
from desk import Desk, token_of
from support.processes import Process, await_true, free_port, record_figure
from tcp_servers import TcpServer
from test_relay_trouble import make_certificate
from tokens import session_text

from derphole.token.grant import Capability
from tunnel.net.pins import public_key_pin

pytestmark = pytest.mark.e2e

REFUSAL_S = 30.0
SLACK_S = 15.0  # starts of many processes at once, on a busy machine
WRONG_PIN = "00" * 32
GIVEN_UP = (
    r"this does not pass by itself and was given up after 30 s: .* \(--timeout 0 keeps trying\)$"
)
NONE_THERE = (
    r"check its scheme, host and port, and that it runs "
    r"\(given up after 30 s; --timeout 0 keeps trying\)$"
)


def map_of(folder: Path, *ports: int) -> str:
    """Write a map of a region for each port."""
    regions = {
        str(number): {
            "RegionID": number,
            "RegionCode": f"r{number}",
            "Nodes": [
                {
                    "Name": f"{number}a",
                    "HostName": "127.0.0.1",
                    "DERPPort": port,
                    "STUNPort": -1,
                    "PlainHTTP": True,
                }
            ],
        }
        for number, port in enumerate(ports, 1)
    }
    path = folder / "map.json"
    path.write_text(json.dumps({"Regions": regions}))
    return str(path)


@pytest.mark.timeout(200)
@pytest.mark.alongside("waits")
def test_every_command_ends_after_30_s_of_refusals_and_none_while_another_relay_works(
    desk: Desk,
) -> None:
    certificate = make_certificate(desk.folder)
    with (
        TcpServer(tcp_servers.refuse_the_key) as refusing,
        TcpServer(tcp_servers.serve_nobody_over_tls(certificate)) as distrusted,
    ):
        refused_url = f"http://127.0.0.1:{refusing.port}"
        tls_url = f"https://127.0.0.1:{distrusted.port}"
        working_port = int(desk.relay_url.rpartition(":")[2])
        started_at = time.monotonic()
        ends = {
            "listen": desk.derphole("listen", "listen", "--relay", refused_url),
            "share": desk.derphole("share", "share", "--relay", refused_url, "1"),
            "listen, distrusted": desk.derphole("distrusted", "listen", "--relay", tls_url),
            "listen, wrong pin": desk.derphole(
                "wrong pin", "listen", "--relay", f"{tls_url}#sha256:{WRONG_PIN}"
            ),
            "pipe": desk.pipe(session_text(Capability.LISTEN, refusing.port)),
            "pipe, two minutes": desk.pipe(
                session_text(Capability.LISTEN, refusing.port), "--timeout", "120"
            ),
            "open": desk.derphole("open", "open", session_text(Capability.SHARE, refusing.port)),
            "pipe, distrusted": desk.pipe(
                session_text(Capability.LISTEN, distrusted.port, tls=True)
            ),
        }
        patient = desk.derphole("patient", "listen", "--relay", refused_url, "--timeout", "0")
        both = map_of(desk.folder, refusing.port, working_port)
        lucky = desk.derphole("lucky", "listen", "--derp-map", both)
        token = token_of(lucky)

        for name, process in ends.items():
            tls = "distrusted" in name or "pin" in name
            fault = r"has a certificate" if tls else "refused our key"
            where = rf"relay 127\.0\.0\.1:{distrusted.port if tls else refusing.port} {fault}"
            process.ends_with(
                1,
                f"^relay trouble: {where}",
                f"^no relay could be used: {where}.*; {GIVEN_UP}",
                timeout_s=REFUSAL_S + SLACK_S,
            )
        took_s = time.monotonic() - started_at

        assert took_s >= REFUSAL_S
        record_figure("refused for good: every command has ended", f"{took_s:.1f} s", "30 s")
        assert patient.is_running
        assert lucky.is_running
        pipe = desk.pipe(token, stdin=b"by the other relay")
        pipe.ends_with(0, "^sent 18B")
        lucky.ends_with(0, "^received 18B")
        assert lucky.stdout == b"by the other relay"
        patient.send_signal(signal.SIGTERM)
        patient.ends_with(143)


@pytest.mark.timeout(200)
@pytest.mark.alongside("waits")
def test_every_command_ends_after_30_s_where_no_relay_is_and_names_the_likely_reason(
    desk: Desk,
) -> None:
    certificate, key = make_certificate(desk.folder)
    words = ["--listen", "127.0.0.1:0", "--stun-port", "off"]
    words += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    tls_url = desk.derphole("tls relay", "relay", *words).await_line(
        r"^relay ready: (https://127\.0\.0\.1:\d+)#"
    )[1]
    nobody = f"http://127.0.0.1:{free_port()}"
    with TcpServer(tcp_servers.serve_web_page) as page:
        urls = {
            "http relay as https": (
                desk.relay_url.replace("http", "https"),
                r"does not speak TLS .* its URL begins with http://, not with https://",
            ),
            "https relay as http": (
                tls_url.replace("https", "http"),
                "speaks TLS: if it is a relay, its URL begins with https://, not with http://",
            ),
            "no relay": (f"http://127.0.0.1:{page.port}", "is not a DERP server: it answered "),
            "nothing": (nobody, r"the connection was refused \(nothing listens there"),
        }
        started_at = time.monotonic()
        listeners = {
            name: desk.derphole(name, "listen", "--relay", url) for name, (url, _) in urls.items()
        }
        pipe = desk.pipe(session_text(Capability.LISTEN, int(nobody.rpartition(":")[2])))
        patient = desk.derphole("patient", "listen", "--relay", nobody, "--timeout", "0")

        for name, listen in listeners.items():
            listen.ends_with(
                1,
                f"^no relay could be used: relay .* {urls[name][1]}.*; {NONE_THERE}",
                timeout_s=REFUSAL_S + SLACK_S,
            )
        pipe.ends_with(1, NONE_THERE, timeout_s=SLACK_S)
        assert time.monotonic() - started_at >= REFUSAL_S
        assert patient.is_running
        patient.send_signal(signal.SIGTERM)
        patient.ends_with(143)


@pytest.mark.timeout(200)
@pytest.mark.alongside("waits")
def test_a_relay_that_worked_once_may_be_away_for_longer(desk: Desk) -> None:
    relay, url = desk.relay()
    share = desk.derphole("share", "share", "--relay", url, "1")
    token_of(share)
    relay.send_signal(signal.SIGTERM)
    relay.ends_with(0)
    stopped_at = time.monotonic()

    await_true(
        lambda: time.monotonic() > stopped_at + REFUSAL_S + 2, "30 s have passed", REFUSAL_S + 5
    )
    assert share.is_running
    share.send_signal(signal.SIGTERM)
    share.ends_with(0)


@pytest.mark.timeout(200)
@pytest.mark.alongside("waits")
def test_a_refusal_in_mid_run_leaves_a_direct_link_alone_and_ends_a_share_that_nobody_uses(
    desk: Desk,
) -> None:
    relay, url = desk.relay()
    port = int(url.rpartition(":")[2])
    listen = desk.derphole("listen", "listen", "--verbose", "--relay", url)
    pipe = desk.pipe(token_of(listen), "--verbose", stdin=subprocess.PIPE)
    share = desk.derphole("share", "share", "--relay", url, "1")
    opened = desk.derphole("open", "open", token_of(share))
    opened.await_line("^listening on ")
    opened.send_signal(signal.SIGTERM)
    opened.ends_with(0)
    share.await_line("^client 1 left")
    pipe.feed(b"before")
    for side in (listen, pipe):
        side.await_line("^connected-direct$")
    relay.send_signal(signal.SIGKILL)
    relay.wait()

    with TcpServer(tcp_servers.refuse_the_key, port) as refusing:
        for side in (listen, pipe, share):
            side.await_line("^relay trouble: .*refused our key", SLACK_S)
        share.ends_with(1, GIVEN_UP, timeout_s=REFUSAL_S + SLACK_S)
        refused_at = time.monotonic()
        await_true(lambda: time.monotonic() > refused_at + 2, "the others had their 30 s, too")
        assert listen.is_running
        assert pipe.is_running
        assert refusing.connections > 2
        pipe.feed(b" and after")
        pipe.end_input()

        pipe.ends_with(0, "^sent 16B")
        listen.ends_with(0, "^received 16B")
    assert listen.stdout == b"before and after"


def pin_named_by(process: Process, port: int) -> str:
    """Return the pin in the URL that the process names."""
    return process.await_line(rf"https://127\.0\.0\.1:{port}(#sha256:[0-9a-f]{{64}})(?:;|$)").group(
        1
    )


def test_the_url_that_a_distrusted_relay_s_message_names_works_when_pasted(desk: Desk) -> None:
    certificate, key = make_certificate(desk.folder)
    words = ["--listen", "127.0.0.1:0", "--stun-port", "off"]
    words += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    relay = desk.derphole("relay", "relay", *words)
    ready = relay.await_line(r"^relay ready: (https://127\.0\.0\.1:(\d+))(#\S+) ")
    url, port, true_pin = ready.groups()
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    assert true_pin == f"#sha256:{public_key_pin(der).hex()}"
    bare = desk.derphole("bare", "listen", "--relay", url, "--timeout", "3")
    wrong = desk.derphole(
        "wrong", "listen", "--relay", f"{url}#sha256:{WRONG_PIN}", "--timeout", "3"
    )

    for distrusting in (bare, wrong):
        assert pin_named_by(distrusting, int(port)) == true_pin
        distrusting.ends_with(1)
    listen = desk.derphole("listen", "listen", "--relay", url + true_pin)
    pipe = desk.pipe(token_of(listen), stdin=b"pinned")
    pipe.ends_with(0)
    listen.ends_with(0)


def test_the_pin_that_derper_prints_is_taken(desk: Desk) -> None:
    certificate, key = make_certificate(desk.folder)
    words = ["--listen", "127.0.0.1:0", "--stun-port", "off"]
    words += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    relay = desk.derphole("relay", "relay", *words)
    url = relay.await_line(r"^relay ready: (https://127\.0\.0\.1:\d+)#").group(1)
    printed = subprocess.run(
        ["openssl", "x509", "-in", str(certificate), "-noout", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    digits = re.sub("[^0-9A-F]", "", printed.partition("=")[2])

    listen = desk.derphole("listen", "listen", "--relay", f"{url}#sha256-raw:{digits}")
    pipe = desk.pipe(token_of(listen), stdin=b"pinned as derper does")

    pipe.ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == b"pinned as derper does"
