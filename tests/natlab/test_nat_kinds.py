"""Each kind of NAT does what its name says, seen from outside with plain UDP sockets."""

import itertools

import pytest
from lab import Lab
from nat_kinds import BEHAVIOUR, Filtering, Mapping, NatKind, can_go_direct
from natlab_support import connects, received, tcp_listener
from reflector import ANSWER_LIMIT_S, SAME, Observed, ask, can_ask, observe, punch, reflecting
from topology import Topology

OPEN_KINDS = [kind for kind in NatKind if BEHAVIOUR[kind] is not None]
BLOCKED_WAIT_S = 0.5


@pytest.mark.parametrize("kind", OPEN_KINDS)
def test_a_kind_maps_and_filters_as_its_name_says(lab: Lab, kind: NatKind):
    lab.set_nat("a", kind)

    with reflecting(lab.public, lab.public_addresses) as reflector:
        seen = observe(lab.a, reflector)

    behaviour = BEHAVIOUR[kind]
    assert behaviour is not None
    address = lab.a.address4 if kind is NatKind.NONE else lab.router("a").public_address
    assert seen == Observed(behaviour.mapping, behaviour.filtering, behaviour.keeps_port, address)


def test_udp_blocked_passes_tcp_and_no_udp(lab: Lab):
    lab.set_nat("a", NatKind.UDP_BLOCKED)
    address = lab.public_addresses[0]

    with reflecting(lab.public, lab.public_addresses) as reflector:
        assert can_ask(lab.b, reflector, ANSWER_LIMIT_S)
        assert not can_ask(lab.a, reflector, BLOCKED_WAIT_S)
    with tcp_listener(lab.public, address) as listener:
        assert connects(lab.a, address, listener.getsockname()[1])


def test_holes_can_be_punched_between_just_the_pairs_that_theory_names(lab: Lab):
    wrong = []
    with reflecting(lab.public, lab.public_addresses) as reflector:
        for one, other in itertools.product(OPEN_KINDS, repeat=2):
            lab.set_nat("a", one)
            lab.set_nat("b", other)
            is_through = punch(lab.a, lab.b, reflector) is not None
            if is_through != can_go_direct(one, other):
                wrong.append(f"{one} to {other}: {'went' if is_through else 'did not go'} through")

    assert not wrong


def test_theory_knows_the_hard_pairs():
    hard = {
        frozenset(pair)
        for pair in itertools.combinations_with_replacement(OPEN_KINDS, 2)
        if not can_go_direct(*pair)
    }

    symmetric, remapped = NatKind.SYMMETRIC, NatKind.REMAPPED
    assert hard == {
        frozenset({symmetric}),
        frozenset({symmetric, NatKind.PORT_RESTRICTED}),
        frozenset({symmetric, remapped}),
    }
    assert not any(can_go_direct(kind, NatKind.UDP_BLOCKED) for kind in NatKind)


@pytest.mark.parametrize("kind", [NatKind.PORT_RESTRICTED, NatKind.REMAPPED, NatKind.SYMMETRIC])
def test_a_rebind_moves_the_mapping_and_kills_the_old_one(lab: Lab, kind: NatKind):
    lab.set_nat("a", kind)
    with (
        reflecting(lab.public, lab.public_addresses) as reflector,
        lab.a.udp_socket() as udp,
        lab.public.udp_socket(lab.public_addresses[0], 9000) as server,
    ):
        udp.sendto(b"hello", (lab.public_addresses[0], 9000))
        before = received(server)
        assert before is not None

        lab.rebind("a")
        server.sendto(b"to the old mapping", before[1])
        after = ask(udp, reflector, SAME)[SAME]

        # What was sent to the old mapping would have come before the answer.
        assert received(udp, 0) is None
        assert (before[1][0], after[0]) == (lab.router("a").address, lab.router("a").public_address)
        assert (before[1][1] == after[1]) == (kind is NatKind.PORT_RESTRICTED)


def test_a_second_rebind_brings_the_first_address_back(lab: Lab):
    lab.rebind("a")
    assert lab.router("a").public_address == lab.router("a").second_address

    lab.rebind("a")

    with reflecting(lab.public, lab.public_addresses) as reflector:
        assert observe(lab.a, reflector).public_address == lab.router("a").address


def test_forgetting_connections_keeps_the_port_of_a_cone_and_changes_a_symmetric_one(lab: Lab):
    with reflecting(lab.public, lab.public_addresses) as reflector:
        for kind, is_kept in ((NatKind.REMAPPED, True), (NatKind.SYMMETRIC, False)):
            lab.set_nat("a", kind)
            with lab.a.udp_socket() as udp:
                before = ask(udp, reflector, SAME)
                lab.router("a").flush_conntrack()
                assert (ask(udp, reflector, SAME) == before) == is_kept


@pytest.mark.parametrize("kind", [NatKind.FULL_CONE, NatKind.RESTRICTED, NatKind.PORT_RESTRICTED])
@pytest.mark.parametrize("topology", [Topology(same_lan=True)])
def test_public_addresses_work_inside_a_lan_with_hairpin_alone(lab: Lab, kind: NatKind):
    with reflecting(lab.public, lab.public_addresses) as reflector:
        lab.set_nat("a", kind, hairpin=False)
        assert punch(lab.a, lab.b, reflector) is None

        lab.set_nat("a", kind, hairpin=True)
        assert punch(lab.a, lab.b, reflector) is not None


def test_a_nat_becomes_another_without_a_word_to_the_host(lab: Lab):
    with reflecting(lab.public, lab.public_addresses) as reflector:
        first = observe(lab.a, reflector)
        lab.set_nat("a", NatKind.SYMMETRIC)
        second = observe(lab.a, reflector)

    assert (first.mapping, second.mapping) == (
        Mapping.ENDPOINT_INDEPENDENT,
        Mapping.ADDRESS_AND_PORT_DEPENDENT,
    )
    assert second.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT
