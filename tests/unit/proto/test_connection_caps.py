"""How many connections a server takes from whom."""

from tunnel.proto.connection_caps import ConnectionCaps


def added(caps, *addresses):
    return [caps.try_add(address) for address in addresses]


def test_one_address_gets_so_many_and_its_neighbour_too():
    caps = ConnectionCaps(total=10, per_source=2)

    assert added(caps, *["192.0.2.1"] * 3) == [True, True, False]
    assert added(caps, "192.0.2.2") == [True]


def test_an_ipv6_64_is_one_source():
    caps = ConnectionCaps(total=10, per_source=2)

    assert added(caps, "2001:db8::1", "2001:db8::2", "2001:db8::3") == [True, True, False]
    assert added(caps, "2001:db8:0:1::1") == [True]


def test_loopback_is_bounded_by_the_total_alone():
    caps = ConnectionCaps(total=4, per_source=1)

    assert added(caps, "127.0.0.1", "127.0.0.1", "::1", "::1") == [True] * 4
    assert added(caps, "127.0.0.1", "192.0.2.1") == [False, False]


def test_a_connection_that_ended_makes_room():
    caps = ConnectionCaps(total=2, per_source=1)
    caps.try_add("192.0.2.1")

    assert added(caps, "192.0.2.1") == [False]
    caps.remove("192.0.2.1")
    assert added(caps, "192.0.2.1", "192.0.2.2", "192.0.2.3") == [True, True, False]
