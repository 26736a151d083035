"""Two name servers, of which the first is silent: other programs wait 5 s for the second."""

import json
import sys
from pathlib import Path

import pytest
from lab import Lab
from lab_transfers import RELAY_PORT, TOKEN_EVENT, Stage
from support.processes import PROGRAM, Process

NAME_SERVER = Path(__file__).with_name("name_server.py")
TOKEN_LIMIT_S = 6.0
WITH_ITS_OWN_RESOLVERS = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


@pytest.fixture
def url(lab: Lab, stage: Stage) -> str:
    """The relay's URL by name; the name servers are there."""
    first, second = lab.public_addresses
    command = [sys.executable, "-I", NAME_SERVER, second, first, first]
    stage.start("name server", lab.public, command).await_line("^ready$")
    return f"http://relay.test:{RELAY_PORT}"


def command(lab: Lab, folder: Path, *arguments: object) -> list[object]:
    """Return a command line of derphole with both name servers in its resolv.conf."""
    first, second = lab.public_addresses
    resolvers = folder / "resolv.conf"
    resolvers.write_text(f"nameserver {first}\nnameserver {second}\n")
    shell = ["unshare", "--mount", "sh", "-c", WITH_ITS_OWN_RESOLVERS, resolvers]
    return [*shell, PROGRAM, *arguments]


def listening(lab: Lab, stage: Stage, folder: Path, url: str, *options: object) -> Process:
    arguments = ["listen", "--json", "--force-relay", "--relay", url, *options]
    return stage.start("listen", lab.b, command(lab, folder, *arguments))


def test_a_token_comes_as_soon_as_the_second_name_server_has_answered(lab, stage, url, tmp_path):
    trace = tmp_path / "listen.trace"
    listen = listening(lab, stage, tmp_path, url, "--trace", trace)
    listen.await_line(TOKEN_EVENT, 4 * TOKEN_LIMIT_S)

    began = json.loads(trace.read_text().partition("\n")[0])["unix_s"]
    token = next(each for each in listen.events if each["event"] == "token")
    assert float(str(token["time"])) - began < TOKEN_LIMIT_S
    assert "looking up its name" in listen.stderr


def test_both_sides_come_back_after_the_relay_was_restarted(lab, stage, url, tmp_path):
    listen = listening(lab, stage, tmp_path, url)
    token = listen.await_line(TOKEN_EVENT, 4 * TOKEN_LIMIT_S).group(1)
    pipe = stage.start("pipe", lab.a, command(lab, tmp_path, "pipe", "--json", token), stdin=-1)
    pipe.feed(b"before ")
    listen.await_output(7, 4 * TOKEN_LIMIT_S)
    stage.relay.stop()
    stage.start_relay()

    pipe.feed(b"and after")
    pipe.end_input()

    assert listen.await_output(16, 50.0) == b"before and after"
    pipe.ends_with(0, timeout_s=20.0)
    listen.ends_with(0, timeout_s=20.0)


def test_netcheck_reaches_the_relay(lab, stage, url, tmp_path):
    netcheck = stage.start(
        "netcheck", lab.a, command(lab, tmp_path, "netcheck", "--json", "--relay", url)
    )

    code = netcheck.wait(40.0)

    report = json.loads(netcheck.stdout)
    assert (code, report["udp"]["outbound"]) == (0, True), netcheck.story
