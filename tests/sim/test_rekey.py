"""Re-keying inside a link, in the simulated world."""

import pytest
from world import World, patterned

from tunnel.proto.link import rekey
from tunnel.proto.link.rekey import RekeyState

MIB = 1 << 20


def phases(world: World) -> list[int]:
    return [values["phase"] for _, name, values in world.trace if name == "link.rekeyed"]


def test_a_link_rekeys_after_an_hour_and_goes_on():
    world = World(1)
    issuer, claimer = world.linked_pair()

    world.run_for(rekey.REKEY_AFTER_S + 60)

    assert phases(world) == [1, 1]
    stream = claimer.link.streams.open()
    claimer.link.streams.write(stream, patterned(MIB))
    claimer.link.streams.end(stream)
    world.drive(lambda: stream in issuer.ended)
    assert issuer.received[stream] == patterned(MIB)


def test_a_day_of_idle_link_rekeys_each_hour_and_keeps_one_phase():
    world = World(2)
    issuer, claimer = world.linked_pair()

    world.run_for(24.5 * rekey.REKEY_AFTER_S)

    assert sorted(set(phases(world))) == list(range(1, 25))
    for host in (issuer, claimer):
        assert host.link._rekeying.state is RekeyState.SETTLED
        assert len(host.link._opener._key_by_phase) == 1


@pytest.mark.parametrize("seed", range(10))
def test_data_in_flight_survives_rekeying_with_loss(seed, monkeypatch):
    monkeypatch.setattr(rekey, "REKEY_AFTER_S", 4.0)
    world = World(seed)
    issuer, claimer = world.linked_pair(delay=0.03, rate=1e6)
    for port in world.relay.ports.values():
        port.up.loss = port.down.loss = 0.1
    stream = claimer.link.streams.open()
    data = patterned(8 * MIB)
    claimer.link.streams.write(stream, data)
    claimer.link.streams.end(stream)

    world.drive(lambda: stream in issuer.ended)

    assert issuer.received[stream] == data
    assert len(set(phases(world))) >= 1


def test_the_old_key_is_dropped_three_seconds_after_the_first_new_packet():
    world = World(3)
    issuer, claimer = world.linked_pair()
    world.run_for(rekey.REKEY_AFTER_S - 1)

    world.drive(lambda: issuer.link._rekeying.state is RekeyState.OVERLAPPING, seconds=10)
    began = world.now
    world.drive(lambda: issuer.link._rekeying.state is RekeyState.SETTLED, seconds=10)

    assert world.now - began == pytest.approx(rekey.OVERLAP_S, abs=0.01)
    assert list(issuer.link._opener._key_by_phase) == [1]
