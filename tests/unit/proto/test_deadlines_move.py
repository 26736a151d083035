"""No machine stays due: after its driver did all that was to do, the next deadline lies ahead.

A driver would come back at once and spin.  Each machine is left alone for an hour, without a single
answer; links and their parts are looked at in every simulated world (`World.settle`).
"""

import itertools
from collections.abc import Callable

import pytest
from support.derp_login import CLIENT, PING, START, acceptance, entropy, greeting, hear
from support.fake_gateway import FakeGateway
from support.portmap_home import Home

from tunnel.crypto.keys import KeyPair
from tunnel.errors import RelayUnreachable
from tunnel.proto.netcheck.nat_behaviour import NatCheck
from tunnel.proto.paths.gather import Gatherer, StunQuestion
from tunnel.proto.portmap.machine import PortMapMachine
from tunnel.proto.relay_client.derp_client import DerpClient
from tunnel.proto.relay_client.regions import StunMeasurement
from tunnel.proto.relay_server.derp_relay import Relay, RoutingLimits
from tunnel.units import Instant
from tunnel.wire.derpmap import RelayMap, RelayNode, RelayRegion

HOUR_S = 3600.0
MOST_TURNS = 10_000


def numbers() -> Callable[[int], bytes]:
    counter = itertools.count(1)
    return lambda size: next(counter).to_bytes(size, "big")


def leave_alone(
    now: Instant, work: Callable[[Instant], object], next_timeout: Callable[[], Instant | None]
) -> int:
    """Do what is due for an hour; returns how often that was."""
    end = now + HOUR_S
    for turn in range(MOST_TURNS):
        work(now)
        due = next_timeout()
        if due is None or due > end:
            return turn
        assert due > now, f"due again at {due} after all was done at {now}"
        now = due
    raise AssertionError(f"{MOST_TURNS} turns took no hour")


@pytest.mark.parametrize("servers", [0, 1, 3])
def test_a_gatherer_moves_on(servers):
    machine = Gatherer(Instant(0.0), numbers())
    questions = [StunQuestion(0, "203.0.113.1", 3478 + n) for n in range(servers)]

    turns = leave_alone(
        Instant(0.0), lambda now: machine.requests_to_send(now, questions), machine.next_timeout
    )

    assert turns <= HOUR_S / 20


@pytest.mark.parametrize("gateway", ["10.0.1.1", "fe80::1"])
def test_a_port_mapper_without_a_gateway_moves_on(gateway):
    local = "10.0.1.2" if gateway == "10.0.1.1" else "2001:db8::2"
    machine = PortMapMachine(Instant(0.0), gateway, local, 40000, numbers())

    def work(now):
        machine.handle_timeout(now)
        machine.datagrams_to_send()
        machine.searches_to_send(now)
        for request in machine.requests_to_send():
            machine.handle_no_response(now, request.number, "no route")
        while machine.next_event() is not None:
            pass

    assert leave_alone(Instant(0.0), work, machine.next_timeout) <= HOUR_S / 10


@pytest.mark.parametrize("knobs", [{}, {"has_pcp": False}, {"has_pcp": False, "has_natpmp": False}])
def test_a_port_mapper_whose_gateway_dies_moves_on(knobs):
    home = Home(FakeGateway(**knobs))
    home.run_for(10.0)
    machine = home.machine
    assert machine.mapping is not None

    def work(now):
        machine.handle_timeout(now)
        machine.datagrams_to_send()
        machine.searches_to_send(now)
        for request in machine.requests_to_send():
            machine.handle_no_response(now, request.number, "no route")

    assert leave_alone(home.now, work, machine.next_timeout) <= HOUR_S / 10


def test_a_measurement_of_regions_moves_on():
    node = RelayNode("1a", 1, "relay.example", ipv4="203.0.113.1")
    relay_map = RelayMap({1: RelayRegion(1, "one", "One", (node,))})
    machine = StunMeasurement(relay_map, numbers(), START, 2.0)

    def work(now):
        machine.probes_to_send(now)

    def next_timeout():
        due = machine.next_timeout()
        return None if machine.is_finished(due) else due

    assert leave_alone(START, work, next_timeout) <= 20


def test_a_check_of_nats_moves_on():
    servers = [("203.0.113.1", 3478), ("203.0.113.2", 3478)]
    machine = NatCheck(Instant(0.0), servers, (40000, 40001), ["10.0.0.2"], numbers())

    assert leave_alone(Instant(0.0), machine.datagrams_to_send, machine.next_timeout) <= 60


@pytest.mark.parametrize("is_awaited", [False, True])
def test_a_relay_connection_moves_on_until_it_is_given_up(is_awaited):
    client = DerpClient(CLIENT, entropy, START, Instant(START + 10))
    hear(client, START, greeting() + acceptance())
    client.set_awaited(START, is_awaited=is_awaited)

    def work(now):
        client.handle_timeout(now)
        client.frames_to_send()

    with pytest.raises(RelayUnreachable):
        leave_alone(START, work, client.next_timeout)


def test_a_relay_connection_that_is_answered_moves_on():
    client = DerpClient(CLIENT, entropy, START, Instant(START + 10))
    hear(client, START, greeting() + acceptance())

    def work(now):
        client.handle_timeout(now)
        if client.frames_to_send():
            hear(client, now, PING)
            client.frames_to_send()

    assert leave_alone(START, work, client.next_timeout) <= HOUR_S / 20


def test_a_client_of_the_embedded_relay_moves_on():
    relay = Relay(KeyPair.from_secret(b"\x22" * 32), RoutingLimits(), lambda size: b"\x80" * size)
    client = relay.open(START)

    def work(now):
        relay.handle_timeout(now, client)
        relay.output_to_send(client)

    assert leave_alone(START, work, lambda: relay.next_timeout(client)) <= HOUR_S / 50
