"""What was open when, from the faults that were made."""

import pytest
from soak_lib.plan import Fault, FaultKind
from soak_lib.ways import Applied, Network, Route, longest_common_s, without

START, END = 10.0, 60.0
ALWAYS = [(START, END)]
DIRECT_SINCE_START = {"a": [START], "b": [START]}


def network(*faults, directs=DIRECT_SINCE_START, is_direct_possible=True):
    """The network under (kind, began, healed, further fields of the fault)."""
    applied = [
        Applied(Fault(kind, 0, 0, **more), began, healed) for kind, began, healed, more in faults
    ]
    return Network(applied, START, END, is_direct_possible, directs)


RELAY_FAULTS = [FaultKind.RELAY_KILLED, FaultKind.RELAY_FROZEN, FaultKind.RELAY_SWALLOWS]


@pytest.mark.parametrize("kind", RELAY_FAULTS)
def test_a_fault_of_the_relay_closes_the_relay(kind):
    seen = network((kind, 20.0, 30.0, {}))

    assert seen.open_spans(Route.RELAY) == [(START, 20.0), (30.0, END)]
    assert seen.open_spans(Route.UDP) == ALWAYS


@pytest.mark.parametrize("ways", [("up", "down"), ("up",), ("down",)])
def test_udp_that_is_gone_one_way_closes_udp(ways):
    seen = network((FaultKind.UDP_GONE, 20.0, 30.0, {"side": "a", "ways": ways}))

    assert seen.open_spans(Route.UDP) == [(START, 20.0), (30.0, END)]
    assert seen.open_spans(Route.RELAY) == ALWAYS


@pytest.mark.parametrize("route", Route)
def test_a_stopped_program_closes_everything(route):
    seen = network((FaultKind.PEER_STOPPED, 20.0, 30.0, {"side": "b"}))

    assert seen.open_spans(route) == [(START, 20.0), (30.0, END)]


def test_faults_that_overlap_close_until_the_last_heals():
    seen = network(
        (FaultKind.RELAY_KILLED, 20.0, 30.0, {}),
        (FaultKind.TCP_GONE, 25.0, 40.0, {"side": "a"}),
    )

    assert seen.open_spans(Route.RELAY) == [(START, 20.0), (40.0, END)]


def test_a_smaller_mtu_closes_nothing_and_splits():
    seen = network((FaultKind.MTU_LOWERED, 20.0, 30.0, {"side": "a", "mtu": 1300}))

    assert seen.open_spans(Route.UDP) == [(START, 20.0), (20.0, END)]


def test_udp_is_closed_until_both_told_of_a_direct_path():
    seen = network(directs={"a": [12.0], "b": [15.0]})

    assert seen.open_spans(Route.UDP) == [(15.0, END)]


def test_udp_is_closed_for_good_where_a_side_never_told_of_it():
    assert network(directs={"a": [12.0], "b": []}).open_spans(Route.UDP) == []


def test_udp_is_closed_where_nats_let_nothing_through():
    assert network(is_direct_possible=False).open_spans(Route.UDP) == []


def test_another_address_closes_udp_until_a_direct_path_is_told_again():
    directs = {"a": [START, 24.0], "b": [START, 23.0]}
    seen = network((FaultKind.ADDRESS_CHANGED, 20.0, 20.1, {"side": "a"}), directs=directs)

    assert seen.open_spans(Route.UDP) == [(START, 20.0), (24.0, END)]
    assert seen.open_spans(Route.RELAY) == [(START, 20.0), (20.1, END)]


def test_both_are_deaf_while_neither_relay_nor_udp_passes():
    seen = network(
        (FaultKind.RELAY_KILLED, 20.0, 40.0, {}),
        (FaultKind.UDP_GONE, 25.0, 50.0, {"side": "a"}),
    )

    assert seen.deaf_spans("a") == seen.deaf_spans("b") == [(25.0, 40.0)]


@pytest.mark.parametrize(
    ("side", "way", "deaf"), [("a", "up", "b"), ("a", "down", "a"), ("b", "up", "a")]
)
def test_udp_that_is_gone_one_way_makes_one_side_deaf(side, way, deaf):
    seen = network(
        (FaultKind.RELAY_FROZEN, 20.0, 40.0, {}),
        (FaultKind.UDP_GONE, 20.0, 40.0, {"side": side, "ways": (way,)}),
    )
    hearing = {"a": "b", "b": "a"}[deaf]

    assert seen.deaf_spans(deaf) == [(20.0, 40.0)]
    assert seen.deaf_spans(hearing) == []


def test_without_udp_a_dead_relay_makes_deaf():
    seen = network((FaultKind.RELAY_KILLED, 20.0, 40.0, {}), is_direct_possible=False)

    assert seen.deaf_spans("a") == [(20.0, 40.0)]


def test_a_stopped_program_makes_the_other_deaf_and_is_not_deaf_itself():
    seen = network((FaultKind.PEER_STOPPED, 20.0, 40.0, {"side": "a"}))

    assert seen.deaf_spans("b") == [(20.0, 40.0)]
    assert seen.deaf_spans("a") == []


def test_deafness_goes_on_from_one_fault_to_the_next():
    seen = network(
        (FaultKind.PEER_STOPPED, 20.0, 30.0, {"side": "a"}),
        (FaultKind.RELAY_KILLED, 29.0, 40.0, {}),
        is_direct_possible=False,
    )

    assert seen.deaf_spans("b") == [(20.0, 40.0)]
    assert seen.deaf_spans("a") == [(30.0, 40.0)]


def test_a_hole_is_cut_out_of_spans():
    assert without([(0, 10), (20, 30)], (5, 25)) == [(0, 5), (25, 30)]
    assert without([(0, 10)], (4, 4)) == [(0, 4), (4, 10)]
    assert without([(0, 10)], (0, 10)) == []
    assert without([(0, 10)], (11, 12)) == [(0, 10)]


def test_what_spans_share_with_a_window_is_not_added_up():
    assert longest_common_s([(0, 4), (4, 10)], (2, 9)) == 5
    assert longest_common_s([(0, 4)], (5, 9)) == 0
    assert longest_common_s([], (5, 9)) == 0
