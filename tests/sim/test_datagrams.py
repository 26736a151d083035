"""Datagrams over a link: any size, exact or not at all, before stream bytes, through every change."""

import pytest
from direct_world import direct_pair, drive_to_direct, world_of
from world import World, forge, patterned

from tunnel.errors import MisuseError
from tunnel.proto.datagrams.incoming import DatagramArrived
from tunnel.proto.datagrams.outgoing import MAX_LEAD, MAX_WAIT_S
from tunnel.proto.link.events import LinkClosed
from tunnel.proto.link.parameters import Feature
from tunnel.units import KIB
from tunnel.wire.frames import Datagram, encode

SIZES = [0, 1, 1200, 1472, 9000, 65507]


def arrived(host):
    return [(event.flow, event.data) for event in host.all(DatagramArrived)]


def send(world, host, data, flow=0):
    host.link.send_datagram(host.instant, flow, data)
    world.settle()


def linked(world, **wire):
    return world.linked_pair(features=Feature.DATAGRAMS, **wire)


def payload(number, size):
    """A datagram that says which one it is, and whose every byte is checked by that."""
    return number.to_bytes(4, "little") + patterned(size, number) if size else b""


def test_every_size_arrives_whole_over_a_relay_both_ways():
    world = World()
    issuer, claimer = linked(world)
    sent = [(2 * number, patterned(size)) for number, size in enumerate(SIZES)]
    for flow, data in sent:
        send(world, claimer, data, flow)
        send(world, issuer, data, flow)
    world.run_for(1)

    assert arrived(issuer) == sent
    assert arrived(claimer) == sent


def test_every_size_arrives_whole_by_a_direct_path():
    world, _, issuer, claimer = direct_pair(features=Feature.DATAGRAMS)
    sent = [(2 * number, patterned(size)) for number, size in enumerate(SIZES)]
    for flow, data in sent:
        send(world, claimer, data, flow)
    world.run_for(1)

    assert sorted(arrived(issuer)) == sent
    assert claimer.link.datagrams_out.dropped == 0


def test_no_datagram_is_ever_wrong_under_loss_and_reordering(is_full):
    """Whatever happens to packets: a datagram arrives as it was sent, once, or not at all."""
    for seed in range(500) if is_full else range(40):
        world = World(seed)
        chance = world.rng
        rough = {
            "delay": chance.choice([0.001, 0.02, 0.2]),
            "jitter": chance.choice([0.0, 0.05, 0.4]),
            "loss": chance.choice([0.0, 0.02, 0.25]),
            "duplicate": chance.choice([0.0, 0.1]),
            "keeps_order": chance.random() < 0.5,
        }
        issuer, claimer = linked(world, **rough)
        sent = {}
        for number in range(60):
            flow, data = 2 * chance.randrange(4), payload(number, chance.choice(SIZES[1:5]))
            sent[number] = (flow, data)
            claimer.link.send_datagram(claimer.instant, flow, data)
            world.run_for(chance.choice([0.0, 0.001, 0.03]))
        world.run_for(3)

        came = arrived(issuer)
        numbers = [int.from_bytes(data[:4], "little") for _, data in came]
        assert all(sent[number] == one for number, one in zip(numbers, came, strict=True)), seed
        assert len(numbers) == len(set(numbers)), seed
        if not rough["loss"]:
            dropped = claimer.link.datagrams_out.dropped
            assert len(came) == 60 - dropped, seed


def test_datagrams_go_before_stream_bytes_that_wait(is_full):
    """Beside a transfer that fills a line, a datagram takes 10 ms more than on an empty one."""
    rate, count = (100e6 / 8, 100) if is_full else (20e6 / 8, 40)
    world, _, issuer, claimer = direct_pair(delay=0.005, rate=rate, features=Feature.DATAGRAMS)
    stream = claimer.send_all(bytes(int(4 * rate)))
    world.run_for(1)
    delays = []
    for number in range(count):
        began = world.now
        send(world, claimer, payload(number, 200))
        world.drive(lambda number=number: len(arrived(issuer)) > number, seconds=1)
        delays.append(world.now - began)
        world.run_for(0.0071)

    assert stream not in issuer.ended
    assert sorted(delays)[-2] <= 2 * 0.005 + 0.010


def test_a_flood_of_datagrams_stops_no_stream_and_the_oldest_are_dropped():
    world, _, issuer, claimer = direct_pair(delay=0.005, rate=10e6 / 8, features=Feature.DATAGRAMS)
    stream = claimer.send_all(patterned(256 * KIB))
    for number in range(4000):  # 32 Mbit/s
        send(world, claimer, payload(number, 996))
        world.run_for(0.00025)
    world.drive(lambda: stream in issuer.ended, seconds=3)

    assert issuer.received[stream] == patterned(256 * KIB)
    assert claimer.link.datagrams_out.dropped > 1000
    assert len(arrived(issuer)) > 400


def test_a_small_write_counts_as_a_turn_of_the_streams():
    """It goes out ahead of bulk, and what it takes is as much a part of the streams' share."""
    _, _, _, claimer = direct_pair(features=Feature.DATAGRAMS)
    link = claimer.link
    stream = claimer.open()
    claimer.world.run_for(1)
    link.streams.write(stream, bytes(500))
    link.datagrams_out._lead = MAX_LEAD
    link.send_datagram(claimer.instant, 0, b"waits for its turn")

    sent = claimer.machine.packets_to_send(claimer.instant)

    assert link.datagrams_out._lead <= MAX_LEAD - 3 * 500
    assert sent
    assert link.datagrams_out.are_waiting


def test_what_could_not_leave_in_time_never_comes_late():
    """An outage loses datagrams; what is sent after it arrives at once, and nothing old does."""
    world = World()
    issuer, claimer = linked(world)
    send(world, claimer, b"before")
    world.run_for(0.1)
    world.cut(claimer)
    for number in range(100):
        send(world, claimer, b"lost %d" % number)
        world.run_for(0.1)
    world.cut(claimer, is_cut=False)
    world.run_for(5)
    began = world.now
    send(world, claimer, b"after")
    world.drive(lambda: arrived(issuer)[-1] == (0, b"after"), seconds=1)

    assert world.now - began <= 0.05
    assert not claimer.is_over


def test_flows_go_on_through_a_promotion():
    world, _, issuer, claimer = world_of(features=Feature.DATAGRAMS)
    for number in range(200):
        send(world, claimer, payload(number, 100), flow=2)
        send(world, issuer, payload(number, 100), flow=2)
        world.run_for(0.02)

    drive_to_direct(world, issuer, claimer)
    world.run_for(1)
    assert len(arrived(issuer)) == len(arrived(claimer)) == 200


def test_idle_flows_cost_nothing_and_old_datagrams_make_no_wake_up():
    wakeups = []
    for has_sent in (False, True):
        world = World()
        _, claimer = linked(world)
        if has_sent:
            send(world, claimer, b"hello")
        world.run_for(60)
        before = claimer.wakeups
        world.run_for(600)
        wakeups.append(claimer.wakeups - before)

    assert wakeups[1] == wakeups[0]


def test_what_waits_in_a_full_window_is_dropped_after_its_time():
    world = World()
    _, claimer = linked(world, rate=1000.0)
    for number in range(50):
        send(world, claimer, payload(number, 1000))
        world.run_for(MAX_WAIT_S / 4)

    out = claimer.link.datagrams_out
    assert out.dropped
    assert out.sent + out.dropped >= 50 - 5


def test_without_the_agreement_none_is_sent_or_taken():
    world = World()
    issuer, claimer = world.linked_pair()
    with pytest.raises(MisuseError):
        claimer.link.send_datagram(claimer.instant, 0, b"x")

    frame = encode(Datagram(0, 0, 0, 1, b"x"))
    issuer.receive(0, claimer.key.public, forge(claimer, frame))
    world.run_for(1)

    assert issuer.has(LinkClosed)
    assert arrived(issuer) == []


def test_a_peer_that_contradicts_itself_loses_its_link():
    world = World()
    issuer, claimer = linked(world)
    for piece in (Datagram(0, 9, 0, 2000, bytes(900)), Datagram(0, 9, 0, 2000, bytes(900))):
        issuer.receive(0, claimer.key.public, forge(claimer, encode(piece)))
    world.run_for(1)

    assert issuer.has(LinkClosed)
