"""A relay that cannot be used is named within seconds, tried again, and used once it can be."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import tcp_servers
from desk import Desk, token_of
from support.processes import await_true, free_port
from tcp_servers import TcpServer
from tokens import session_text

from derphole.token.grant import Capability

pytestmark = pytest.mark.e2e

MIB = 1 << 20
WRONG_PIN = "00" * 32
# Two seconds until what is awaited is reported, and the start of a process on a busy machine.
SENTENCE_S = 10.0
# The first attempts come at once; a relay that only hangs is given up after 10 s.
SEVERAL = 3

TROUBLES = {
    "is no DERP server": (
        tcp_servers.serve_web_page,
        "http",
        r"is not a DERP server: it answered HTTP 200",
    ),
    "speaks no HTTP": (
        tcp_servers.say_nonsense,
        "http",
        r"is not a DERP server: it does not speak HTTP",
    ),
    "refuses our key": (tcp_servers.refuse_the_key, "http", r"refused our key: .* another relay"),
    "speaks no TLS": (tcp_servers.say_nonsense, "https", r"does not speak TLS correctly"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_relay_that_cannot_be_used_is_named_and_tried_again(desk: Desk, trouble: str) -> None:
    script, scheme, sentence = TROUBLES[trouble]
    with TcpServer(script) as relay:
        url = f"{scheme}://127.0.0.1:{relay.port}"
        token = session_text(Capability.LISTEN, relay.port, tls=scheme == "https")
        listen = desk.derphole("listen", "listen", "--relay", url, "--timeout", "3")
        pipe = desk.pipe(token, "--timeout", "3")

        said = rf"^relay trouble: relay 127\.0\.0\.1:{relay.port} .*{sentence}"
        for side, awaited in ((listen, "a relay"), (pipe, "the listener to answer")):
            side.await_line(said, SENTENCE_S)
            side.await_line(rf"^waiting for {awaited} \(2 s of at most 3 s\)$", SENTENCE_S)
            refuses = trouble == "refuses our key"
            step = "this does not pass by itself" if refuses else "check its scheme, host and port"
            side.ends_with(1, rf"^timed out after 3 s waiting for {awaited}; {step}")

        assert relay.connections >= 2 * SEVERAL


def test_a_relay_whose_certificate_nobody_trusts_is_named(desk: Desk) -> None:
    with TcpServer(tcp_servers.serve_nobody_over_tls(make_certificate(desk.folder))) as relay:
        url = f"https://127.0.0.1:{relay.port}"
        unpinned = desk.derphole("listen", "listen", "--relay", url, "--timeout", "3")
        pinned = desk.derphole(
            "listen", "listen", "--relay", f"{url}#sha256:{WRONG_PIN}", "--timeout", "3"
        )

        where = rf"^relay trouble: relay 127\.0\.0\.1:{relay.port} "
        unpinned.ends_with(
            1,
            where + "has a certificate that cannot be trusted",
            "^timed out after 3 s waiting for a relay",
        )
        pinned.ends_with(
            1,
            where + "has a certificate that does not match its pin",
            "^timed out after 3 s waiting for a relay",
        )


def test_a_token_carries_the_pin_of_a_relay_with_a_certificate_of_its_own(desk: Desk) -> None:
    certificate, key = make_certificate(desk.folder)
    words = ["--listen", "127.0.0.1:0", "--stun-port", "off"]
    words += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    relay = desk.derphole("relay", "relay", *words)
    url = relay.await_line(r"^relay ready: (https://\S+#sha256:[0-9a-f]{64}) ").group(1)
    listen = desk.derphole("listen", "listen", "--relay", url)

    pipe = desk.pipe(token_of(listen), stdin=b"through TLS")

    pipe.ends_with(0, "^sent 11B")
    listen.ends_with(0, "^received 11B")
    assert listen.stdout == b"through TLS"


@pytest.mark.alongside("waits")
def test_a_relay_that_hangs_after_the_upgrade_is_given_up_and_tried_again(desk: Desk) -> None:
    with TcpServer(tcp_servers.hang_after_upgrade) as relay:
        url = f"http://127.0.0.1:{relay.port}"
        listen = desk.derphole("listen", "listen", "--relay", url, "--timeout", "20")

        listen.await_line(r"^waiting for a relay \(2 s of at most 20 s\)$", SENTENCE_S)
        where = rf"127\.0\.0\.1:{relay.port}"
        listen.await_line(
            rf"^relay trouble: not connected to a relay yet \(tried: {where}, waiting for its answer "
            r"to our login\)$",
            SENTENCE_S,
        )
        listen.await_line(rf"^relay trouble: relay {where} accepted the upgrade and sent no ", 15.0)
        await_true(lambda: relay.connections > 1, "the relay is tried again")

        listen.send_signal(signal.SIGTERM)
        listen.ends_with(143)


def test_the_trouble_is_named_also_when_the_time_is_short(desk: Desk) -> None:
    port = free_port()
    listen = desk.derphole(
        "listen", "listen", "--relay", f"http://127.0.0.1:{port}", "--timeout", "0.5"
    )

    listen.ends_with(1, rf"^relay trouble: relay 127\.0\.0\.1:{port} ", "^timed out after ")


@pytest.mark.alongside("waits")
def test_both_sides_wait_for_a_relay_that_is_away_and_go_on_when_it_comes(desk: Desk) -> None:
    data = os.urandom(MIB)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    listen = desk.derphole("listen", "listen", "--relay", url)
    away = rf"^relay trouble: relay 127\.0\.0\.1:{port} "
    listen.await_line(away, SENTENCE_S)
    listen.await_line(r"^waiting for a relay \(2 s\)$", SENTENCE_S)

    first_relay, _ = desk.relay(f"127.0.0.1:{port}")
    token = token_of(listen)
    first_relay.send_signal(signal.SIGTERM)
    first_relay.ends_with(0)
    pipe = desk.pipe(token, stdin=data)
    pipe.await_line(away, SENTENCE_S)
    desk.relay(f"127.0.0.1:{port}")

    pipe.ends_with(0, "^sent ")
    listen.ends_with(0, "^received ")
    assert listen.stdout == data


def test_a_transfer_survives_a_relay_that_is_killed_and_comes_back(desk: Desk) -> None:
    before, after = os.urandom(MIB), os.urandom(2 * MIB)
    relay, url = desk.relay()
    listen = desk.derphole("listen", "listen", "--relay", url)
    pipe = desk.pipe(token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(before)
    listen.await_output(len(before))

    relay.send_signal(signal.SIGKILL)
    assert relay.wait() == -signal.SIGKILL
    for side in (listen, pipe):
        side.await_line("^relay trouble: ", SENTENCE_S)
    pipe.feed(after)
    desk.relay(url.removeprefix("http://"))
    pipe.end_input()

    pipe.ends_with(0, "^sent ")
    listen.ends_with(0, "^received ")
    assert listen.stdout == before + after


def test_a_listener_that_is_not_there_is_waited_for_aloud(desk: Desk) -> None:
    port = int(desk.relay_url.rpartition(":")[2])
    pipe = desk.pipe(session_text(Capability.LISTEN, port), stdin=b"never read")

    waiting = pipe.await_line(
        r"^waiting for the listener to answer \((\d+) s of at most (\d+) s\): "
        "the relay says that nobody is there$",
        SENTENCE_S,
    )

    assert re.fullmatch("[2-4]", waiting.group(1))
    assert re.fullmatch("12[0-4]", waiting.group(2))
    assert pipe.is_running
    pipe.send_signal(signal.SIGINT)
    pipe.ends_with(130)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate with the openssl command."""
    certificate, key = folder / "relay.crt", folder / "relay.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=relay",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return certificate, key
