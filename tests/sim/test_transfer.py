"""Bytes over a link: exact under loss, duplication, reordering and delay; ends, resets and stops."""

import pytest
from world import World, patterned

from tunnel.proto.link.events import LinkClosed
from tunnel.proto.streams.credit import FIRST_WINDOW, IDLE_S, POOL
from tunnel.proto.streams.receive_stream import ReceiveState
from tunnel.proto.streams.send_stream import SendState
from tunnel.units import KIB, MIB

SEEDS = range(50)


def is_exact(sender, receiver, stream, data):
    return stream in receiver.ended and receiver.received[stream] == data


@pytest.mark.parametrize("fast_aeads", [1, 3], ids=["chacha20", "aegis"])
def test_a_transfer_over_a_good_relay_is_exact_and_sends_nothing_twice(fast_aeads):
    world = World()
    issuer, claimer = world.issuer(fast_aeads=fast_aeads), world.claimer()
    world.drive(lambda: issuer.link is not None and claimer.link is not None)
    data = patterned(3 * MIB + 77)
    stream = claimer.send_all(data)

    world.drive(lambda: stream in issuer.ended)

    assert issuer.received[stream] == data
    assert claimer.link.counters.packets_lost == 0
    assert claimer.link.counters.bytes_sent < 1.01 * len(data)
    assert world.relay.dropped == 0


def test_a_transfer_is_exact_under_loss_duplication_reordering_and_delay(is_full):
    for seed in range(1000) if is_full else SEEDS:
        world = World(seed)
        rough = {
            "delay": world.rng.choice([0.001, 0.02, 0.3]),
            "jitter": world.rng.choice([0.0, 0.05, 0.4]),
            "loss": world.rng.choice([0.0, 0.02, 0.25]),
            "duplicate": world.rng.choice([0.0, 0.1]),
            "keeps_order": world.rng.random() < 0.5,
        }
        issuer, claimer = world.linked_pair(**rough)
        up = patterned(world.rng.randrange(200 * KIB), seed)
        down = patterned(world.rng.randrange(200 * KIB), seed + 1)
        stream = claimer.send_all(up)
        issuer_stream = issuer.send_all(down)

        world.drive(lambda: stream in issuer.ended and issuer_stream in claimer.ended)  # noqa: B023

        assert issuer.received[stream] == up, seed
        assert claimer.received[issuer_stream] == down, seed


def test_bulk_goes_both_ways_at_once_on_one_stream():
    world = World(3)
    issuer, claimer = world.linked_pair(rate=10e6, loss=0.01)
    up, down = patterned(2 * MIB), patterned(2 * MIB, seed=2)
    stream = claimer.send_all(up)
    world.drive(lambda: issuer.link.streams.is_known(stream))
    issuer.send_all(down, stream)

    world.drive(lambda: stream in issuer.ended and stream in claimer.ended)

    assert issuer.received[stream] == up
    assert claimer.received[stream] == down


def test_either_half_of_a_stream_may_end_long_before_the_other():
    world = World()
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(b"question")
    world.drive(lambda: stream in issuer.ended)
    world.run_for(100)

    issuer.link.streams.write(stream, b"answer")
    world.run_for(100)
    assert claimer.received[stream] == b"answer"
    assert stream not in claimer.ended
    issuer.link.streams.end(stream)
    world.drive(lambda: stream in claimer.ended)

    world.run_for(1)
    assert not issuer.link.streams.is_known(stream)
    assert not claimer.link.streams.is_known(stream)


def test_a_stream_without_a_byte_opens_and_ends():
    world = World()
    issuer, claimer = world.linked_pair()

    stream = issuer.send_all(b"")

    world.drive(lambda: stream in claimer.ended)
    assert claimer.received[stream] == b""


def test_an_empty_stream_opens_at_the_other_side_before_anything_is_written():
    world = World(1)
    issuer, claimer = world.linked_pair(loss=0.4)

    stream = claimer.open()

    world.drive(lambda: issuer.link.streams.is_known(stream))


@pytest.mark.parametrize("seed", range(10))
def test_a_reset_stays_a_reset_and_never_looks_like_an_end(seed):
    world = World(seed)
    issuer, claimer = world.linked_pair(loss=0.2, jitter=0.1, keeps_order=False)
    issuer.reads = False
    stream = claimer.open()
    claimer.link.streams.write(stream, patterned(300 * KIB))
    world.run_for(0.05)
    claimer.link.streams.reset(stream, 77)
    world.drive(lambda: issuer.link.streams.is_known(stream))
    receiving = issuer.link.streams.receiving(stream)

    world.drive(lambda: receiving.state is ReceiveState.RESET)
    world.run_for(60)

    assert receiving.reset_code == 77
    assert receiving.readable == 0
    assert receiving.state is ReceiveState.RESET
    assert not issuer.link.is_closed


@pytest.mark.parametrize("seed", range(10))
def test_a_reader_that_wants_no_more_stops_the_writer(seed):
    world = World(seed)
    issuer, claimer = world.linked_pair(loss=0.2)
    stream = claimer.open()
    claimer.link.streams.write(stream, patterned(4 * MIB))
    sending = claimer.link.streams.sending(stream)
    world.drive(lambda: len(issuer.received.get(stream, b"")) > 100 * KIB)

    issuer.link.streams.stop(stream, 18)

    world.drive(lambda: sending.state is SendState.RESET)
    assert sending.stop_code == 18
    issuer.link.streams.end(stream)
    world.drive(lambda: not issuer.link.streams.is_known(stream))
    world.drive(lambda: not claimer.link.streams.is_known(stream))
    assert not issuer.link.is_closed


def test_a_stalled_reader_stops_its_stream_only_and_holds_no_more_than_its_credit():
    world = World()
    issuer, claimer = world.linked_pair()
    issuer.unread = {0}
    stalled = claimer.send_all(patterned(4 * MIB))
    assert stalled == 0
    world.run_for(5)
    other = claimer.send_all(patterned(2 * MIB, seed=2))

    world.drive(lambda: other in issuer.ended, seconds=10)

    receiving = issuer.link.streams.receiving(stalled)
    assert receiving.readable <= receiving.limit == 16 * KIB
    issuer.unread = set()
    issuer.read_all(issuer.link, stalled)
    world.drive(lambda: stalled in issuer.ended, seconds=10)
    assert issuer.received[stalled] == patterned(4 * MIB)


def test_a_reader_that_stalls_midway_holds_no_more_than_its_window():
    world = World()
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(patterned(64 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > 40 * MIB)
    issuer.reads = False
    world.run_for(30)

    receiving = issuer.link.streams.receiving(stream)
    assert receiving.readable <= receiving.limit - receiving.read_offset <= 16 * MIB
    assert not issuer.link.is_closed


def test_a_thousand_streams_run_at_once():
    world = World()
    issuer, claimer = world.linked_pair(rate=50e6)
    sent = {claimer.send_all(patterned(i, seed=i)): i for i in range(0, 2000, 2)}

    world.drive(lambda: len(issuer.ended) == 1000)
    for stream, size in sent.items():
        assert issuer.received[stream] == patterned(size, seed=size)
        issuer.send_all(bytes(issuer.received[stream]), stream)
    world.drive(lambda: len(claimer.ended) == 1000)

    assert claimer.received == issuer.received
    world.run_for(1)
    assert not any(issuer.link.streams.is_known(stream) for stream in sent)


def test_a_close_never_counts_as_the_end_of_data():
    world = World()
    issuer, claimer = world.linked_pair(rate=1e6)
    stream = claimer.open()
    claimer.link.streams.write(stream, patterned(MIB))
    world.drive(lambda: issuer.received.get(stream))

    claimer.link.close(world.instant, 16, "done")

    world.drive(lambda: issuer.has(LinkClosed))
    assert stream not in issuer.ended
    assert 0 < len(issuer.received[stream]) < MIB
    receiving = issuer.inboxes[-1].receiving[stream]
    assert receiving.state is ReceiveState.OPEN


def test_a_stream_gets_the_credit_that_idle_ones_hold():
    world = World()
    issuer, claimer = world.linked_pair(delay=0.05, rate=100e6)
    alone = time_of_a_transfer(world, issuer, claimer)
    idle = [claimer.open() for _ in range(2 * POOL // FIRST_WINDOW)]
    for stream in idle:
        claimer.link.streams.write(stream, b"hello")
    world.drive(lambda: all(len(issuer.received.get(stream, b"")) == 5 for stream in idle))
    world.run_for(2 * IDLE_S)

    among_idle_ones = time_of_a_transfer(world, issuer, claimer)

    assert among_idle_ones < alone + 3 * 0.1
    for stream in idle:
        claimer.link.streams.write(stream, patterned(64 * KIB))
    world.drive(lambda: all(len(issuer.received[stream]) > 64 * KIB for stream in idle))


def time_of_a_transfer(world, issuer, claimer):
    began = world.now
    stream = claimer.send_all(patterned(3 * MIB))
    world.drive(lambda: stream in issuer.ended)
    return world.now - began
