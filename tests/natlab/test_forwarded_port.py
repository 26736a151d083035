"""A port that somebody forwards by hand is enough between two NATs that cannot be punched."""

import pytest
from lab import Lab
from lab_transfers import Stage
from nat_kinds import NatKind
from topology import Topology

PORT = 41641
PAYLOAD = bytes(range(256)) * 256
DIRECT_EVENT = r'"event": "path".*"direct": true'
LIMIT_S = 15.0


@pytest.mark.parametrize("topology", [Topology(nat_a=NatKind.SYMMETRIC, nat_b=NatKind.SYMMETRIC)])
@pytest.mark.parametrize("sender", ["a", "b"])
def test_two_symmetric_nats_are_direct_by_a_forwarded_port(lab: Lab, stage: Stage, sender: str):
    lab.router("a").nft(
        "table ip forwarded { chain in { type nat hook prerouting priority -110; "
        f'iifname "wan" udp dport {PORT} dnat to {lab.a.address4}:{PORT}\n}}\n}}\n'
    )
    listener, piper = (lab.b, lab.a) if sender == "a" else (lab.a, lab.b)
    option = {lab.a: ("--udp-port", str(PORT)), lab.b: ()}

    listen = stage.run(
        "listen", listener, "listen", "--json", "--relay", stage.url, *option[listener]
    )
    token = listen.await_line(r'"token": "([^"]+)"').group(1)
    pipe = stage.run("pipe", piper, "pipe", "--json", token, *option[piper], stdin=-1)
    pipe.feed(PAYLOAD)
    pipe.await_line(DIRECT_EVENT, LIMIT_S)
    pipe.end_input()

    pipe.ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == PAYLOAD
