"""No secret of a run shows in what its processes say, write into traces, or fail with."""

import base64
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from desk import Desk, token_of
from secret_forms import forms_of, leaks
from support.processes import Process, clean_environment, free_port
from tokens import ISSUER, grant_for, session_text

from derphole.token.grant import Capability
from derphole.token.hints import RegionHints
from derphole.token.text import ServerToken, client_token, parse_token, token_text

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("DERPHOLE_PROGRAM" in os.environ, reason="the sources are recorded"),
]

RECORDER = Path(__file__).with_name("record_secrets.py")
DATA = bytes(range(256)) * 64
PASSWORD = "correct-horse:battery/staple"


class Watched:
    """Processes whose secrets are recorded, and what became of their words."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._record = desk.folder / "secrets"
        self.traces: list[Path] = []
        self.processes: list[Process] = []
        self._printed: list[str] = []

    def run(
        self,
        name: str,
        *arguments: str,
        fault: str = "",
        stdin=subprocess.DEVNULL,
        variables: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a derphole command with a trace, where it takes one."""
        if arguments[0] != "relay":
            self.traces.append(self.desk.folder / f"{name}.trace")
            arguments = (arguments[0], "--trace", str(self.traces[-1]), *arguments[1:])
        planted = [fault] if fault else []
        recorder = [sys.executable, RECORDER, self._record, *planted, "--"]
        environment = {**clean_environment(self.desk.folder), "DERPHOLE_DEBUG": "1"}
        environment |= variables or {}
        folder = self.desk.working_folder
        process = Process(name, [*recorder, *arguments], folder, environment, stdin=stdin)
        self.desk.processes.append(process)
        self.processes.append(process)
        return process

    def token(self, listener: Process) -> str:
        """Wait for a token; that one line may show it."""
        token = token_of(listener)
        self._printed.append(token)
        return token

    def secrets(self) -> dict[str, bytes]:
        """Return what was recorded, by a name each."""
        named = {value: name for name, value in self.recorded()}
        return {
            f"{name} {n}": bytes.fromhex(value) for n, (value, name) in enumerate(named.items())
        }

    def recorded(self) -> list[tuple[str, str]]:
        """Return (name, hex) of everything that was recorded."""
        lines = self._record.read_text().splitlines() if self._record.exists() else []
        return [(name, value) for name, _, value in (line.partition(" ") for line in lines)]

    def words(self) -> str:
        """Return everything that was said, less the one line of each token that was printed."""
        lines = [line for process in self.processes for line in process.lines]
        for token in self._printed:
            for line in lines:
                if line == token or line.startswith('{"event": "token"'):
                    lines.remove(line)
                    break
        traces = [trace.read_text() for trace in self.traces if trace.exists()]
        return "\n".join((*lines, *traces))

    def assert_silent(self, **further: bytes) -> None:
        """Assert that neither what was recorded nor what is named here was said."""
        words = self.words()
        tokens = {f"token {n}": token.encode() for n, token in enumerate(self._printed)}
        grants = {
            f"grant secret {n}": parse_token(token).secret for n, token in enumerate(self._printed)
        }
        assert leaks(words, {**self.secrets(), **tokens, **grants, **further}) == []
        assert not [token for token in self._printed if token in words]
        for trace in self.traces:
            assert not trace.exists() or stat.S_IMODE(trace.stat().st_mode) == 0o600


@pytest.fixture
def watched(desk: Desk) -> Watched:
    return Watched(desk)


@pytest.mark.parametrize("flags", [("--verbose",), ("--json", "--verbose"), ("--quiet",)])
def test_a_transfer_shows_no_secret(watched: Watched, flags: tuple[str, ...]) -> None:
    relay = watched.run(
        "relay", "relay", "--listen", "127.0.0.1:0", "--stun-port", "off", "--verbose"
    )
    url = relay.await_line(r"^relay ready: (http\S+)").group(1)
    listen = watched.run("listen", "listen", "--relay", url, *flags)
    is_json = "--json" in flags
    token = json_token(watched, listen) if is_json else watched.token(listen)

    pipe = watched.run("pipe", "pipe", *flags, token, stdin=DATA)

    assert pipe.wait() == 0
    assert listen.wait() == 0
    assert listen.stdout == DATA
    relay.stop()
    names = {name for name, _ in watched.recorded()}
    assert {"random", "minting", "grant-secret", "psk", "claim-mac", "root", "traffic", "noise",
            "exchange", "noise-static", "derp-node", "parent-of-minting"} <= names  # fmt: skip
    assert "link.up" in watched.words()
    watched.assert_silent()


def json_token(watched: Watched, listener: Process) -> str:
    line = listener.await_line(r'^\{"event": "token".*"(dhp1_[A-Za-z0-9_-]+)"')
    watched._printed.append(line.group(1))
    return line.group(1)


def test_the_token_on_standard_output_shows_nowhere_else(watched: Watched, relay_url: str) -> None:
    listen = watched.run(
        "listen", "listen", "--verbose", "--print-token-only", "--relay", relay_url
    )
    token = listen.await_output(100).decode().strip()
    secret = parse_token(token).secret

    pipe = watched.run(
        "pipe", "pipe", "--verbose", "--token-stdin", stdin=f"{token}\n".encode() + DATA
    )

    assert pipe.wait() == listen.wait() == 0
    assert token not in watched.words()
    watched.assert_silent(token=token.encode(), grant_secret=secret)


def test_the_token_in_a_variable_or_a_file_is_not_said(watched: Watched, relay_url: str) -> None:
    path = watched.desk.folder / "token.txt"
    text = session_text(Capability.LISTEN, int(relay_url.rpartition(":")[2]))
    path.write_text(text)
    limits = ("--timeout", "1", "--verbose")

    by_file = watched.run("file", "pipe", *limits, "--token-file", str(path))
    by_variable = watched.run("variable", "pipe", *limits, variables={"DERPHOLE_TOKEN": text})

    assert by_file.wait() == by_variable.wait() == 1
    watched.assert_silent(token=text.encode(), secret=parse_token(text).secret)


GOOD = session_text(Capability.LISTEN, port=9)
SEED = bytes(range(100, 132))
UNUSABLE = {
    "damaged": GOOD[:60] + ("A" if GOOD[60] != "A" else "B") + GOOD[61:],
    "cut": GOOD[:-9],
    "expired": session_text(Capability.LISTEN, port=9, expires_in_s=-7200),
    "for another command": session_text(Capability.SHARE, port=9),
    "a server's": token_text(ServerToken(SEED, 1_990_000_000, RegionHints((1,)))),
    "a client's": token_text(client_token(ISSUER, grant_for(Capability.TUNNEL), RegionHints((1,)))),
    "foreign": "dts1_" + "Ab3-" * 40,
    "foreign without a prefix": "Ab3_" * 50,
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_token_that_is_refused_is_not_repeated(watched: Watched, case: str) -> None:
    token = UNUSABLE[case]

    plain = watched.run("plain", "pipe", "--verbose", token)
    as_json = watched.run("json", "pipe", "--verbose", "--json", token)

    assert plain.wait() == as_json.wait() == 1
    parts = {f"part {start}": token[start : start + 20].encode() for start in range(8, 120, 16)}
    watched.assert_silent(token=token.encode(), seed=SEED, keys=ISSUER.keys.minting, **parts)


def test_a_second_claimer_that_is_refused_learns_and_says_no_secret(
    watched: Watched, relay_url: str
) -> None:
    read_end, write_end = os.pipe()
    listen = watched.run("listen", "listen", "--verbose", "--relay", relay_url)
    token = watched.token(listen)
    first = watched.run("first", "pipe", "--verbose", token, stdin=read_end)
    os.close(read_end)
    os.write(write_end, DATA[:100])
    listen.await_output(100)

    second = watched.run("second", "pipe", "--verbose", token, stdin=b"late")

    assert second.wait() == 1
    os.close(write_end)
    assert first.wait() == listen.wait() == 0
    watched.assert_silent()


def test_a_killed_relay_makes_nobody_say_a_secret(watched: Watched) -> None:
    address = f"127.0.0.1:{free_port()}"
    relay = watched.run("relay", "relay", "--listen", address, "--stun-port", "off", "--verbose")
    relay.await_line("^relay ready")
    listen = watched.run("listen", "listen", "--verbose", "--relay", f"http://{address}")
    read_end, write_end = os.pipe()
    pipe = watched.run("pipe", "pipe", "--verbose", watched.token(listen), stdin=read_end)
    os.close(read_end)
    os.write(write_end, DATA[:100])
    listen.await_output(100)

    relay.send_signal(signal.SIGKILL)
    relay.wait()
    pipe.await_line("cannot be reached|closed the connection")
    pipe.send_signal(signal.SIGINT)
    listen.send_signal(signal.SIGTERM)

    assert pipe.wait() == 130
    assert listen.wait() in (143, 1)  # by the signal, or by the goodbye of the other side
    os.close(write_end)
    watched.assert_silent()


FAULTS = {
    "in a claim": "tunnel.proto.meeting.handshake:IncomingClaim.decide",
    "in a packet": "tunnel.proto.link.peer_link:PeerLink.handle_packet",
    "in the pump": "tunnel.net.pump:Pump._work",
    "in the conversation": "derphole.pipe:_Receiver.receive",
    "in the trace": "tunnel.net.link_trace:LinkTrace.sample",
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_exception_that_nobody_expects_shows_no_secret(
    watched: Watched, relay_url: str, case: str
) -> None:
    flags = ("--verbose", "--relay", relay_url)
    listen = watched.run("listen", "listen", *flags, fault=FAULTS[case])
    # A pump that fails at once leaves no token to wait for.
    printed = None if case == "in the pump" else watched.token(listen)

    if printed is not None:
        watched.run("pipe", "pipe", "--verbose", "--timeout", "3", printed, stdin=DATA).wait()

    assert listen.wait() != 0
    words = watched.words()
    assert "planted in" in words, words
    watched.assert_silent()
    for process in watched.processes:
        watched.desk.processes.remove(process)  # a debug run may show tracebacks
        process.stop()


def test_a_descriptor_that_cannot_be_read_shows_no_secret(watched: Watched, relay_url: str) -> None:
    listen = watched.run("listen", "listen", "--verbose", "--relay", relay_url)
    write_only = os.open(watched.desk.folder / "write-only", os.O_WRONLY | os.O_CREAT, 0o600)

    pipe = watched.run("pipe", "pipe", "--verbose", watched.token(listen), stdin=write_only)

    os.close(write_only)
    assert pipe.wait() == 1
    assert listen.wait() == 1
    watched.assert_silent()


@pytest.mark.parametrize("flags", [("--verbose",), ("--verbose", "--json")])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_the_password_of_a_proxy_is_not_said(
    watched: Watched, scheme: str, flags: tuple[str, ...]
) -> None:
    secret = PASSWORD.replace(":", "%3A").replace("/", "%2F")
    proxy = f"{scheme}://somebody:{secret}@127.0.0.1:{free_port()}"
    relay = ("--relay", "https://relay.invalid:8443", "--timeout", "2")

    listen = watched.run("listen", "listen", *flags, *relay, variables={"HTTPS_PROXY": proxy})

    assert listen.wait() == 1
    assert "proxy" in watched.words()
    credentials = base64.b64encode(f"somebody:{PASSWORD}".encode())
    watched.assert_silent(password=PASSWORD.encode(), quoted=secret.encode(), header=credentials)


@pytest.mark.parametrize("lead", range(4))
def test_every_form_of_a_secret_is_found(lead: int) -> None:
    secret = bytes.fromhex("00f1a27b5cff30410a0d22275c9e807f")
    texts = [*forms_of(secret), base64.b64encode(bytes(lead) + secret + b"tail").decode()]
    texts += [repr({"key": secret}), str([secret]), json.dumps({"key": secret.hex()})]

    for text in texts:
        assert leaks(f"before\n{'x' * lead}{text}", {"secret": secret}), text
    assert leaks("nothing here", {"secret": secret}) == []
