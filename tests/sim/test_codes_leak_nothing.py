"""What a relay records of a code depends on its words through CPace alone.

The same randomness with other words must give the same recording but for both shares, both tags
and the seal; the same comparison finds leaks that are planted.  And the exchange is what the
`cpace` package makes of it, whatever a relay rewrites.
"""

import cpace as oracle
import pytest
from code_world import ClaimerSide, Connection, IssuerSide, Relay, kind_of

from derphole.token.code import Code
from tunnel.crypto.cpace import CPace, Role, length_value
from tunnel.crypto.kdf import derive
from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.proto.code import code_claimer
from tunnel.proto.code.terms import CodeTerms
from tunnel.proto.meeting.owner import CodeFault
from tunnel.wire.code import (
    Answer,
    Hello,
    Proof,
    Share,
    answer_head,
    decode_code_message,
    encode_code_message,
)

TOKEN = b"dhp1_the-token"
WORDS = (("cactus", "dentist"), ("zoo", "abandon"))
# Of each message, where the bytes are that may differ: the layout in `tunnel.wire.code`.
MAY_DIFFER = {
    "Hello": range(24, 56),
    "Share": range(24, 56),
    "Proof": range(24, 88),
    "Answer": range(24, 616),
    "Wrong": range(0),
    "Probe": range(0),
}


def recorded(words: tuple[str, ...], guess: tuple[str, ...] | None = None):
    """Return what the relay saw of a code with these words, given to the other side or guessed."""
    relay = Relay(99)
    issuer = IssuerSide(relay, draw=lambda: Code(12, "048219", words))
    relay.run(3.0, lambda: issuer.ready)
    claimer = ClaimerSide(relay, Code(12, "048219", guess or words).text)
    relay.run(20.0, lambda: claimer.is_over)
    assert (claimer.answered == TOKEN) == (guess is None)
    return [(at, *packet) for at, packet in zip(relay.seen_at, relay.seen, strict=True)]


def differences(first, second) -> set[str]:
    """Return what differs of two recordings, in words."""
    if len(first) != len(second):
        return {"how many packets"}
    found = set()
    for (at, source, to, data), (other_at, other_source, other_to, other) in zip(
        first, second, strict=True
    ):
        kind = kind_of(data)
        if at != other_at:
            found.add(f"when a {kind} is sent")
        if (source, to) != (other_source, other_to):
            found.add(f"who sends a {kind} to whom")
        if len(data) != len(other) or kind != kind_of(other):
            found.add(f"the size or kind of a {kind}")
            continue
        places = {at for at, (a, b) in enumerate(zip(data, other, strict=True)) if a != b}
        if not places <= set(MAY_DIFFER[kind]):
            found.add(f"other bytes of a {kind}")
    return found


def test_two_secrets_give_recordings_that_differ_in_what_cpace_makes_alone():
    assert not differences(recorded(WORDS[0]), recorded(WORDS[1]))
    wrong = ("able", "about")
    assert not differences(recorded(WORDS[0], wrong), recorded(WORDS[1], wrong))
    kinds = {kind_of(data) for *_, data in recorded(WORDS[0])}
    assert kinds == {"Hello", "Share", "Proof", "Answer", "Probe"}


def test_what_may_differ_does_differ():
    """Else the comparison compares nothing."""
    first, second = recorded(WORDS[0]), recorded(WORDS[1])
    for kind in ("Hello", "Share", "Proof", "Answer"):
        ours = [data for *_, data in first if kind_of(data) == kind]
        theirs = [data for *_, data in second if kind_of(data) == kind]
        assert ours != theirs


def test_a_meeting_that_depends_on_the_words_is_found(monkeypatch):
    def meeting(self):
        return KeyPair.from_secret(derive(b"leak", "meeting", self.place, self.words))

    monkeypatch.setattr(CodeTerms, "meeting", property(meeting))
    assert differences(recorded(WORDS[0]), recorded(WORDS[1])) >= {"who sends a Hello to whom"}


def test_a_session_that_depends_on_the_words_is_found(monkeypatch):
    original = code_claimer.CodeClaimer.__init__

    def planted(self, terms, claimer, entropy, *rest):
        session = derive(b"leak", "session", terms.words, size=16)
        drawn = iter((True,))

        def draw(size):
            return session if next(drawn, False) else entropy(size)

        entropy(16)
        original(self, terms, claimer, draw, *rest)

    monkeypatch.setattr(code_claimer.CodeClaimer, "__init__", planted)
    assert "other bytes of a Hello" in differences(recorded(WORDS[0]), recorded(WORDS[1]))


def test_a_delay_that_depends_on_the_words_is_found(monkeypatch):
    original = code_claimer.CodeClaimer.handle_relay_up

    def planted(self, now, relay):
        original(self, now, relay)
        self._send_at = now + self._run.share[0] / 1000

    monkeypatch.setattr(code_claimer.CodeClaimer, "handle_relay_up", planted)
    assert "when a Hello is sent" in differences(recorded(WORDS[0]), recorded(WORDS[1]))


class OracleIssuer:
    """An issuer by the `cpace` package, with the channel and the seal written out anew."""

    def __init__(self, relay: Relay, code: Code) -> None:
        self.relay = relay
        self.code = code
        place = f"{code.region}-{code.digits}".encode()
        self.keys = KeyPair.from_secret(derive(b"derphole meeting", "meeting", place))
        self.place, self.words = place, "-".join(code.words).encode()
        self.runs: dict[DerpKey, oracle.CPace] = {}
        self.proved = 0
        self.connection = Connection(relay, self.keys, self._packet)

    def _packet(self, source, data) -> None:
        message = decode_code_message(data)
        if isinstance(message, Hello) and source not in self.runs:
            channel = b"".join(
                bytes((len(part),)) + part
                for part in (b"derphole code 1", self.place, source, self.keys.public)
            )
            run = oracle.CPace.start(
                role=oracle.CPaceRole.RESPONDER,
                prs=self.words,
                sid=message.session,
                ci=channel,
                ad=b"issuer",
            )
            run.derive(message.share, b"claimer")
            self.runs[source] = run
            share = Share(message.session, run.public_share)
            self.connection.send(source, encode_code_message(share))
        elif isinstance(message, Proof):
            run = self.runs[source]
            self.proved += run.verify(message.tag)
            self.connection.send(source, self._answer(message.session, run))

    def _answer(self, session, run) -> bytes:
        from nacl import bindings

        head = answer_head(session, run.tag())
        sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            TOKEN.ljust(512, b"\0"), head, bytes(12), derive(run.isk, "code answer")
        )
        return encode_code_message(Answer(session, run.tag(), sealed))


def test_the_exchange_is_what_another_implementation_makes_of_it():
    for number in range(20):
        relay = Relay(number)
        code = Code(number, f"{number * 7919:06}", WORDS[number % 2])
        issuer = OracleIssuer(relay, code)
        claimer = ClaimerSide(relay, code.text)
        relay.run(5.0, lambda claimer=claimer: claimer.is_over)
        assert issuer.proved == 1
        assert claimer.answered == TOKEN


def test_a_relay_that_says_somebody_else_sent_it_gets_nobody_anywhere():
    """The claimer's key is in the channel, so that the claim that follows is the prover's own."""
    relay = Relay(5)
    issuer = IssuerSide(relay)
    relay.run(3.0, lambda: issuer.ready)
    mask, meeting = DerpKey(KeyPair.from_secret(relay.entropy(32)).public), issuer.meeting.key
    masked: list[DerpKey] = []

    def rewrite(source, to, data):
        if to == meeting and source != issuer.home.key:
            masked.append(source)
            return [(mask, to, data)]
        return [(source, masked[-1] if to == mask else to, data)]

    relay.tampering = rewrite
    claimer = ClaimerSide(relay, issuer.code)
    relay.run(20.0, lambda: claimer.is_over)
    assert claimer.failed is not None
    assert claimer.failed.fault is CodeFault.WRONG
    assert not issuer.redeemed


def test_a_run_reflected_at_its_own_side_proves_nothing():
    terms = Code(12, "048219", WORDS[0]).terms
    ours = terms.run(Role.INITIATOR, DerpKey(bytes(range(32))), bytes(16), b"\7" * 32)
    agreement = ours.agree(ours.share)
    assert agreement.initiator_tag != agreement.responder_tag


@pytest.mark.parametrize("part", ["place", "claimer", "meeting"])
def test_each_part_of_the_channel_is_in_the_run(part, monkeypatch):
    terms, claimer = Code(12, "048219", WORDS[0]).terms, DerpKey(bytes(range(32)))
    ours = terms.run(Role.INITIATOR, claimer, bytes(16), b"\7" * 32)
    parts = {"place": terms.place, "claimer": claimer, "meeting": terms.meeting.public}
    whole = length_value(b"derphole code 1", *parts.values())
    said = (b"claimer", b"issuer")
    same = CPace(Role.INITIATOR, terms.words, whole, bytes(16), b"\7" * 32, said)
    assert same.share == ours.share
    parts[part] = b"\1" * len(parts[part])
    other = length_value(b"derphole code 1", *parts.values())
    changed = CPace(Role.INITIATOR, terms.words, other, bytes(16), b"\7" * 32, said)
    assert changed.share != ours.share
