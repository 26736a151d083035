"""Each topology is what it is called: who reaches whom, by which addresses."""

import pytest
from lab import Lab
from nat_kinds import BEHAVIOUR, Filtering, Mapping, NatKind
from natlab_support import can_ping, connects, drain, received, tcp_listener
from reflector import SAME, ask, can_ask, observe, punch, reflecting
from topology import CASES, Carrier, Family, Topology
from wires import Way

BLOCKED_WAIT_S = 0.3
# Where punching between the addresses that a server saw is not what decides.
NEEDS_HOST_CANDIDATES = {"same LAN", "same LAN, symmetric NAT"}
NEEDS_IPV6 = {"dual stack, symmetric"}
NEEDS_SECOND_INTERFACE = {"a has two interfaces, first without UDP"}
DECIDED_OTHERWISE = NEEDS_HOST_CANDIDATES | NEEDS_IPV6 | NEEDS_SECOND_INTERFACE


@pytest.mark.parametrize("topology", CASES.values(), ids=CASES.keys())
def test_both_hosts_reach_the_internet(lab: Lab):
    for host in (lab.a, lab.b):
        assert all(can_ping(host, address) for address in lab.public_addresses)


@pytest.mark.parametrize(
    "topology",
    [CASES[name] for name in CASES if name not in DECIDED_OTHERWISE],
    ids=[name for name in CASES if name not in DECIDED_OTHERWISE],
)
def test_punching_works_where_theory_says_so(lab: Lab):
    with reflecting(lab.public, lab.public_addresses) as reflector:
        is_through = punch(lab.a, lab.b, reflector) is not None

    assert is_through == lab.topology.expects_direct()


@pytest.mark.parametrize("topology", [CASES["same LAN, symmetric NAT"]])
def test_hosts_of_one_lan_reach_each_other_by_their_own_addresses(lab: Lab):
    with lab.a.udp_socket() as one, lab.b.udp_socket(lab.b.address, 9000) as other:
        one.sendto(b"hello", (lab.b.address, 9000))

        found = received(other)

    assert found is not None
    assert found[1][0] == lab.a.address


def test_hosts_behind_two_nats_reach_no_private_address(lab: Lab):
    with tcp_listener(lab.b, lab.b.address) as listener:
        port = listener.getsockname()[1]
        assert connects(lab.b, lab.b.address, port)
        assert not can_ping(lab.a, lab.b.address, BLOCKED_WAIT_S)


@pytest.mark.parametrize("topology", [Topology(carrier=Carrier.A, carrier_nat=NatKind.SYMMETRIC)])
def test_double_nat_is_as_strict_as_its_strictest_part(lab: Lab):
    with reflecting(lab.public, lab.public_addresses) as reflector:
        seen = observe(lab.a, reflector)

    assert lab.router("a").public_address.startswith("100.64.")
    assert seen.public_address == lab.carrier("a").public_address
    assert seen.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize("topology", [CASES["shared carrier, no hairpin"]])
def test_customers_of_one_carrier_share_its_address(lab: Lab):
    with reflecting(lab.public, lab.public_addresses) as reflector:
        seen = {observe(host, reflector).public_address for host in (lab.a, lab.b)}

    assert seen == {lab.carrier("a").public_address} == {lab.carrier("b").public_address}


@pytest.mark.parametrize("topology", [Topology(family=Family.IPV6)])
def test_ipv6_is_routed_behind_a_stateful_firewall(lab: Lab):
    with reflecting(lab.public, lab.public_addresses) as reflector:
        seen = observe(lab.a, reflector)

    assert ":" in lab.public_addresses[0]
    assert not lab.a.run("ip", "-4", "address", "show", "dev", "eth0")
    assert seen.public_address == lab.a.address6
    assert seen.keeps_port
    assert seen.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize(
    "topology", [Topology(nat_a=NatKind.NONE, nat_b=NatKind.UDP_BLOCKED, family=Family.IPV6)]
)
def test_ipv6_firewalls_open_and_block_as_the_kind_says(lab: Lab):
    with reflecting(lab.public, lab.public_addresses) as reflector:
        assert observe(lab.a, reflector).filtering is Filtering.ENDPOINT_INDEPENDENT
        assert not can_ask(lab.b, reflector, BLOCKED_WAIT_S)


@pytest.mark.parametrize("topology", [Topology(nat_a=NatKind.SYMMETRIC, family=Family.DUAL)])
def test_dual_stack_has_nat_on_ipv4_and_none_on_ipv6(lab: Lab):
    addresses6 = ("2001:db8::1", "2001:db8::2")
    with reflecting(lab.public, lab.public_addresses) as reflector:
        seen4 = observe(lab.a, reflector)
    with reflecting(lab.public, addresses6) as reflector:
        seen6 = observe(lab.a, reflector)

    assert seen4.public_address == lab.router("a").public_address
    assert seen4.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT
    assert seen6.public_address == lab.a.address6
    assert seen6.mapping is Mapping.ENDPOINT_INDEPENDENT


@pytest.mark.parametrize(
    "topology",
    [Topology(nat_a=NatKind.SYMMETRIC, second_uplink="a", second_nat=NatKind.RESTRICTED)],
)
def test_what_is_bound_to_the_second_interface_leaves_by_it(lab: Lab):
    with reflecting(lab.public, lab.public_addresses) as reflector:
        first = observe(lab.a, reflector)
        second = observe(lab.a, reflector, lab.a.second_address4)

    assert first.public_address == lab.router("a").public_address
    assert second.public_address == lab.router("a2").public_address
    restricted = BEHAVIOUR[NatKind.RESTRICTED]
    assert restricted is not None
    assert (second.mapping, second.filtering) == (restricted.mapping, restricted.filtering)
    assert lab.wire("a2").counts(Way.UP)["udp"].packets > 0


@pytest.mark.parametrize("topology", [Topology(second_uplink="a", family=Family.DUAL)])
def test_a_host_goes_on_by_its_second_interface_when_the_first_is_gone(lab: Lab):
    with (
        reflecting(lab.public, lab.public_addresses) as reflector,
        lab.a.udp_socket() as udp,
    ):
        assert ask(udp, reflector, SAME)[SAME][0] == lab.router("a").public_address

        lab.use_second_uplink("a")

        assert ask(udp, reflector, SAME)[SAME][0] == lab.router("a2").public_address
        assert can_ping(lab.a, "2001:db8::1")


@pytest.mark.parametrize("family", Family)
def test_a_host_that_moved_has_its_new_address_alone(family: Family):
    with (
        Lab(Topology(nat_a=NatKind.NONE, family=family)) as lab,
        reflecting(lab.public, lab.public_addresses) as reflector,
    ):
        old = lab.a.address
        lab.move("a", 77)

        assert lab.a.address != old
        assert observe(lab.a, reflector).public_address == lab.a.address
        assert not can_ping(lab.public, old, BLOCKED_WAIT_S)


def test_no_kind_but_none_lets_strangers_in(lab: Lab):
    port = 9000
    for kind in (NatKind.NONE, NatKind.PORT_RESTRICTED):
        lab.set_nat("a", kind)
        with lab.a.udp_socket("", port) as udp, lab.public.udp_socket() as stranger:
            for address in (lab.a.address, lab.router("a").public_address):
                stranger.sendto(b"hello", (address, port))
            assert drain(udp) == ([b"hello"] if kind is NatKind.NONE else [])
