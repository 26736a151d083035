"""The rules of `listen` and `pipe`, one by one: what each side may believe, and whose the output is."""

import pytest
from conversation import Outcome, Receiver, Sender
from world import World, patterned
from xxhash import xxh3_128

from derphole.errors import (
    AlreadyInUse,
    DigestMismatch,
    PeerAborted,
    PeerBrokeProtocol,
    PeerLeft,
    SizeMismatch,
    TimedOut,
    WeBrokeProtocol,
)
from derphole.speech.decisions import Close, Flush, KeepPlace, Over, Proved, Say
from derphole.speech.endings import Ending
from derphole.speech.messages import Confirm, ConfirmAck, Fin, MessageReader, encode
from derphole.speech.stream_proof import CONFIRM_S, HEAR_WHY_S, LINGER_S
from derphole.speech.stream_states import State
from tunnel.proto.meeting.claimer import LinkUp

DATA = patterned(3000)
DIGEST = xxh3_128(DATA).digest()
LIES = [
    (len(DATA), bytes(16), DigestMismatch),
    (len(DATA), DIGEST[:-1] + bytes([DIGEST[-1] ^ 1]), DigestMismatch),
    (len(DATA) - 1, DIGEST, SizeMismatch),
    (len(DATA) + 1, DIGEST, SizeMismatch),
]
NAMES = ["zeros", "a bit", "one less", "one more"]


class LyingSender(Sender):
    """Says another size and digest than those of what it sends."""

    lie = 0, b""

    def say(self, data):
        super().say(encode(Fin(*self.lie)) if is_message(data, Fin) else data)


class LyingReceiver(Receiver):
    """Confirms another size and digest than those of what it wrote."""

    lie = 0, b""

    def say(self, data):
        super().say(encode(Confirm(*self.lie)) if is_message(data, Confirm) else data)


class MuteSender(Sender):
    """Says nothing: its place may be taken over."""

    def poll(self):
        return False


def is_message(data, kind):
    reader = MessageReader()
    reader.feed(data)
    return isinstance(reader.next_message(), kind)


def raw_claimer(world):
    """Return a claimer whose words the test chooses, with its control and data streams open."""
    host = world.claimer()
    world.drive(lambda: host.has(LinkUp))
    assert (host.open(), host.open()) == (0, 2)
    return host


def say(host, words, stream=0):
    host.link.streams.write(stream, words if isinstance(words, bytes) else encode(words))


def over(*sides):
    return lambda: all(side.is_over for side in sides)


# -- what is believed -----------------------------------------------------------------------


@pytest.mark.parametrize(("size", "digest", "error"), LIES, ids=NAMES)
def test_a_fin_that_is_not_true_is_no_success_of_either_side(size, digest, error):
    world = World()
    receiver = Receiver(world.issuer())
    sender = LyingSender(world.claimer(), DATA)
    sender.lie = size, digest

    world.drive(over(receiver, sender))

    assert isinstance(receiver.error, error)
    assert isinstance(sender.error, PeerAborted)


@pytest.mark.parametrize(("size", "digest", "error"), LIES, ids=NAMES)
def test_a_confirmation_of_something_else_is_no_success_of_the_sender(size, digest, error):
    world = World()
    receiver = LyingReceiver(world.issuer())
    receiver.lie = size, digest
    sender = Sender(world.claimer(), DATA)

    world.drive(lambda: sender.is_over)

    assert isinstance(sender.error, error)


def test_more_than_fin_told_is_not_even_written():
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)
    say(claimer, Fin(3, xxh3_128(b"abc").digest()))
    world.run_for(1)

    say(claimer, b"abcd", stream=2)
    world.drive(over(receiver), seconds=1)

    assert isinstance(receiver.error, SizeMismatch)
    assert receiver.written == b""


def test_nothing_is_confirmed_before_the_output_keeps_it():
    world = World()
    receiver = Receiver(world.issuer(), flush_s=8.0)
    sender = Sender(world.claimer(), DATA)
    world.drive(lambda: receiver.written == DATA)

    world.run_for(7)
    assert sender.outcome is receiver.outcome is Outcome.RUNNING
    world.drive(over(receiver, sender), seconds=3)

    assert sender.outcome is receiver.outcome is Outcome.SUCCEEDED
    kinds = [type(decision) for decision in receiver.decided]
    assert kinds[-5:] == [Flush, Say, Proved, Close, Over]


def test_a_close_of_the_listener_is_no_success_however_polite():
    world = World()
    issuer = world.issuer()
    sender = Sender(world.claimer(), DATA)
    world.drive(lambda: 2 in issuer.ended)

    issuer.link.close(world.instant, Ending.DONE, "done")
    world.drive(over(sender))

    assert isinstance(sender.error, PeerLeft)


def test_a_stream_without_fin_is_no_success_however_clean_its_end():
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)
    claimer.send_all(DATA, stream=2)
    world.drive(lambda: receiver.written == DATA)

    claimer.link.close(world.instant, Ending.DONE, "done")
    world.drive(over(receiver))

    assert isinstance(receiver.error, PeerLeft)


def test_a_fin_without_the_end_of_the_data_is_no_success():
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)
    say(claimer, DATA, stream=2)
    say(claimer, Fin(len(DATA), DIGEST))
    world.drive(lambda: receiver.written == DATA)
    world.run_for(30)

    assert receiver.outcome is Outcome.RUNNING


# -- turns ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        [Fin(len(DATA), DIGEST), Fin(len(DATA), DIGEST)],
        [ConfirmAck()],
        [Confirm(0, bytes(16))],
        [b"\1\4\0abcd"],
    ],
    ids=["fin twice", "confirm_ack", "confirm", "nonsense"],
)
def test_who_speaks_out_of_turn_to_the_listener_is_told_so(words):
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)

    for word in words:
        say(claimer, word)
    world.drive(over(receiver))

    assert isinstance(receiver.error, PeerBrokeProtocol)
    assert receiver.host.inboxes[0].events[-1].code == Ending.PROTOCOL_VIOLATION


def test_nonsense_behind_a_confirmation_spoils_no_success():
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)
    claimer.send_all(DATA, stream=2)
    say(claimer, Fin(len(DATA), DIGEST))
    world.drive(lambda: receiver.outcome is Outcome.SUCCEEDED)

    say(claimer, Fin(len(DATA), DIGEST))
    world.drive(over(receiver), seconds=1)

    assert receiver.outcome is Outcome.SUCCEEDED
    assert not receiver.proof.is_acknowledged
    assert receiver.proof.nonsense == "FIN was sent in answer to CONFIRM"
    assert receiver.host.inboxes[0].events[-1].code == Ending.PROTOCOL_VIOLATION


def test_who_broke_the_protocol_reads_that_it_did():
    world = World()
    issuer = world.issuer()
    sender = Sender(world.claimer(), DATA)
    world.drive(lambda: 2 in issuer.ended)

    issuer.link.close(world.instant, Ending.PROTOCOL_VIOLATION, "FIN was sent after FIN")
    world.drive(over(sender))

    assert isinstance(sender.error, WeBrokeProtocol)


# -- whose the output is --------------------------------------------------------------------


def test_an_output_with_its_first_byte_is_one_claimers_alone():
    world = World()
    receiver = Receiver(world.issuer())
    first = Sender(world.claimer(rate=1e6), patterned(1_000_000))
    world.drive(lambda: receiver.written)
    world.cut(first.host)

    second = Sender(world.claimer(), DATA)
    world.drive(over(second), seconds=10)

    assert isinstance(second.error, AlreadyInUse)
    world.cut(first.host, is_cut=False)
    world.drive(over(first, receiver))
    assert first.outcome is receiver.outcome is Outcome.SUCCEEDED
    assert receiver.written == patterned(1_000_000)
    assert [d for d in receiver.decided if isinstance(d, KeepPlace)] == receiver.decided[:1]


def test_an_empty_stream_that_is_whole_is_one_claimers_alone():
    world = World()
    receiver = Receiver(world.issuer(), flush_s=10.0)
    first = Sender(world.claimer(), b"")
    world.drive(lambda: receiver.proof is not None and receiver.proof.state is State.WHOLE)
    world.cut(first.host)

    second = Sender(world.claimer(), DATA)
    world.drive(over(second), seconds=5)

    assert isinstance(second.error, AlreadyInUse)
    world.cut(first.host, is_cut=False)
    world.drive(over(first, receiver))
    assert first.outcome is receiver.outcome is Outcome.SUCCEEDED
    assert receiver.written == b""


def test_a_place_without_a_byte_goes_to_the_next_claimer_who_is_served():
    world = World()
    receiver = Receiver(world.issuer())
    first = MuteSender(world.claimer(), b"another stream")
    world.drive(lambda: receiver.host.link is not None and first.host.link is not None)
    world.cut(first.host)

    second = Sender(world.claimer(), DATA)
    world.drive(over(second, receiver))

    assert second.outcome is receiver.outcome is Outcome.SUCCEEDED
    assert receiver.served == 1
    assert receiver.written == DATA


def test_who_leaves_before_its_first_byte_is_not_followed_by_another():
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)
    world.drive(lambda: receiver.proof is not None)

    claimer.link.close(world.instant, Ending.INTERRUPTED, "it was interrupted by SIGINT")
    world.drive(over(receiver))

    assert isinstance(receiver.error, PeerAborted)


def test_half_a_stream_is_never_followed_by_another():
    """Only the sender's own process can take over then, and it would begin again."""
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)
    say(claimer, b"half of ", stream=2)
    world.drive(lambda: receiver.written)

    receiver.host.link.close(world.instant, Ending.REPLACED, "another link of this process")
    world.drive(over(receiver))

    assert receiver.outcome is Outcome.FAILED
    assert receiver.written == b"half of "


# -- ends of links, and of patience ---------------------------------------------------------


def test_who_vanishes_behind_its_last_word_has_been_heard():
    world = World()
    receiver = Receiver(world.issuer(), flush_s=2.0)
    claimer = raw_claimer(world)
    claimer.send_all(DATA, stream=2)
    say(claimer, Fin(len(DATA), DIGEST))
    world.drive(lambda: receiver.proof is not None and receiver.proof.state is State.WHOLE)

    claimer.link.close(world.instant, Ending.FAILED, "it failed")
    world.drive(over(receiver), seconds=3)

    assert receiver.outcome is Outcome.SUCCEEDED
    assert not receiver.proof.is_acknowledged
    assert receiver.written == DATA


def test_a_receiver_waits_ten_seconds_for_an_answer_and_has_succeeded_all_the_same():
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)
    claimer.send_all(DATA, stream=2)
    say(claimer, Fin(len(DATA), DIGEST))
    world.drive(lambda: receiver.outcome is Outcome.SUCCEEDED)
    proved_at = world.now

    world.drive(over(receiver))

    assert world.now == pytest.approx(proved_at + CONFIRM_S)
    assert not receiver.proof.is_acknowledged
    assert receiver.outcome is Outcome.SUCCEEDED


def test_a_sender_lingers_for_a_second_at_most_and_has_succeeded_all_the_same():
    world = World()
    receiver = Receiver(world.issuer())
    sender = Sender(world.claimer(), DATA)
    world.drive(lambda: receiver.outcome is Outcome.SUCCEEDED)
    world.drive(lambda: sender.outcome is Outcome.SUCCEEDED)
    proved_at = world.now
    for wire in world.wires(receiver.host):
        wire.is_cut = True

    world.drive(over(sender))

    assert world.now == pytest.approx(proved_at + LINGER_S)
    world.drive(over(receiver))
    assert sender.outcome is receiver.outcome is Outcome.SUCCEEDED


def test_a_lost_listener_is_a_failure_that_says_so():
    world = World()
    world.issuer()
    sender = Sender(world.claimer(), DATA)
    world.drive(lambda: sender.host.link is not None)
    world.cut(sender.host)

    world.drive(over(sender), seconds=100)

    assert isinstance(sender.error, TimedOut)
    assert "the listener's confirmation" in str(sender.error)


def test_a_stream_that_is_reset_is_a_failure_half_a_second_later():
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)
    say(claimer, b"half of ", stream=2)
    world.drive(lambda: receiver.written)

    claimer.link.streams.reset(2, 7)
    world.drive(lambda: receiver.proof.state is State.GIVEN_UP)
    reset_at = world.now
    say(claimer, Fin(8, xxh3_128(b"half of ").digest()))
    world.drive(over(receiver))

    assert world.now == pytest.approx(reset_at + HEAR_WHY_S)
    assert isinstance(receiver.error, PeerAborted)
    assert receiver.error.reason is None


def test_a_stream_that_is_given_up_while_the_output_is_flushed_is_not_confirmed():
    world = World()
    receiver = Receiver(world.issuer(), flush_s=HEAR_WHY_S / 2)
    claimer = raw_claimer(world)
    claimer.send_all(DATA, stream=2)
    say(claimer, Fin(len(DATA), DIGEST))
    world.drive(lambda: receiver.proof is not None and receiver.proof.state is State.WHOLE)

    claimer.link.streams.reset(0, 7)
    world.drive(over(receiver))

    assert receiver.has_flushed
    assert isinstance(receiver.error, PeerAborted)


def test_the_close_behind_a_reset_says_why():
    world = World()
    receiver = Receiver(world.issuer())
    claimer = raw_claimer(world)
    say(claimer, b"half of ", stream=2)
    world.drive(lambda: receiver.written)

    claimer.link.streams.reset(2, 7)
    world.drive(lambda: receiver.proof.state is State.GIVEN_UP)
    claimer.link.close(world.instant, Ending.INPUT_FAILED, "it could not read its input")
    world.drive(over(receiver))

    assert receiver.error.reason == "it could not read its input"
