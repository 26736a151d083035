"""Which lanes there are, as interfaces come, go and change places."""

import random

from tunnel.proto.paths.lane_plan import FIRST_BOUND_LANE, MAX_BOUND_LANES, LanePlan, Uplink

ETHERNET = Uplink("eth0", "10.0.1.2", "10.0.1.1", is_default=True)
WIRELESS = Uplink("wlan0", "10.0.3.2", "10.0.3.1")
ETHERNET_6 = Uplink("eth0", "2001:db8:1::2", "fe80::1%eth0", is_default=True)
WIRELESS_6 = Uplink("wlan0", "2001:db8:3::2", "fe80::1%wlan0")


def test_one_interface_needs_no_lane_of_its_own():
    assert not LanePlan().update([ETHERNET, ETHERNET_6])


def test_each_family_of_a_further_interface_gets_one():
    changes = LanePlan().update([ETHERNET, ETHERNET_6, WIRELESS, WIRELESS_6])

    assert changes.opened == {FIRST_BOUND_LANE: WIRELESS, FIRST_BOUND_LANE + 1: WIRELESS_6}
    assert changes.closed == []


def test_nothing_changes_while_nothing_changes():
    plan = LanePlan()
    plan.update([ETHERNET, WIRELESS])

    assert not plan.update([WIRELESS, ETHERNET])


def test_of_several_addresses_the_preferred_one_is_taken_and_kept():
    plan = LanePlan()
    other = Uplink("wlan0", "2001:db8:3::77")
    assert list(plan.update([WIRELESS_6, other]).opened.values()) == [WIRELESS_6]

    assert not plan.update([other, WIRELESS_6])


def test_a_lane_goes_with_its_address_and_its_number_is_not_used_again():
    plan = LanePlan()
    plan.update([ETHERNET, WIRELESS])

    moved = Uplink("wlan0", "10.0.9.2")
    changes = plan.update([ETHERNET, moved])

    assert changes.closed == [FIRST_BOUND_LANE]
    assert changes.opened == {FIRST_BOUND_LANE + 1: moved}
    assert plan.update([ETHERNET]).closed == [FIRST_BOUND_LANE + 1]


def test_a_lane_stays_when_its_interface_becomes_the_default_one():
    plan = LanePlan()
    plan.update([ETHERNET, WIRELESS])

    assert not plan.update([Uplink("wlan0", "10.0.3.2", "10.0.3.1", is_default=True)])


def test_overlays_get_no_lane():
    plan = LanePlan()

    assert not plan.update([ETHERNET, Uplink("ts0", "100.101.102.103")])


def test_a_lane_that_could_not_be_opened_is_tried_again_under_another_number():
    plan = LanePlan()
    plan.update([WIRELESS])

    plan.note_failure(FIRST_BOUND_LANE)

    assert plan.update([WIRELESS]).opened == {FIRST_BOUND_LANE + 1: WIRELESS}


def test_however_interfaces_come_and_go_lanes_are_few_and_numbers_unique():
    chance = random.Random(4)
    plan, ever = LanePlan(), set()
    live: dict[int, Uplink] = {}
    pool = [Uplink(f"if{n}", f"10.0.{n}.{last}") for n in range(6) for last in (2, 3)]
    pool += [Uplink(f"if{n}", f"2001:db8:{n}::2") for n in range(6)]

    for _ in range(500):
        there = chance.sample(pool, chance.randrange(len(pool)))
        changes = plan.update(there)
        for number in changes.closed:
            del live[number]
        assert not ever & set(changes.opened)
        ever |= set(changes.opened)
        live |= changes.opened

        assert set(live.values()) <= set(there)
        places = [(uplink.interface, uplink.is_ipv6) for uplink in live.values()]
        assert len(places) == len(set(places))
        for is_ipv6 in (False, True):
            wanted = {each.interface for each in there if each.is_ipv6 == is_ipv6}
            held = [uplink for uplink in live.values() if uplink.is_ipv6 == is_ipv6]
            assert len(held) == min(MAX_BOUND_LANES, len(wanted))
