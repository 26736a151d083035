"""What the questions to STUN servers find out, behind every kind of NAT and with liars about."""

import random
from itertools import product

import pytest
from nat_world import LAN_IP, LAN_PORTS, P1, P2, NatWorld, Server, error_response
from udp_network import Dependence, Nat

from tunnel.proto.netcheck.nat_behaviour import (
    HAIRPIN_WAITS_S,
    MAX_SERVERS,
    WAITS_S,
    Filtering,
    Mapping,
    NatCheck,
    mapping_of,
    may_be_other,
)
from tunnel.units import Instant
from tunnel.wire import stun

PUBLIC = "198.51.100.7"
A, A2, B, C = "192.0.2.1", "192.0.2.2", "203.0.113.1", "203.0.113.2"
EIM, ADM, APDM = Dependence
OPEN, BY_ADDRESS, BY_PORT = EIM, ADM, APDM
BEHAVIOURS = list(product(Dependence, Dependence))


def full_server(**knobs):
    return Server(A, A2, **knobs)


# --- every kind of NAT -----------------------------------------------------------------------


@pytest.mark.parametrize(("mapping", "filtering"), BEHAVIOURS)
def test_a_server_with_two_addresses_tells_mapping_and_filtering(mapping, filtering):
    found = NatWorld(Nat(PUBLIC, mapping, filtering), full_server()).run()

    assert found.mapping.value == mapping.value
    assert found.filtering.value == filtering.value
    assert found.is_translated
    assert found.keeps_port is False
    assert found.public[0][0] == PUBLIC


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (EIM, Mapping.ENDPOINT_INDEPENDENT),
        (ADM, Mapping.DEPENDENT),
        (APDM, Mapping.DEPENDENT),
    ],
)
def test_two_plain_servers_tell_whether_the_mapping_depends_on_the_destination(mapping, expected):
    found = NatWorld(Nat(PUBLIC, mapping), Server(A), Server(B)).run()

    assert found.mapping is expected
    assert found.filtering is Filtering.UNKNOWN
    assert len(found.answers) == 2


def test_one_plain_server_cannot_tell_the_mapping():
    found = NatWorld(Nat(PUBLIC), Server(A)).run()

    assert found.is_udp_working
    assert (found.mapping, found.filtering) == (Mapping.UNKNOWN, Filtering.UNKNOWN)
    assert found.hairpin is None


def test_without_a_nat_one_server_is_enough_for_the_mapping():
    found = NatWorld(None, Server(A)).run()

    assert found.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert found.is_translated is False
    assert found.keeps_port
    assert found.hairpin is None
    assert found.public == ((LAN_IP, LAN_PORTS[0]),)


def test_a_second_server_that_tells_its_other_address_is_enough():
    found = NatWorld(Nat(PUBLIC, APDM, BY_ADDRESS), Server(B), full_server()).run()

    assert found.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT
    assert found.filtering is Filtering.ADDRESS_DEPENDENT


def test_filtering_is_never_tried_at_an_address_that_was_knocked_at():
    # Both addresses of one server in the map, as two servers, and lane 1 began at the second.
    first, second = Server(A), full_server()
    world = NatWorld(Nat(PUBLIC, EIM, BY_ADDRESS), first, second)
    second.told_other = (A, P2)

    found = world.run()

    assert found.filtering is Filtering.UNKNOWN
    assert all(to == (A, P1) for lane, to in world.sent if lane == 1 and to[0] != PUBLIC)


def test_a_nat_that_keeps_ports_is_seen():
    found = NatWorld(Nat(PUBLIC, next_port=LAN_PORTS[0]), full_server()).run()

    assert found.keeps_port


@pytest.mark.parametrize("filtering", list(Dependence))
@pytest.mark.parametrize("hairpin", [False, True])
def test_hairpin_is_found_whatever_the_filter(filtering, hairpin):
    found = NatWorld(Nat(PUBLIC, EIM, filtering), full_server(), hairpin=hairpin).run()

    assert found.hairpin is hairpin


@pytest.mark.parametrize("mapping", [ADM, APDM])
def test_hairpin_is_unknown_where_nobody_can_be_told_our_port(mapping):
    assert NatWorld(Nat(PUBLIC, mapping), full_server()).run().hairpin is None


# --- silence, loss, time ---------------------------------------------------------------------


def test_silent_servers_are_asked_four_times_each_in_two_seconds():
    servers = [Server(A, is_silent=True), Server(B, is_silent=True)]
    world = NatWorld(Nat(PUBLIC), *servers)

    found = world.run()

    assert not found.is_udp_working
    assert found.mapping is Mapping.UNKNOWN
    assert found.keeps_port is None
    assert [len(server.asked) for server in servers] == [len(WAITS_S)] * 2
    assert world.now == pytest.approx(sum(WAITS_S))


def test_a_silent_server_beside_good_ones_changes_nothing():
    found = NatWorld(Nat(PUBLIC), Server(A, is_silent=True), Server(B), Server(C)).run()

    assert found.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert [answer.seen_at is None for answer in found.answers] == [True, False, False]


@pytest.mark.parametrize("tries_lost", [1, 2, 3])
@pytest.mark.parametrize(("mapping", "filtering"), BEHAVIOURS)
def test_three_lost_datagrams_to_every_question_change_nothing(mapping, filtering, tries_lost):
    found = NatWorld(Nat(PUBLIC, mapping, filtering), full_server(), tries_lost=tries_lost).run()

    assert found.mapping.value == mapping.value
    assert found.filtering.value == filtering.value


@pytest.mark.parametrize("seed", range(200))
def test_heavy_loss_may_cost_knowledge_and_never_makes_a_nat_look_better(seed):
    rng = random.Random(seed)
    mapping, filtering = rng.choice(BEHAVIOURS)
    nat = Nat(PUBLIC, mapping, filtering)
    world = NatWorld(nat, full_server(), Server(B), lost=lambda _: rng.random() < 0.25)

    found = world.run()

    known = [each.value for each in Dependence]
    assert found.mapping.value in (mapping.value, "unknown", "destination-dependent") or (
        found.mapping is Mapping.ADDRESS_DEPENDENT and mapping is APDM
    )
    assert found.filtering.value in ("unknown", *known[known.index(filtering.value) :])
    assert world.now < 3 * sum(WAITS_S)


def test_a_check_that_is_cut_short_does_not_take_silence_for_a_filter():
    found = NatWorld(Nat(PUBLIC, EIM, BY_PORT), full_server()).run(until_s=0.5)

    assert found.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert found.filtering is Filtering.UNKNOWN


def test_a_good_network_is_known_within_a_few_round_trips():
    world = NatWorld(None, full_server())

    world.run()

    assert world.now < 0.2


def test_a_filter_is_known_once_its_last_datagram_went_unanswered():
    world = NatWorld(Nat(PUBLIC, EIM, BY_PORT), full_server(), hairpin=True)

    world.run()

    assert sum(WAITS_S) < world.now < sum(WAITS_S) + sum(HAIRPIN_WAITS_S)


def test_at_most_four_servers_are_asked():
    servers = [Server(f"192.0.2.{number}") for number in range(1, 20)]

    found = NatWorld(None, *servers).run()

    assert len(found.answers) == MAX_SERVERS
    assert sum(bool(server.asked) for server in servers) == MAX_SERVERS


def test_a_server_is_asked_once_however_it_is_written():
    check = NatCheck(
        Instant(0.0),
        [("2001:db8::1", P1), ("2001:DB8:0::1", P1)],
        LAN_PORTS,
        [],
        lambda n: bytes(n),
    )

    assert len(check.datagrams_to_send(Instant(0.0))) == 1


# --- liars -----------------------------------------------------------------------------------


def test_an_answer_from_another_address_counts_for_nothing():
    liar = Server(A, answers_from=(B, P1))
    world = NatWorld(Nat(PUBLIC, filtering=OPEN), liar)

    found = world.run()

    assert not found.is_udp_working
    assert world.check.dropped == len(WAITS_S)


def test_an_answer_to_another_transaction_or_lane_counts_for_nothing():
    world = NatWorld(None, Server(A, is_silent=True))
    [outgoing] = world.check.datagrams_to_send(Instant(0.0))
    transaction = stun.decode_binding_request(outgoing.data).transaction_id
    forged = stun.encode_binding_response(b"x" * 12, PUBLIC, 1)
    true = stun.encode_binding_response(transaction, PUBLIC, 1)

    world.check.handle_datagram(Instant(0.0), 0, forged, (A, P1))
    world.check.handle_datagram(Instant(0.0), 1, true, (A, P1))
    world.check.handle_datagram(Instant(0.0), 0, true, (A, P2))
    world.check.handle_datagram(Instant(0.0), 0, b"junk", (A, P1))
    world.check.handle_datagram(Instant(0.0), 0, error_response(b"x" * 12, 420), (A, P1))

    assert not world.check.findings().is_udp_working
    assert world.check.dropped == 5


def test_a_second_answer_changes_nothing():
    world = NatWorld(None, Server(A))
    [outgoing] = world.check.datagrams_to_send(Instant(0.0))
    transaction = stun.decode_binding_request(outgoing.data).transaction_id
    for port in (1, 2):
        answer = stun.encode_binding_response(transaction, PUBLIC, port)
        world.check.handle_datagram(Instant(0.0), 0, answer, (A, P1))

    assert world.check.findings().public == ((PUBLIC, 1),)


@pytest.mark.parametrize("knob", ["ignores_change", "refuses_change"])
def test_a_server_that_does_not_change_its_address_leaves_filtering_unknown(knob):
    found = NatWorld(Nat(PUBLIC, EIM, OPEN), full_server(**{knob: True})).run()

    assert found.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert found.filtering is Filtering.UNKNOWN


@pytest.mark.parametrize(
    "other",
    [
        (A, P2),  # the same address
        (A2, P1),  # the same port
        (A2, 0),
        ("0.0.0.0", P2),
        ("127.0.0.1", P2),
        ("224.0.0.251", P2),
        ("255.255.255.255", P2),
        ("169.254.169.254", P2),
        ("2001:db8::1", P2),
    ],
)
def test_a_server_cannot_aim_our_questions_where_it_likes(other):
    world = NatWorld(Nat(PUBLIC), full_server(told_other=other))

    found = world.run()

    assert {to[0] for _, to in world.sent} <= {A, PUBLIC}
    assert found.filtering is Filtering.UNKNOWN


def test_a_server_of_the_internet_cannot_aim_at_a_private_network():
    assert not may_be_other(("8.8.8.8", P1), ("192.168.1.1", P2))
    assert may_be_other(("8.8.8.8", P1), ("8.8.4.4", P2))
    assert may_be_other(("192.168.1.1", P1), ("192.168.1.2", P2))


def test_a_liar_costs_a_bounded_number_of_datagrams():
    world = NatWorld(Nat(PUBLIC, EIM, OPEN), *(full_server() for _ in range(3)), Server(B))

    world.run()

    assert len(world.sent) < 60


def test_a_stranger_s_request_is_no_hairpin():
    world = NatWorld(Nat(PUBLIC, EIM, OPEN), full_server())
    request = stun.encode_binding_request(b"y" * 12)
    world.check.handle_datagram(Instant(0.0), 0, request, (B, P1))

    assert world.run().hairpin is False


# --- the conclusion as a table ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({}, Mapping.UNKNOWN),
        ({(A, 1): (PUBLIC, 5)}, Mapping.UNKNOWN),
        ({(A, 1): (PUBLIC, 5), (A, 2): (PUBLIC, 5)}, Mapping.UNKNOWN),
        ({(A, 1): (PUBLIC, 5), (A, 2): (PUBLIC, 6)}, Mapping.ADDRESS_AND_PORT_DEPENDENT),
        ({(A, 1): (PUBLIC, 5), (B, 1): (PUBLIC, 5)}, Mapping.ENDPOINT_INDEPENDENT),
        ({(A, 1): (PUBLIC, 5), (B, 1): (PUBLIC, 6)}, Mapping.DEPENDENT),
        ({(A, 1): (PUBLIC, 5), (B, 1): ("198.51.100.8", 5)}, Mapping.DEPENDENT),
        (
            {(A, 1): (PUBLIC, 5), (B, 1): (PUBLIC, 6), (B, 2): (PUBLIC, 6)},
            Mapping.ADDRESS_DEPENDENT,
        ),
    ],
)
def test_the_mapping_follows_from_where_servers_saw_us(seen, expected):
    assert mapping_of(seen) is expected
