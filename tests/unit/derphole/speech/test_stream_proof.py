"""Both ends of a stream's proof, decision by decision."""

import pytest
from xxhash import xxh3_128

from derphole.errors import PeerBrokeProtocol, PeerLeft
from derphole.speech.decisions import (
    Close,
    EndData,
    Fail,
    Flush,
    KeepPlace,
    Over,
    Proved,
    Replaced,
    Say,
    Write,
)
from derphole.speech.endings import Ending
from derphole.speech.messages import Confirm, ConfirmAck, Fin, Total, encode
from derphole.speech.stream_proof import CONFIRM_S, LINGER_S, ReceivingProof, SendingProof
from derphole.speech.stream_states import State
from tunnel.errors import ClosedHere, PeerClosed
from tunnel.units import Instant

DATA = b"what is sent"
DIGEST = xxh3_128(DATA).digest()
FIN, CONFIRM, ACK = (
    encode(message)
    for message in (Fin(len(DATA), DIGEST), Confirm(len(DATA), DIGEST), ConfirmAck())
)


def at(seconds):
    return Instant(1000.0 + seconds)


def sending():
    return SendingProof(at(0), "the listener's confirmation")


def receiving():
    return ReceivingProof(at(0), "the sender")


def finished():
    proof = sending()
    proof.handle_data(at(1), [DATA])
    proof.handle_data_ended()
    return proof


def whole():
    proof = receiving()
    proof.handle_data(at(1), [DATA])
    proof.handle_data_ended()
    proof.handle_message_bytes(at(2), [FIN])
    return proof


def proved():
    proof = whole()
    proof.handle_flushed(at(3))
    return proof


def test_a_sender_s_run_from_the_first_byte_to_the_last_word():
    proof = sending()

    assert proof.handle_data(at(1), [DATA[:4]]) == [Write([DATA[:4]])]
    assert proof.handle_data(at(2), [DATA[4:]]) == [Write([DATA[4:]])]
    assert proof.handle_data_ended() == [EndData(), Say(FIN)]
    assert not proof.has_succeeded
    assert proof.handle_message_bytes(at(3), [CONFIRM]) == [Say(ACK), Proved()]
    assert proof.has_succeeded
    assert proof.next_timeout() == at(3) + LINGER_S
    assert proof.handle_acknowledged() == [Over()]
    assert proof.next_timeout() is None
    assert (proof.tally.size, proof.tally.digest, proof.tally.seconds) == (len(DATA), DIGEST, 2)


def test_a_receiver_s_run_from_the_first_byte_to_the_last_word():
    proof = receiving()

    assert proof.handle_data(at(1), [DATA[:4]]) == [KeepPlace(), Write([DATA[:4]])]
    assert proof.handle_data(at(2), [DATA[4:]]) == [Write([DATA[4:]])]
    assert proof.handle_data_ended() == []
    assert proof.handle_message_bytes(at(3), [FIN]) == [Flush()]
    assert not proof.has_succeeded
    assert proof.handle_flushed(at(4)) == [Say(CONFIRM), Proved()]
    assert proof.has_succeeded
    assert proof.next_timeout() == at(4) + CONFIRM_S
    assert proof.handle_message_bytes(at(5), [ACK]) == [Close(Ending.DONE, "done"), Over()]
    assert proof.next_timeout() is None
    assert proof.is_acknowledged
    assert (proof.tally.size, proof.tally.digest, proof.tally.seconds) == (len(DATA), DIGEST, 3)


def test_a_total_that_is_known_is_said_first_and_fin_corrects_it():
    sender = SendingProof(at(0), "the listener's confirmation", 99)
    [said] = sender.begin()
    receiver = receiving()

    assert said == Say(encode(Total(99)))
    assert receiver.handle_message_bytes(at(1), [said.data]) == []
    assert (sender.total, receiver.total, receiver.is_total_told) == (99, 99, True)

    receiver.handle_data(at(2), [DATA])
    receiver.handle_message_bytes(at(2), [FIN])
    sender.handle_data(at(1), [DATA])
    sender.handle_data_ended()

    assert sender.total == receiver.total == len(DATA)


def test_a_total_that_nobody_knows_is_not_said():
    assert sending().begin() == []
    assert whole().is_total_told is False


def test_bytes_that_do_not_agree_are_not_kept():
    proof = receiving()
    proof.handle_data(at(1), [b"x" * len(DATA)])
    proof.handle_message_bytes(at(2), [FIN])

    [failure] = proof.handle_data_ended()

    assert failure.error.code == "digest-mismatch"


def test_fin_may_come_before_the_data_and_in_pieces():
    proof = receiving()

    for byte in FIN:
        assert proof.handle_message_bytes(at(1), [bytes([byte])]) == []
    proof.handle_data(at(2), [DATA])

    assert proof.handle_data_ended() == [Flush()]


def test_an_empty_stream_keeps_its_place_when_it_is_whole():
    proof = receiving()
    assert proof.handle_data_ended() == []

    fin = encode(Fin(0, xxh3_128(b"").digest()))

    assert proof.handle_message_bytes(at(1), [fin]) == [KeepPlace(), Flush()]


@pytest.mark.parametrize("make", [sending, receiving])
def test_bytes_pass_through_uncopied(make):
    chunks = [bytearray(DATA)]

    *_, written = make().handle_data(at(1), chunks)

    assert written.chunks is chunks


@pytest.mark.parametrize("make", [sending, finished, receiving, whole])
def test_the_end_of_the_messages_before_the_proof_is_a_failure(make):
    [failure] = make().handle_messages_ended()

    assert isinstance(failure.error, PeerBrokeProtocol)


@pytest.mark.parametrize("message", [FIN, CONFIRM, ACK], ids=["fin", "confirm", "ack"])
def test_nothing_may_be_said_to_a_sender_that_has_not_finished(message):
    [failure] = sending().handle_message_bytes(at(1), [message])

    assert isinstance(failure.error, PeerBrokeProtocol)


def test_what_comes_behind_a_confirmation_is_not_read():
    proof = finished()

    assert proof.handle_message_bytes(at(2), [CONFIRM + CONFIRM]) == [Say(ACK), Proved()]
    assert proof.handle_message_bytes(at(2), [b"nonsense"]) == []
    assert proof.handle_messages_ended() == []


def test_an_error_keeps_the_end_of_the_link_as_its_cause():
    end = PeerClosed(Ending.DONE, "done")

    [failure] = finished().handle_link_ended(end)

    assert isinstance(failure.error, PeerLeft)
    assert failure.error.__cause__ is end


@pytest.mark.parametrize("end", [PeerClosed(Ending.REPLACED, ""), ClosedHere(Ending.REPLACED)])
def test_a_replacement_before_the_first_byte_is_told_from_one_after_it(end):
    assert receiving().handle_link_ended(end) == [Replaced()]

    late = receiving()
    late.handle_data(at(1), [DATA])
    [failure] = late.handle_link_ended(end)
    assert isinstance(failure, Fail)


def test_a_link_that_ends_while_the_output_is_flushed_takes_nothing_back():
    proof = whole()

    assert proof.handle_link_ended(PeerClosed(Ending.FAILED, "it failed")) == []

    assert proof.handle_flushed(at(3)) == [Proved(), Close(Ending.DONE, "done"), Over()]
    assert not proof.is_acknowledged


def test_a_reset_before_the_proof_ends_at_its_deadline_and_no_sooner():
    proof = whole()
    assert proof.handle_reset(at(3)) == []
    deadline = proof.next_timeout()

    assert proof.handle_flushed(at(3)) == []
    assert proof.handle_reset(at(3.2)) == []
    assert proof.next_timeout() == deadline
    assert proof.handle_timeout(Instant(deadline - 0.001)) == []
    [failure] = proof.handle_timeout(deadline)
    assert isinstance(failure, Fail)
    assert proof.state is State.FAILED


ENDINGS = {
    "reset": lambda proof: proof.handle_reset(at(4)),
    "link ended": lambda proof: proof.handle_link_ended(PeerClosed(Ending.DONE, "done")),
    "deadline": lambda proof: proof.handle_timeout(at(20)),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_after_the_proof_every_ending_is_a_success(how):
    proof = proved()

    assert ENDINGS[how](proof) == [Close(Ending.DONE, "done"), Over()]

    assert proof.has_succeeded
    assert not proof.is_acknowledged


@pytest.mark.parametrize("how", ENDINGS)
def test_a_confirmed_sender_leaves_without_a_word_however_it_ends(how):
    proof = finished()
    proof.handle_message_bytes(at(3), [CONFIRM])

    assert ENDINGS[how](proof) == [Over()]

    assert proof.has_succeeded
