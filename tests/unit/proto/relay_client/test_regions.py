"""The probe plan and the choice of regions, on a clock walked by hand."""

from hashlib import blake2b
from itertools import count

import pytest

from tunnel.crypto.keys import DerpKey
from tunnel.proto.relay_client.regions import (
    RegionLatency,
    StunMeasurement,
    choose_regions,
    fallback_regions,
    measurable_regions,
)
from tunnel.units import Instant
from tunnel.wire.derpmap import STUN_OFF, RelayMap, RelayNode, RelayRegion

START = Instant(100.0)


def region(region_id, nodes=1, **fields):
    made = tuple(RelayNode(f"{region_id}{number}", region_id, "h") for number in range(nodes))
    return RelayRegion(region_id, "", "", fields.pop("nodes_as", made), **fields)


def map_of(*regions):
    return RelayMap({each.id: each for each in regions})


def measurement(relay_map, budget_s=2.0):
    numbers = count(1)
    return StunMeasurement(
        relay_map, lambda size: next(numbers).to_bytes(size, "big"), START, budget_s
    )


def test_every_region_gets_three_probes_round_robin_over_its_nodes():
    plan = measurement(map_of(region(1, nodes=2), region(2)))

    first = plan.probes_to_send(START)
    assert [(probe.region_id, probe.node.name) for probe in first] == [(1, "10"), (2, "20")]
    assert plan.next_timeout() == pytest.approx(START + 0.1)
    second = plan.probes_to_send(Instant(START + 0.1))
    third = plan.probes_to_send(Instant(START + 0.2))
    assert [probe.node.name for probe in second] == ["11", "20"]
    assert [probe.node.name for probe in third] == ["10", "20"]
    assert plan.probes_to_send(Instant(START + 9)) == []
    assert len({probe.transaction_id for probe in first + second + third}) == 6


def test_an_answer_is_timed_from_its_own_probe_and_ends_its_region():
    plan = measurement(map_of(region(1), region(2)))
    plan.probes_to_send(START)
    second = plan.probes_to_send(Instant(START + 0.1))

    plan.handle_response(Instant(START + 0.13), second[0].transaction_id)
    plan.handle_response(Instant(START + 0.14), second[0].transaction_id)

    assert plan.latencies() == [RegionLatency(1, pytest.approx(0.03))]
    assert [probe.region_id for probe in plan.probes_to_send(Instant(START + 0.2))] == [2]


def test_unknown_answers_are_ignored():
    plan = measurement(map_of(region(1)))
    plan.probes_to_send(START)

    plan.handle_response(START, b"unknown id..")

    assert plan.latencies() == []


def test_it_is_finished_when_all_have_answered():
    plan = measurement(map_of(region(1)))
    (probe,) = plan.probes_to_send(START)
    assert not plan.is_finished(START)

    plan.handle_response(Instant(START + 0.01), probe.transaction_id)

    assert plan.is_finished(Instant(START + 0.01))


@pytest.mark.parametrize(("slowest_s", "grace_s"), [(0.02, 0.04), (0.5, 0.3)])
def test_after_three_answers_the_rest_gets_a_short_grace(slowest_s, grace_s):
    plan = measurement(map_of(*(region(number) for number in range(1, 6))))
    probes = plan.probes_to_send(START)
    answered_at = Instant(START + slowest_s)

    for probe in probes[:3]:
        plan.handle_response(answered_at, probe.transaction_id)

    assert not plan.is_finished(Instant(answered_at + grace_s - 0.001))
    assert plan.is_finished(Instant(answered_at + grace_s))


def test_the_budget_ends_it_and_half_of_it_if_nothing_answers():
    silent = measurement(map_of(region(1), region(2)), budget_s=2.0)
    heard = measurement(map_of(region(1), region(2)), budget_s=2.0)
    (probe, _) = heard.probes_to_send(START)
    heard.handle_response(Instant(START + 0.5), probe.transaction_id)

    assert silent.is_finished(Instant(START + 1.0))
    assert not heard.is_finished(Instant(START + 1.9))
    assert heard.is_finished(Instant(START + 2.0))


def test_regions_that_are_not_for_measuring_are_left_out():
    stun_only = (RelayNode("3a", 3, "h", stun_only=True),)
    relay_map = map_of(
        region(4), region(2, no_measure_no_home=True), region(3, nodes_as=stun_only), region(1)
    )

    assert [each.id for each in measurable_regions(relay_map)] == [1, 4]


def test_a_map_without_stun_is_finished_at_once():
    no_stun = (RelayNode("1a", 1, "h", stun_port=STUN_OFF),)

    assert measurement(map_of(region(1, nodes_as=no_stun))).is_finished(START)


def test_a_hostile_map_does_not_make_us_send_thousands_of_datagrams():
    plan = measurement(map_of(*(region(number) for number in range(1, 1000))))

    assert len(plan.probes_to_send(START)) == 64


def test_the_nearest_three_are_chosen_each_once():
    latencies = [RegionLatency(*each) for each in [(1, 0.3), (2, 0.1), (3, 0.1), (2, 0.2), (4, 9)]]

    assert choose_regions(latencies) == [2, 3, 1]
    assert choose_regions(latencies, count=1) == [2]
    assert choose_regions([]) == []


def test_without_network_both_sides_find_the_same_regions_by_the_issuers_key():
    forward = map_of(*(region(number) for number in range(1, 30)))
    backward = map_of(*(region(number) for number in range(29, 0, -1)))
    keys = [DerpKey(bytes([number]) * 32) for number in range(20)]

    for key in keys:
        assert fallback_regions(forward, key) == fallback_regions(backward, key)
        assert len(set(fallback_regions(forward, key))) == 3
    assert len({tuple(fallback_regions(forward, key)) for key in keys}) > 15


def test_the_rank_of_a_fallback_region_is_a_keyed_blake2b_of_its_id():
    relay_map = map_of(*(region(number) for number in range(1, 11)))
    key = DerpKey(b"\x11" * 32)

    def rank(region_id):
        data = b"\x0c\x00relay region" + b"\x04\x00" + region_id.to_bytes(4, "little")
        return blake2b(data, key=key, person=b"derphole v1", digest_size=16).digest()

    assert fallback_regions(relay_map, key, count=10) == sorted(range(1, 11), key=rank)


def test_a_map_of_regions_that_must_not_be_homes_still_has_fallbacks():
    relay_map = map_of(region(1, no_measure_no_home=True))

    assert fallback_regions(relay_map, DerpKey(bytes(32))) == [1]
