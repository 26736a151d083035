"""The proof of a stream under any events in any order: a success is true, and the end is the end."""

from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128

from derphole.speech.decisions import (
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
from derphole.speech.messages import Confirm, ConfirmAck, Fin, MessageReader, Resumption, encode
from derphole.speech.stream_proof import ReceivingProof, SendingProof
from derphole.speech.stream_states import OF_TRANSFERS, State
from tunnel.errors import ClosedHere, PeerClosed, PeerSilent
from tunnel.units import Instant

ENDS = (Over, Replaced, Fail)
CHUNKS = st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=2)
# Words that fit what came so far are made where they are said: "fin" and "confirm".
WORDS = st.one_of(
    st.sampled_from(["fin", "fin", "confirm", "confirm"]),
    st.builds(Fin, st.integers(0, 9), st.just(bytes(16))).map(encode),
    st.builds(Confirm, st.integers(0, 9), st.just(bytes(16))).map(encode),
    st.just(encode(ConfirmAck())),
    st.just(encode(Resumption(bytes(16)))),
    st.binary(max_size=8),
)
OF_STREAMS = [each for each in Ending if each is not Ending.REVOKED]
LINK_ENDS = st.one_of(
    st.just(ClosedHere(Ending.REPLACED)),
    st.builds(PeerClosed, st.sampled_from(OF_STREAMS), st.just("why")),
    st.builds(ClosedHere, st.sampled_from(OF_STREAMS)),
    st.just(PeerSilent(60.0)),
)
EVENT = st.one_of(
    CHUNKS.map(lambda chunks: ("data", chunks)),
    WORDS.map(lambda word: ("say", word)),
    LINK_ENDS.map(lambda end: ("link ended", end)),
    st.sampled_from(["data ended", "done", "messages ended", "reset"]).map(
        lambda name: (name, None)
    ),
    st.sampled_from([0.1, 0.5, 1.0, 10.0]).map(lambda seconds: ("time", seconds)),
)


@st.composite
def stories(draw, word):
    """Draw a run that goes well for a while, `word` being what is heard of the other side."""
    story = [("data", chunks) for chunks in draw(st.lists(CHUNKS, max_size=3))]
    story += [("data ended", None), ("say", word), ("done", None), ("say", encode(ConfirmAck()))]
    breaks = st.one_of(LINK_ENDS.map(lambda end: ("link ended", end)), EVENT)
    if draw(st.booleans()):
        story.insert(draw(st.integers(0, len(story))), draw(breaks))
    return story[: draw(st.integers(0, len(story)))] + draw(st.lists(EVENT, max_size=4))


RECEIVED, SENT = stories("fin"), stories("confirm")


class Run:
    """One end, what was handed to it, and everything it decided."""

    def __init__(self, proof):
        self.proof = proof
        self.now = 1000.0
        self.heard = b""
        self.passed = b""
        self.decided = []
        self.has_ended = False  # the run
        self.has_data_ended = False
        self.states = {proof.state}

    def hand_in(self, name, value):
        decisions = self.decisions_about(name, value)
        assert not (self.has_ended and decisions), "decisions behind the end"
        for decision in decisions:
            assert not self.has_ended, "decisions behind the end"
            self.has_ended = isinstance(decision, ENDS)
            if isinstance(decision, Write):
                self.passed += b"".join(decision.chunks)
            self.check(decision)
            self.decided.append(decision)
        self.states.add(self.proof.state)
        assert self.has_ended == (self.proof.state in (State.OVER, State.REPLACED, State.FAILED))
        if self.has_ended:
            assert self.proof.next_timeout() is None

    def decisions_about(self, name, value):
        proof, now = self.proof, Instant(self.now)
        match name:
            case "data":
                return proof.handle_data(now, value)
            case "data ended":
                self.has_data_ended = True
                return proof.handle_data_ended()
            case "say":
                value = self.fitting(value) if isinstance(value, str) else value
                self.heard += value
                return proof.handle_message_bytes(now, [value])
            case "messages ended":
                return proof.handle_messages_ended()
            case "reset":
                return proof.handle_reset(now)
            case "link ended":
                return proof.handle_link_ended(value)
            case "time":
                self.now += value
                return proof.handle_timeout(Instant(self.now))
            case "done":
                return self.done(now)

    def fitting(self, word):
        kind = Fin if word == "fin" else Confirm
        return encode(kind(len(self.passed), xxh3_128(self.passed).digest()))

    def heard_messages(self):
        reader = MessageReader()
        reader.feed(self.heard)
        while (message := reader.next_message()) is not None:
            yield message

    def count(self, kind):
        return sum(isinstance(decision, kind) for decision in self.decided)


class ReceivingRun(Run):
    def __init__(self):
        super().__init__(ReceivingProof(Instant(1000.0), "the sender"))
        self.is_flushing = False

    def hand_in(self, name, value):
        if name == "data" and self.has_data_ended:
            return  # nothing comes behind a clean end
        super().hand_in(name, value)

    def done(self, now):
        if not self.is_flushing:
            return []
        self.is_flushing = False
        return self.proof.handle_flushed(now)

    def check(self, decision):
        fin = Fin(len(self.passed), xxh3_128(self.passed).digest())
        match decision:
            case Write():
                assert self.count(KeepPlace) == 1
                assert not self.count(Flush)
            case KeepPlace():
                assert not self.count(KeepPlace)
            case Flush():
                assert not self.count(Flush)
                assert self.has_data_ended
                self.is_flushing = True
            case Say(data):
                assert data == encode(Confirm(fin.size, fin.digest))
                assert self.count(Flush)
                assert not self.is_flushing
            case Proved():
                assert next(iter(self.heard_messages())) == fin
                assert self.count(Flush)
                assert not self.is_flushing
            case Over():
                assert self.count(Proved) == 1
            case Replaced():
                assert not self.passed
                assert not self.count(Proved)
            case Fail():
                assert not self.count(Proved)


class SendingRun(Run):
    def __init__(self):
        super().__init__(SendingProof(Instant(1000.0), "the confirmation"))

    def done(self, now):
        return self.proof.handle_acknowledged()

    def check(self, decision):
        size, digest = len(self.passed), xxh3_128(self.passed).digest()
        match decision:
            case Write():
                assert not self.count(EndData)
            case Say(data) if self.count(Say) == 0:
                assert data == encode(Fin(size, digest))
                assert self.count(EndData) == 1
            case Say(data):
                assert data == encode(ConfirmAck())
            case Proved():
                assert next(iter(self.heard_messages())) == Confirm(size, digest)
                assert self.count(EndData) == 1
            case Over():
                assert self.count(Proved) == 1
            case Fail():
                assert not self.count(Proved)
            case Replaced() | KeepPlace() | Flush():
                raise AssertionError(f"a sender decided {decision}")


def play(run, story):
    for name, value in story:
        run.hand_in(name, value)
    return run


@given(RECEIVED)
def test_a_receiver_succeeds_only_with_every_byte_flushed_and_equal(story):
    play(ReceivingRun(), story)


@given(SENT)
def test_a_sender_succeeds_only_with_every_byte_confirmed(story):
    play(SendingRun(), story)


@given(RECEIVED, SENT)
def test_time_ends_every_run_whose_stream_was_reset_or_proved(received, sent):
    for run in (play(ReceivingRun(), received), play(SendingRun(), sent)):
        if run.proof.has_succeeded or run.proof.state is State.GIVEN_UP:
            run.hand_in("time", 10.0)
            assert run.has_ended


def test_the_stories_reach_every_state():
    """Or the properties would hold of nothing."""
    sending, receiving = set(), set()

    @settings(max_examples=600, derandomize=True, database=None)
    @given(RECEIVED, SENT)
    def note(received, sent):
        receiving.update(play(ReceivingRun(), received).states)
        sending.update(play(SendingRun(), sent).states)

    note()

    states = set(State) - set(OF_TRANSFERS)
    assert sending == states - {State.EMPTY, State.WHOLE, State.REPLACED}
    assert receiving == states - {State.FINISHED}
