"""One port at a simulated gateway: which protocol, renewal, loss, refusal, release."""

from ipaddress import ip_address
from math import inf
from random import Random

import pytest
from support.fake_gateway import FakeGateway
from support.portmap_home import HOUR_S, NAT_PMP, OURS, PCP, PORT, UPNP, Home, made, reasons

from tunnel.proto.portmap.mapping import (
    EpochWatch,
    Lease,
    MappingLost,
    MappingMade,
    MappingProtocol,
    NoMapping,
    PortMapping,
    Reason,
    is_public,
    is_usable,
)
from tunnel.units import Instant

# Which protocol


def test_pcp_is_taken_where_there_is_everything_and_the_others_are_only_seen():
    home = Home()

    assert made(home) == PortMapping(PCP, "5.5.5.10", PORT, 7200)
    assert home.machine.services_seen(home.now) == {PCP, NAT_PMP, UPNP}
    assert "AddPortMapping" not in home.gateway.asked
    assert len(home.gateway.table) == 1


@pytest.mark.parametrize(
    ("knobs", "protocol"),
    [
        ({"has_natpmp": False, "has_upnp": False}, PCP),
        ({"has_pcp": False, "has_upnp": False}, NAT_PMP),
        ({"has_pcp": False, "has_natpmp": False}, UPNP),
        ({"pcp_result": 2}, NAT_PMP),
        ({"pcp_result": 8, "natpmp_result": 2}, UPNP),
        ({"has_pcp": False, "natpmp_result": 3}, UPNP),
        ({"is_port_closed": True}, UPNP),
        ({"has_pcp": False, "answers_other_versions": True}, NAT_PMP),
    ],
)
def test_what_the_gateway_speaks_is_used(knobs, protocol):
    home = Home(FakeGateway(**knobs))

    mapping = made(home)

    assert mapping == PortMapping(protocol, "5.5.5.10", PORT, 7200)
    assert mapping.is_public
    assert home.gateway.table[PORT].internal_ip == OURS


@pytest.mark.parametrize("protocol", list(MappingProtocol))
def test_a_protocol_can_be_had_alone(protocol):
    home = Home(protocols=[protocol])

    assert made(home).protocol is protocol


@pytest.mark.parametrize(
    ("knobs", "longest_s"),
    [
        ({}, 0.01),
        ({"has_pcp": False, "answers_other_versions": True}, 0.02),
        ({"is_port_closed": True}, 0.05),
        ({"has_pcp": False, "has_upnp": False}, 0.27),
        ({"has_pcp": False, "has_natpmp": False}, 0.30),
    ],
)
def test_a_mapping_comes_soon_also_behind_silent_protocols(knobs, longest_s):
    home = Home(FakeGateway(**knobs))

    home.run_for(longest_s)

    assert home.machine.mapping is not None


def test_a_silent_gateway_is_given_up_in_words_and_asked_ever_more_rarely():
    home = Home(FakeGateway(has_pcp=False, has_natpmp=False, has_upnp=False))
    begun_at = home.now

    assert reasons(home) == dict.fromkeys(MappingProtocol, Reason.SILENT)
    home.sent.clear()
    home.run_for(4 * HOUR_S)

    rounds = sorted({60 * ((at - begun_at) // 60) for at, _ in home.sent})
    gaps = [after - before for before, after in zip(rounds, rounds[1:], strict=False)]
    assert rounds[0] == 60
    assert gaps == sorted(gaps)
    assert max(gaps) <= 1810
    assert len(home.sent) < 200


def test_the_whole_network_is_searched_only_if_the_gateway_is_silent():
    loud = Home()
    quiet = Home(FakeGateway(has_upnp=False))
    for home in (loud, quiet):
        home.run_for(2.0)

    searches = [
        what for home in (loud, quiet) for _, what in home.sent if hasattr(what, "is_multicast")
    ]
    assert [each.is_multicast for each in searches] == [False, False]
    alone = Home(FakeGateway(has_pcp=False, has_natpmp=False, has_upnp=False))
    alone.run_for(2.0)
    assert sum(getattr(what, "is_multicast", False) for _, what in alone.sent) == 3


def test_datagrams_that_get_lost_are_repeated():
    home = Home(FakeGateway(has_natpmp=False, has_upnp=False))
    home.is_cut = True
    home.run_for(0.4)
    home.is_cut = False
    home.run_for(0.2)

    assert home.machine.mapping is not None
    assert len({what for _, what in home.sent if isinstance(what, bytes) and what[0] == 2}) == 1


def test_an_ipv6_gateway_is_asked_by_pcp_alone():
    home = Home(FakeGateway(ip="fe80::1"), local_ip="2600:1f18::2")

    assert made(home) == PortMapping(PCP, "2600:1f18::2", PORT, 7200)
    assert set(home.gateway.asked) == {"pcp"}


def test_no_allowed_protocol_is_said_at_once():
    home = Home(FakeGateway(ip="fe80::1"), protocols=[UPNP], local_ip="2600:1f18::2")

    assert home.settled() == [NoMapping({})]
    assert home.machine.next_timeout() is None


# Renewal


@pytest.mark.parametrize("knobs", [{}, {"has_pcp": False}, {"is_port_closed": True}])
def test_a_mapping_is_renewed_at_half_of_its_life_without_an_event(knobs):
    home = Home(FakeGateway(**knobs))
    made(home)
    home.gateway.asked.clear()

    home.run_for(HOUR_S - 60)
    assert home.gateway.asked == []
    home.run_for(120)

    assert home.gateway.asked != []
    assert home.take_events() == []
    assert len(home.gateway.table) == 1


def test_a_short_lease_is_kept_alive():
    home = Home(FakeGateway(max_lifetime_s=10))
    assert made(home).lifetime_s == 10
    home.gateway.asked.clear()

    home.run_for(100)

    assert 15 <= home.gateway.asked.count("pcp") <= 25
    assert home.take_events() == []


def test_the_nonce_is_kept_for_the_life_of_the_mapping_and_drawn_anew_elsewhere():
    home = Home()
    made(home)
    home.run_for(10 * HOUR_S)
    [entry] = home.gateway.table.values()
    nonces = {what[24:36] for _, what in home.sent if isinstance(what, bytes) and what[0] == 2}
    assert nonces == {entry.nonce}

    home.machine.handle_network_change(home.now, "10.0.1.1", "10.0.1.2")
    home.run_for(0.001)

    assert home.sent[-3][1][24:36] != entry.nonce or home.sent[-2][1][24:36] != entry.nonce


@pytest.mark.parametrize("knobs", [{"has_pcp": False}, {"is_port_closed": True}, {}])
def test_another_external_address_shows_at_the_renewal(knobs):
    home = Home(FakeGateway(**knobs))
    before = made(home)
    home.gateway.external_ip = "5.5.5.11"

    home.run_for(HOUR_S + 60)

    [event] = home.take_events()
    assert event == MappingMade(PortMapping(before.protocol, "5.5.5.11", PORT, 7200))


@pytest.mark.parametrize(
    "knobs",
    [{"has_natpmp": False, "has_upnp": False}, {"has_pcp": False}, {"is_port_closed": True}],
)
def test_a_renewal_that_is_not_answered_is_tried_again_until_the_lease_ends(knobs):
    home = Home(FakeGateway(**knobs))
    mapping = made(home)
    home.is_cut = True

    home.run_for(1.9 * HOUR_S)
    assert home.take_events() == []
    assert home.machine.mapping == mapping
    home.run_for(0.2 * HOUR_S)

    events = home.take_events()
    assert events[0].mapping == mapping
    assert events[0].failure.reason is Reason.EXPIRED
    assert home.machine.mapping is None
    home.is_cut = False
    home.run_for(HOUR_S)
    assert home.machine.mapping is not None


def test_a_check_asks_at_once_and_not_too_often():
    home = Home()
    made(home)
    home.run_for(60)
    home.gateway.asked.clear()

    for _ in range(100):
        home.machine.check(Instant(home.now))
        home.run_for(0.1)

    assert home.gateway.asked.count("pcp") == 2


# Loss


@pytest.mark.parametrize("knobs", [{}, {"has_pcp": False}])
def test_an_epoch_that_goes_backwards_means_lost_and_made_again(knobs):
    home = Home(FakeGateway(**knobs))
    mapping = made(home)
    home.gateway.reboot(home.now)

    home.run_for(10)
    home.machine.check(Instant(home.now))
    home.run_for(1)

    lost, again = home.take_events()
    assert isinstance(lost, MappingLost)
    assert lost.failure.reason is Reason.GATEWAY_RESTARTED
    assert again == MappingMade(mapping)
    assert len(home.gateway.table) == 1


def test_a_refused_renewal_is_a_loss_and_the_next_protocol_takes_over():
    home = Home()
    mapping = made(home)
    home.gateway.pcp_result = 2
    home.gateway.table.clear()

    home.run_for(HOUR_S + 60)

    lost, again = home.take_events()
    assert (lost.mapping, lost.failure.reason) == (mapping, Reason.NOT_ALLOWED)
    assert again.mapping.protocol is NAT_PMP


def test_a_refusal_of_pcp_is_respected_for_its_lifetime():
    home = Home(FakeGateway(pcp_result=2, has_natpmp=False, has_upnp=False))

    assert reasons(home)[PCP] is Reason.NOT_ALLOWED
    home.gateway.asked.clear()
    home.run_for(20)
    home.machine.check(Instant(home.now))
    home.run_for(5)

    assert "pcp" not in home.gateway.asked
    assert "natpmp" in home.gateway.asked


def test_another_network_means_lost_and_made_there():
    home = Home()
    mapping = made(home)
    home.gateway = FakeGateway(ip="192.168.7.1", external_ip="5.5.5.99")
    home.source_ip = "192.168.7.30"

    home.machine.handle_network_change(Instant(home.now), "192.168.7.1", "192.168.7.30")

    lost, again = home.settled()
    assert (lost.mapping, lost.failure.reason) == (mapping, Reason.NETWORK_CHANGED)
    assert again.mapping.external_ip == "5.5.5.99"


# Refusal


@pytest.mark.parametrize(
    ("result", "reason"),
    [(1, Reason.NOT_OFFERED), (2, Reason.NOT_ALLOWED), (7, Reason.NO_EXTERNAL_ADDRESS), (8, Reason.NO_RESOURCES),
     (10, Reason.NO_RESOURCES), (11, Reason.PORT_TAKEN), (12, Reason.ANOTHER_NAT), (200, Reason.ERROR)],
)  # fmt: skip
def test_pcp_results_become_reasons(result, reason):
    home = Home(FakeGateway(pcp_result=result), protocols=[PCP])

    assert reasons(home) == {PCP: reason}
    assert str(result) in home.machine.failures()[PCP].words


@pytest.mark.parametrize(
    ("result", "reason"),
    [(2, Reason.NOT_ALLOWED), (3, Reason.NO_EXTERNAL_ADDRESS), (4, Reason.NO_RESOURCES), (5, Reason.NOT_OFFERED),
     (99, Reason.ERROR)],
)  # fmt: skip
def test_nat_pmp_results_become_reasons(result, reason):
    home = Home(FakeGateway(natpmp_result=result), protocols=[NAT_PMP])

    assert reasons(home) == {NAT_PMP: reason}


def test_an_address_that_the_gateway_does_not_see_is_told_as_another_nat():
    home = Home(FakeGateway(has_natpmp=False, has_upnp=False))
    home.source_ip = "10.9.9.9"

    home.machine.handle_network_change(Instant(home.now), home.gateway.ip, OURS)

    assert reasons(home)[PCP] is Reason.ANOTHER_NAT


@pytest.mark.parametrize("protocol", list(MappingProtocol))
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "169.254.1.1"])
def test_an_external_address_that_is_none_is_no_mapping(protocol, address):
    home = Home(FakeGateway(external_ip=address), protocols=[protocol])

    assert reasons(home) == {protocol: Reason.NO_EXTERNAL_ADDRESS}
    assert home.gateway.table == {}


@pytest.mark.parametrize("protocol", list(MappingProtocol))
@pytest.mark.parametrize(
    "address", ["192.168.1.5", "10.4.4.4", "172.16.0.9", "100.64.3.3", "203.0.113.10"]
)
def test_a_private_or_carrier_address_is_never_called_public(protocol, address):
    home = Home(FakeGateway(external_ip=address), protocols=[protocol])

    mapping = made(home)

    assert mapping.external_ip == address
    assert not mapping.is_public


@pytest.mark.parametrize("protocol", [PCP, NAT_PMP])
@pytest.mark.parametrize("port", [0, 1, 80, 1023])
def test_a_low_external_port_is_given_back(protocol, port):
    home = Home(FakeGateway(granted_port=port), protocols=[protocol])

    assert reasons(home) == {protocol: Reason.PORT_UNUSABLE}
    assert home.gateway.table == {}


@pytest.mark.parametrize("protocol", list(MappingProtocol))
def test_a_low_port_of_ours_gets_a_high_external_one(protocol):
    home = Home(port=443, protocols=[protocol])

    assert made(home).external_port >= 1024


# Release


@pytest.mark.parametrize("protocol", list(MappingProtocol))
def test_a_release_deletes_the_mapping_and_ends(protocol):
    home = Home(protocols=[protocol])
    made(home)

    home.machine.release(Instant(home.now))
    assert not home.machine.is_released
    home.run_for(1)

    assert home.gateway.table == {}
    assert home.machine.is_released
    assert home.machine.next_timeout() is None
    assert home.take_events() == []


@pytest.mark.parametrize("protocol", list(MappingProtocol))
def test_a_release_is_not_held_up_for_ever_by_a_dead_gateway(protocol):
    home = Home(protocols=[protocol])
    made(home)
    home.is_cut = True

    home.machine.release(Instant(home.now))
    home.run_for(2)

    assert home.machine.is_released


def test_a_release_where_nothing_ever_answered_takes_no_time():
    home = Home(FakeGateway(has_pcp=False, has_natpmp=False, has_upnp=False))
    home.run_for(10)

    home.machine.release(Instant(home.now))

    assert home.machine.is_released


def test_a_mapping_that_came_too_late_to_be_used_is_deleted_too():
    home = Home(FakeGateway(has_upnp=False))
    home.run_for(0.0)
    late = [each for each in home.arrivals if each[2][0][0] == 2]  # PCP's answer
    home.arrivals = [each for each in home.arrivals if each not in late]
    home.run_for(0.24)
    home.gateway.has_pcp = False
    home.run_for(0.1)
    assert home.machine.mapping.protocol is NAT_PMP
    for _, handle, args in late:
        handle(Instant(home.now), *args)
    assert home.machine.mapping.protocol is NAT_PMP

    home.gateway.has_pcp = True
    home.machine.release(Instant(home.now))
    home.run_for(1)

    deletions = [
        what
        for at, what in home.sent
        if isinstance(what, bytes) and what[0] == 2 and what[4:8] == bytes(4)
    ]
    assert len(deletions) == 1
    assert home.machine.is_released


def test_nothing_is_mapped_after_a_release():
    home = Home()
    home.machine.release(Instant(home.now))
    home.machine.check(Instant(home.now))
    home.machine.handle_network_change(Instant(home.now), "10.0.1.1", OURS)
    home.run_for(2 * HOUR_S)

    assert home.gateway.table == {}
    assert home.machine.mapping is None


# Hostile bytes


def test_datagrams_of_others_are_dropped_and_counted():
    home = Home()
    mapping = made(home)
    stray = bytearray(home.gateway.answer_datagram(home.now, home.sent[0][1], OURS))
    stray[30] ^= 1  # another nonce

    for data in (
        bytes(stray),
        b"",
        b"\x02",
        b"\x00",
        b"\x07" * 60,
        bytes.fromhex("0082000000000008"),
    ):
        home.machine.handle_datagram(Instant(home.now), data)

    assert home.machine.dropped == 6
    assert home.machine.mapping == mapping
    assert home.settled() == []


def test_unasked_refusals_do_not_end_a_mapping():
    home = Home(FakeGateway(has_pcp=False))
    mapping = made(home)

    for data in ("0081000200000007", "0080000300000007", "0081000100000007"):
        home.machine.handle_datagram(Instant(home.now), bytes.fromhex(data))

    assert home.machine.mapping == mapping


def test_random_bytes_at_every_door_change_no_mapping():
    random = Random(3)
    home = Home()
    mapping = made(home)
    for _ in range(2000):
        data = random.randbytes(random.randrange(80))
        now = Instant(home.now)
        home.machine.handle_datagram(now, random.choice((b"", b"\x00\x81", b"\x02\x81")) + data)
        home.machine.handle_search_answer(now, data, home.gateway.ip)
        home.machine.handle_response(now, random.randrange(5), 200, data)

    assert home.machine.mapping == mapping


# The parts


def test_a_lease_ends_only_once_and_a_permanent_one_never():
    assert Lease(Instant(0), None).expires_at == inf
    lease = Lease(Instant(0), 100)
    times = []
    while lease.next_timeout() < lease.expires_at and len(times) < 50:
        times.append(lease.renew_at)
        lease.postpone(Instant(lease.renew_at))

    assert times[:3] == [50, 75, 87.5]
    assert len(times) < 10


def test_an_epoch_may_drift_and_be_late_but_not_start_anew():
    watch = EpochWatch(tolerance_s=2.0, drift=1 / 16)
    assert not watch.note(Instant(0), 100)
    assert not watch.note(Instant(160), 250)  # 10 s of 160 missing: drift
    assert not watch.note(Instant(160), 248)  # two packets, swapped
    assert watch.note(Instant(260), 10)
    assert not watch.note(Instant(270), 4294967295)


@pytest.mark.parametrize(
    ("address", "usable", "public"),
    [
        ("5.5.5.10", True, True),
        ("192.168.1.1", True, False),
        ("100.64.0.1", True, False),
        ("198.18.0.1", True, False),
        ("240.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("224.0.0.251", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("fe80::1", False, False),
        ("fd00::1", True, False),
        ("2600:1f18::2", True, True),
    ],
)
def test_addresses_are_judged(address, usable, public):
    assert ip_address(address)
    assert (is_usable(address), is_public(address)) == (usable, public)


# NAT-PMP, where its messages tell more than one thing


def test_nat_pmp_that_loses_its_address_loses_the_mapping():
    home = Home(FakeGateway(has_pcp=False, has_upnp=False))
    mapping = made(home)
    home.gateway.external_ip = "0.0.0.0"

    home.run_for(HOUR_S + 60)

    lost = home.take_events()[0]
    assert (lost.mapping, lost.failure.reason) == (mapping, Reason.NO_EXTERNAL_ADDRESS)


def test_an_address_answer_that_tells_of_a_restart_is_a_loss_and_all_is_made_again():
    home = Home(FakeGateway(has_pcp=False))
    mapping = made(home)
    home.run_for(10)
    home.gateway.reboot(home.now)

    answer = home.gateway.answer_datagram(home.now, b"\0\0", OURS)
    home.machine.handle_datagram(Instant(home.now), answer)

    lost, again = home.settled()
    assert lost.failure.reason is Reason.GATEWAY_RESTARTED
    assert again == MappingMade(mapping)
    assert PORT in home.gateway.table


@pytest.mark.parametrize("protocol", [PCP, NAT_PMP])
def test_a_grant_of_no_time_at_all_is_an_error(protocol):
    home = Home(FakeGateway(max_lifetime_s=0), protocols=[protocol])

    assert reasons(home) == {protocol: Reason.ERROR}
    assert home.machine.failures()[protocol].detail == "a lifetime of 0"


@pytest.mark.parametrize("protocol", [PCP, NAT_PMP])
def test_a_port_that_closes_ends_a_release_at_once_and_leaves_a_mapping_alone(protocol):
    home = Home(protocols=[protocol])
    mapping = made(home)
    home.machine.handle_closed_port(Instant(home.now))
    assert home.machine.mapping == mapping

    home.machine.release(Instant(home.now))
    home.machine.handle_closed_port(Instant(home.now))

    assert home.machine.is_released


def test_a_refused_deletion_ends_the_release():
    home = Home(protocols=[NAT_PMP])
    made(home)
    home.gateway.natpmp_result = 2

    home.machine.release(Instant(home.now))
    home.run_for(0.01)

    assert home.machine.is_released


def test_a_gateway_that_only_speaks_pcp_says_so_to_nat_pmp():
    home = Home(
        FakeGateway(has_natpmp=False, has_upnp=False, pcp_result=2, answers_other_versions=True),
        protocols=[PCP, NAT_PMP],
    )
    home.run_for(0.05)

    [event] = home.take_events()
    assert {protocol: each.reason for protocol, each in event.failures.items()} == {
        PCP: Reason.NOT_ALLOWED,
        NAT_PMP: Reason.NOT_OFFERED,
    }


@pytest.mark.parametrize("is_told", [True, False])
def test_nat_pmp_that_is_missing_beside_pcp_is_not_asked_for_ever(is_told):
    home = Home(FakeGateway(has_natpmp=False, has_upnp=False))
    home.run_for(0.01)
    if is_told:
        home.machine.handle_datagram(Instant(home.now), bytes.fromhex("0080000500000007"))
    home.run_for(5)

    assert home.gateway.asked.count("natpmp") == (1 if is_told else 3)
    assert home.take_events() == [MappingMade(PortMapping(PCP, "5.5.5.10", PORT, 7200))]
