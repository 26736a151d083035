"""A relay on a host with two addresses: STUN is answered from where it was asked, IPv4 and IPv6."""

import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import pytest
from lab import Lab
from natlab_support import received
from support.processes import PROGRAM, Process, clean_environment
from topology import PUBLIC6, Family, Topology

from tunnel.wire import stun

STUN_PORT = 3478


@pytest.fixture
def relay(lab: Lab, tmp_path: Path) -> Iterator[Process]:
    """A relay on every address of the lab's internet."""
    command = lab.public.command([sys.executable, PROGRAM, "relay", "--listen", ":3340"])
    process = Process("relay", command, tmp_path, clean_environment(tmp_path), stdout=DEVNULL)
    try:
        process.await_line("relay ready")
        yield process
    finally:
        process.stop()


@pytest.mark.parametrize("topology", [Topology(family=Family.DUAL)])
@pytest.mark.usefixtures("relay")
def test_stun_is_answered_from_the_address_that_was_asked(lab: Lab):
    addresses = [*lab.public_addresses, f"{PUBLIC6}::1", f"{PUBLIC6}::2"]
    answers = {}
    for address in addresses:
        with lab.a.udp_socket(lab.a.address6 if ":" in address else lab.a.address4) as client:
            client.sendto(stun.encode_binding_request(bytes(12)), (address, STUN_PORT))
            # Who connected its socket, or sits behind a NAT that filters, sees no other source.
            _, answers[address] = received(client) or (b"", None)

    assert answers == {address: (address, STUN_PORT) for address in addresses}
