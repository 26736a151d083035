"""How many connections a server takes from whom, and when it begins with them."""

from tunnel.proto.relay_server.connection_caps import (
    MAX_WAIT_S,
    TOLD_AT_ONCE,
    AcceptRates,
    Admitted,
    ConnectionCaps,
    Refusal,
)
from tunnel.proto.token_bucket import Allowance

MANY = Allowance(rate=1e6, burst=1e6)
NO_RATES = AcceptRates(floor=MANY, network=MANY, total=MANY)
RATES = AcceptRates(
    floor=Allowance(1.0, 2.0), network=Allowance(10.0, 5.0), total=Allowance(20.0, 10.0)
)


def make(total=10, per_source=10, rates=NO_RATES):
    return ConnectionCaps(total, per_source, rates, 0.0)


def is_taken(one):
    return isinstance(one, Admitted) and not one.is_beyond


def added(caps, *addresses):
    """Tell of each whether it is served."""
    return [is_taken(caps.admit(0.0, address)) for address in addresses]


def waits(caps, address, count, now=0.0):
    """Seconds that connections of one address wait, None for those that are refused."""
    admitted = [caps.admit(now, address) for _ in range(count)]
    return [round(one.serve_at - now, 3) if is_taken(one) else None for one in admitted]


def test_one_address_gets_so_many_and_its_neighbour_too():
    caps = make(per_source=2)

    assert added(caps, *["192.0.2.1"] * 3) == [True, True, False]
    assert added(caps, "192.0.2.2") == [True]


def test_an_ipv6_64_is_one_source():
    caps = make(per_source=2)

    assert added(caps, "2001:db8::1", "2001:db8::2", "2001:db8::3") == [True, True, False]
    assert added(caps, "2001:db8:0:1::1") == [True]


def test_loopback_is_no_single_source():
    caps = make(total=4, per_source=1)

    assert added(caps, "127.0.0.1", "127.0.0.1", "::1", "::1") == [True] * 4


def test_a_few_beyond_a_sources_bound_are_taken_to_be_told_so():
    caps = make(total=100, per_source=2)
    taken = [caps.admit(0.0, "192.0.2.1") for _ in range(2 + TOLD_AT_ONCE)]

    assert [one.is_beyond for one in taken] == [False] * 2 + [True] * TOLD_AT_ONCE
    assert caps.admit(0.0, "192.0.2.1") is Refusal.SOURCE
    assert added(caps, "192.0.2.2") == [True]
    caps.remove(taken[-1])
    assert caps.admit(0.0, "192.0.2.1").is_beyond
    caps.remove(taken[0])
    assert added(caps, "192.0.2.1") == [True]


def test_what_comes_by_a_proxy_counts_for_whom_the_proxy_names():
    caps = make(total=100, per_source=2)
    taken = [caps.admit(0.0, "10.0.0.1", is_of_proxy=True) for _ in range(6)]

    assert not any(one.is_beyond for one in taken)
    assert [caps.move(0.0, one, "192.0.2.1") for one in taken[:3]] == [None, None, Refusal.SOURCE]
    assert [caps.move(0.0, one, "192.0.2.2") for one in taken[3:]] == [None, None, Refusal.SOURCE]
    for one in taken:
        caps.remove(one)
    again = caps.admit(0.0, "10.0.0.1", is_of_proxy=True)
    assert caps.move(0.0, again, "192.0.2.1") is None


def test_what_comes_by_a_proxy_has_its_turn_by_the_network_the_proxy_names():
    caps = make(total=1000, per_source=1000, rates=RATES)

    def met(address):
        return caps.move(0.0, caps.admit(0.0, "10.0.0.1", is_of_proxy=True), address)

    assert {met("192.0.2.1") for _ in range(100)} == {None, Refusal.RATE}
    assert met("198.51.100.1") is None


def test_what_a_proxy_lets_through_is_bounded_before_it_is_known_for_whom():
    caps = make(total=1000, per_source=1000, rates=AcceptRates(proxy=Allowance(1.0, 3.0)))
    taken = [caps.admit(0.0, "10.0.0.1", is_of_proxy=True) for _ in range(5)]

    assert taken[3:] == [Refusal.RATE] * 2
    assert is_taken(caps.admit(0.0, "10.0.1.1", is_of_proxy=True))


def test_who_has_given_way_before_the_proxy_told_for_whom_counts_for_nobody():
    caps = make(total=3, per_source=1)
    crowd = [caps.admit(0.0, "10.0.0.1", is_of_proxy=True) for _ in range(3)]
    newcomer = caps.admit(0.0, "203.0.113.1")

    assert newcomer.displaced is crowd[0]
    assert caps.move(0.0, crowd[0], "192.0.2.1") is Refusal.TOTAL
    assert caps.move(0.0, crowd[1], "192.0.2.1") is None


def test_a_crowd_behind_a_proxy_displaces_its_own_kind():
    caps = make(total=4)
    crowd = [caps.admit(0.0, "10.0.0.1", is_of_proxy=True) for _ in range(4)]
    for one in crowd[:3]:
        caps.move(0.0, one, "192.0.2.1")

    assert caps.admit(0.0, "203.0.113.1").displaced is crowd[0]


def test_nobody_keeps_those_that_made_room_before():
    caps = make(total=3)
    crowd = [caps.admit(0.0, "192.0.2.1") for _ in range(3)]
    second = caps.admit(0.0, "198.51.100.1")
    assert second.displaced is crowd[0]
    for one in crowd[1:]:
        caps.remove(one)
        caps.admit(0.0, "198.51.100.1")

    third = caps.admit(0.0, "203.0.113.1")

    assert third.displaced is second
    assert second.displaced is None


def test_a_connection_that_ended_makes_room():
    caps = make(total=2, per_source=1)
    first = caps.admit(0.0, "192.0.2.1")

    beyond = caps.admit(0.0, "192.0.2.1")
    assert beyond.is_beyond
    for one in (beyond, first, first):
        caps.remove(one)
    assert added(caps, "192.0.2.1", "192.0.2.2", "192.0.2.3") == [True, True, False]


def test_a_few_of_a_network_are_served_at_once_more_wait_and_too_many_are_refused():
    caps = make(total=1000, per_source=1000, rates=RATES)

    served = waits(caps, "192.0.2.1", 40)

    assert served[:7] == [0.0] * 7
    assert served[7:27] == [round(0.1 * number, 3) for number in range(1, 21)]
    assert set(served[28:]) == {None}


def test_who_waited_is_served_at_the_networks_rate():
    caps = make(total=1000, per_source=1000, rates=RATES)
    waits(caps, "192.0.2.1", 40)

    # A second later ten more fit, and one of the floor.
    later = waits(caps, "192.0.2.1", 20, now=1.0)
    assert sum(wait is not None for wait in later) == 11
    assert max(wait for wait in later if wait is not None) <= MAX_WAIT_S


def test_connections_that_one_network_is_refused_cost_no_other_anything():
    caps = make(total=1000, per_source=1000, rates=RATES)
    waits(caps, "192.0.2.1", 1000)

    assert waits(caps, "198.51.100.1", 2) == [0.0, 0.0]


def test_four_networks_that_connect_all_the_time_keep_no_fifth_waiting():
    caps = make(total=100_000, per_source=100_000, rates=RATES)
    for step in range(1000):
        now = step / 100
        for network in range(4):
            for _ in range(5):
                caps.admit(now, f"192.0.{network}.1")

    assert waits(caps, "198.51.100.1", 2, now=10.0) == [0.0, 0.0]


def test_neighbours_share_what_their_network_may():
    caps = make(total=1000, per_source=1000, rates=RATES)
    waits(caps, "192.0.2.1", 100)

    assert waits(caps, "192.0.2.77", 1) == [None]


def test_all_networks_together_are_slowed_down_above_their_floors():
    caps = make(total=1000, per_source=1000, rates=RATES)

    served = [waits(caps, f"192.0.{network}.1", 7) for network in range(4)]

    assert [wait[:2] for wait in served] == [[0.0, 0.0]] * 4
    assert served[1][2:] == [0.0] * 5
    assert served[3][2:] == [round(0.05 * number, 3) for number in range(6, 11)]


def test_a_newcomer_displaces_the_oldest_stranger_of_the_largest_crowd():
    caps = make(total=4)
    crowd = [caps.admit(0.0, "192.0.2.1") for _ in range(3)]
    caps.admit(0.0, "203.0.113.1")

    first, second, third = (caps.admit(0.0, "198.51.100.1") for _ in range(3))

    assert first.displaced is crowd[0]
    # Now each has one or two: nobody is displaced for a network that has as many.
    assert (second, third) == (Refusal.TOTAL, Refusal.TOTAL)


def test_a_crowd_displaces_nobody():
    caps = make(total=3)
    caps.admit(0.0, "198.51.100.1")

    assert added(caps, *["192.0.2.1"] * 5) == [True, True, False, False, False]


def test_clients_are_never_displaced():
    caps = make(total=3)
    for _ in range(3):
        caps.settle(caps.admit(0.0, "192.0.2.1"))

    assert added(caps, "198.51.100.1") == [False]


def test_what_was_displaced_leaves_once():
    caps = make(total=3)
    crowd = [caps.admit(0.0, "192.0.2.1") for _ in range(3)]

    newcomer = caps.admit(0.0, "198.51.100.1")
    caps.remove(newcomer.displaced)
    caps.settle(newcomer.displaced)

    assert added(caps, "192.0.2.1") == [False]
    caps.remove(crowd[1])
    assert added(caps, "192.0.2.1", "192.0.2.1") == [True, False]
