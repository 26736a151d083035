"""Unheard is not gone: stalls, resumption, giving up, idle links, relays that come and go."""

import pytest
from udp_network import UdpNetwork
from world import World, patterned

from tunnel.proto.link.events import LinkClosed, LinkGivenUp, LinkResumed, LinkStalled
from tunnel.units import KIB, MIB
from tunnel.wire.handshake import is_handshake


def test_a_stall_is_told_after_five_seconds_and_the_link_is_given_up_at_sixty():
    world = World()
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(patterned(4 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > MIB)
    world.cut(issuer)
    heard_at = claimer.link.last_heard

    world.drive(lambda: claimer.has(LinkStalled))
    assert world.now == pytest.approx(heard_at + 5, abs=0.1)
    (stalled,) = claimer.all(LinkStalled)
    assert stalled.silent_s == pytest.approx(5, abs=0.1)
    assert stalled.give_up_in_s == pytest.approx(55, abs=0.1)

    world.run_for(heard_at + 59.5 - world.now)
    assert not claimer.has(LinkGivenUp)
    world.drive(lambda: claimer.has(LinkGivenUp))
    assert world.now == pytest.approx(heard_at + 60, abs=0.1)
    assert claimer.all(LinkGivenUp)[0].silent_s == pytest.approx(60, abs=0.1)
    assert claimer.link.is_closed
    assert len(claimer.all(LinkStalled)) == 1


def test_a_receiver_whose_bytes_stop_coming_tells_and_gives_up_at_the_same_times():
    world = World()
    issuer, claimer = world.linked_pair()
    stream = claimer.open()
    claimer.link.streams.write(stream, b"the beginning")
    world.drive(lambda: stream in issuer.received)
    world.run_for(0.3)  # until nothing is unanswered: it has to ask first whether anybody is there
    assert not issuer.link.has_unanswered
    world.cut(issuer)

    world.drive(lambda: issuer.has(LinkStalled))
    heard_at = issuer.link.last_heard
    assert world.now == pytest.approx(heard_at + 5, abs=0.1)
    (stalled,) = issuer.all(LinkStalled)
    assert stalled.silent_s == pytest.approx(5, abs=0.1)
    assert stalled.give_up_in_s == pytest.approx(55, abs=0.1)

    world.drive(lambda: issuer.has(LinkGivenUp))
    assert world.now == pytest.approx(heard_at + 60, abs=0.1)
    assert issuer.all(LinkGivenUp)[0].silent_s == pytest.approx(60, abs=0.1)


def test_a_sender_that_waits_for_credit_notices_that_nobody_answers_any_more():
    """Everything it could send is acknowledged: it has to ask whether the reader is only slow."""
    world = World()
    issuer, claimer = world.linked_pair()
    issuer.reads = False
    stream = claimer.send_all(patterned(40 * MIB))
    world.run_for(60)
    assert claimer.link.streams.sending(stream).buffered
    assert not claimer.has(LinkStalled)
    world.cut(issuer)
    cut_at = world.now

    world.drive(lambda: claimer.has(LinkStalled))

    assert claimer.all(LinkStalled)[0].silent_s == pytest.approx(6.5, abs=1)
    assert world.now <= cut_at + 6.6
    world.drive(lambda: claimer.has(LinkGivenUp))
    assert claimer.all(LinkGivenUp)[0].silent_s == pytest.approx(60, abs=0.1)


def test_a_link_may_be_given_a_longer_patience():
    world = World()
    issuer = world.issuer(give_up_after_s=600.0)
    claimer = world.claimer(give_up_after_s=600.0)
    world.drive(lambda: issuer.link is not None and claimer.link is not None)
    world.cut(issuer)
    claimer.send_all(b"hello")

    world.run_for(590)
    assert not claimer.link.is_closed
    world.run_for(20)
    assert claimer.has(LinkGivenUp)


def test_a_link_resumes_before_it_is_given_up():
    world = World()
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(patterned(4 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > MIB)
    world.cut(issuer)
    world.run_for(57)
    world.cut(issuer, is_cut=False)

    world.drive(lambda: stream in issuer.ended, seconds=10)

    assert issuer.received[stream] == patterned(4 * MIB)
    (resumed,) = claimer.all(LinkResumed)
    assert resumed.silent_s == pytest.approx(57, abs=3)
    assert not claimer.is_over
    assert not issuer.is_over


def test_every_stall_is_told():
    world = World()
    issuer, claimer = world.linked_pair()
    for i in range(3):
        stream = claimer.send_all(patterned(MIB, seed=i))
        world.cut(issuer)
        world.run_for(10)
        world.cut(issuer, is_cut=False)
        world.drive(lambda: stream in issuer.ended)  # noqa: B023

    assert len(claimer.all(LinkStalled)) == len(claimer.all(LinkResumed)) == 3
    assert claimer.link.counters.stalls == 3


def test_an_idle_link_pings_once_in_thirty_seconds_and_lives_for_ever():
    world = World()
    issuer, claimer = world.linked_pair()
    world.run_for(1)
    sent = []
    world.watch = lambda host, packet: sent.append((host, packet))

    world.run_for(300)

    assert len([host for host, _ in sent if host is claimer]) == 10
    assert len([host for host, _ in sent if host is issuer]) == 10
    assert not issuer.is_over
    assert not claimer.is_over
    assert not claimer.has(LinkStalled)


def test_an_idle_link_whose_peer_is_gone_is_given_up_once_a_ping_is_unanswered():
    world = World()
    issuer, claimer = world.linked_pair()
    world.run_for(1)
    heard_at = claimer.link.last_heard
    world.cut(issuer)

    world.drive(lambda: claimer.has(LinkStalled))
    assert world.now == pytest.approx(heard_at + 35, abs=1)
    world.drive(lambda: claimer.has(LinkGivenUp))
    assert world.now == pytest.approx(heard_at + 60, abs=1)
    world.drive(lambda: issuer.has(LinkGivenUp))
    assert world.now == pytest.approx(heard_at + 60, abs=6)


def test_something_unanswered_gets_five_seconds_however_long_ago_the_peer_was_heard():
    """A link whose owner slept (a laptop's lid) does not end at the first tick."""
    world = World()
    issuer, claimer = world.linked_pair()
    world.run_for(1)
    world.now += 3600

    stream = claimer.send_all(b"good morning")
    world.drive(lambda: stream in issuer.ended)

    assert not claimer.is_over
    assert not issuer.is_over


def test_probes_of_a_silent_link_are_at_most_two_seconds_apart_and_few():
    world = World()
    issuer, claimer = world.linked_pair()
    claimer.send_all(b"hello")
    world.cut(issuer)
    times = []
    world.watch = lambda host, packet: times.append(world.now) if host is claimer else None

    world.run_for(50)

    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert max(gaps) <= 2.01
    assert len(times) < 45


def test_a_restarted_relay_is_used_again_and_no_byte_is_lost():
    world = World()
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(patterned(8 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > 2 * MIB)

    world.relay.stop()
    world.run_for(1)
    world.relay.start()
    world.drive(lambda: stream in issuer.ended, seconds=10)

    assert issuer.received[stream] == patterned(8 * MIB)
    assert claimer.link.counters.relay_changes >= 1


def test_a_link_goes_on_over_another_relay():
    world = World(relays=2)
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(patterned(8 * MIB))
    back = issuer.send_all(patterned(8 * MIB, seed=2))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > 2 * MIB)
    assert claimer.link.relay == 0

    world.relays[0].stop()
    world.drive(lambda: stream in issuer.ended and back in claimer.ended, seconds=20)

    assert issuer.received[stream] == patterned(8 * MIB)
    assert claimer.received[back] == patterned(8 * MIB, seed=2)
    assert claimer.link.relay == issuer.link.relay == 1
    assert world.noted("path.relay_changed")


def test_one_side_alone_may_lose_a_relay():
    world = World(relays=2)
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(patterned(8 * MIB))
    back = issuer.send_all(patterned(8 * MIB, seed=2))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > 2 * MIB)

    world.relays[0].disconnect(claimer)
    world.drive(lambda: stream in issuer.ended and back in claimer.ended, seconds=20)

    assert issuer.link.relay == claimer.link.relay == 1
    assert issuer.received[stream] == patterned(8 * MIB)
    assert claimer.received[back] == patterned(8 * MIB, seed=2)


def test_late_packets_of_the_relay_left_behind_do_not_make_the_two_chase_each_other():
    world = World(relays=2)
    issuer, claimer = world.linked_pair()
    stream = claimer.send_all(patterned(8 * MIB))
    back = issuer.send_all(patterned(8 * MIB, seed=2))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > 2 * MIB)
    late = []
    world.relays[0].tamper = lambda *packet: late.append(packet) or []

    world.relays[0].disconnect(claimer)
    world.run_for(0.2)
    world.relays[0].tamper = None
    for packet in late:
        world.relays[0].accept(*packet)
    world.drive(lambda: stream in issuer.ended and back in claimer.ended, seconds=20)

    assert issuer.received[stream] == patterned(8 * MIB)
    assert len(world.noted("path.relay_changed")) <= 6


def test_a_relay_s_word_that_the_peer_is_gone_is_a_hint_and_never_an_end():
    world = World()
    issuer, claimer = world.linked_pair()
    world.run_for(1)
    sent = []
    world.watch = lambda host, packet: sent.append(host)

    issuer.peer_gone(0, claimer.key.public)
    claimer.peer_gone(0, issuer.key.public)
    issuer.peer_gone(0, bytes(32))
    claimer.peer_gone(0, bytes(32))
    world.run_for(2)

    assert sent.count(issuer) <= 3
    assert sent.count(claimer) <= 3
    assert claimer in sent
    assert issuer in sent
    assert not issuer.is_over
    assert not claimer.is_over
    stream = claimer.send_all(patterned(100 * KIB))
    world.drive(lambda: stream in issuer.ended)


def test_a_relay_that_comes_up_for_an_idle_link_is_pinged():
    world = World(relays=2)
    issuer, claimer = world.linked_pair()
    world.run_for(1)
    sent = []
    world.watch = lambda host, packet: sent.append((host, packet.to.relay))

    claimer.relay_up(0)
    issuer.relay_up(0)
    issuer.relay_up(1)
    world.run_for(1)

    assert (claimer, 0) in sent
    assert (issuer, 0) in sent
    assert (issuer, 1) not in sent


def test_nothing_is_heard_of_a_claim_that_nobody_may_answer_after_the_link_ended():
    world = World()
    issuer, claimer = world.linked_pair()
    claimer.link.close(world.instant, 16, "done")
    world.drive(lambda: issuer.has(LinkClosed))
    sent = []
    world.watch = lambda host, packet: sent.append(packet)

    world.run_for(300)

    assert not any(is_handshake(packet.data) for packet in sent)
    assert sent == []


@pytest.mark.parametrize("is_direct", [False, True], ids=["relayed", "direct"])
def test_a_receiver_that_suddenly_hears_nothing_asks_within_four_seconds(is_direct):
    # Its NAT may have moved: what would reach it, by any path, waits for a packet of its own.
    world = World()
    issuer, claimer = world.linked_pair()
    network = UdpNetwork(world)
    for number, host in enumerate((issuer, claimer), 1):
        if is_direct:
            network.attach(host, f"203.0.113.{number}", rate=1e6, delay=0.02)
        for wire in world.wires(host):
            wire.rate = 1e6
    stream = claimer.send_all(patterned(8 * MIB))
    world.drive(lambda: len(issuer.received.get(stream, b"")) > MIB)
    assert bool(issuer.link.direct_path) == is_direct

    world.cut(issuer)
    if is_direct:
        network.cut(issuer)
    began = world.now
    world.drive(lambda: issuer.link.is_awaiting and not issuer.link.direct_path, seconds=20)

    assert world.now - began <= 4  # a second of quiet, and a path is doubted after three at most
    world.drive(lambda: issuer.has(LinkStalled), seconds=20)
    assert world.now - began <= 7


def test_a_conversation_that_pauses_costs_one_ping():
    world = World()
    issuer, claimer = world.linked_pair()
    claimer.send_all(patterned(100 * KIB))
    world.run_for(0.9)
    before = issuer.link.counters.bytes_sent + claimer.link.counters.bytes_sent

    world.run_for(20)

    after = issuer.link.counters.bytes_sent + claimer.link.counters.bytes_sent
    assert 0 < after - before < 200
