"""CodeClaimer: proves that it knows the words of a code, once, and is told what it stands for.

    HELLO --> SHARE, the first one --> PROOF --> ANSWER: the text
      |                                  |-----> WRONG, or an answer by who does not know the words
      +-- nobody is there ---------------+-- nothing for 10 s

It is what the driver of a link runs before there is a link (`MeetingMachine`), over the one relay
that the code names.  What is sent is repeated, byte for byte, until it is answered.  It makes one
proof and never another: each is a guess to whoever sits at the meeting.  Source: docs/protocol.md,
section "Codes".
"""

from collections import deque
from collections.abc import Callable

from tunnel.crypto.cpace import Agreement, Role, is_tag
from tunnel.crypto.keys import DerpKey
from tunnel.errors import AuthenticationFailed, DecodeError
from tunnel.proto.code.terms import RUN_S, CodeTerms, open_answer
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.link.received_burst import ReceivedBurst
from tunnel.proto.machine import RelayEndpoint, Transmit, UdpEndpoint
from tunnel.proto.meeting.asking import FIRST_RETRY_S, MAX_RETRY_S
from tunnel.proto.meeting.owner import CodeAnswered, CodeFailed, CodeFault
from tunnel.units import KEY_SIZE, Instant, Seconds, WallTime
from tunnel.wire.code import (
    SESSION_SIZE,
    Answer,
    Hello,
    Proof,
    Share,
    Wrong,
    decode_code_message,
    encode_code_message,
)

RELAY = 0  # the only one
# Chosen: an issuer whose relay restarts is back by then.
ABSENCE_S: Seconds = 5.0


CodeClaimerEvent = CodeAnswered | CodeFailed


class CodeClaimer:
    """The claimer's side of one code.

    Args:
        terms: the code.
        claimer: our DERP key, a fresh one.
        entropy: returns that many random bytes.
        limit_s: how long a first answer is awaited once the relay is there; the second one has
            `RUN_S`.
        absence_s: the same while the relay says that nobody is there.

    Attributes:
        is_absent: whether that is what the relay said last.
    """

    def __init__(
        self,
        terms: CodeTerms,
        claimer: DerpKey,
        entropy: Callable[[int], bytes],
        limit_s: Seconds = RUN_S,
        absence_s: Seconds = ABSENCE_S,
    ) -> None:
        self.is_absent = False
        self.relays_up: set[int] = set()
        self._meeting = DerpKey(terms.meeting.public)
        self._session = entropy(SESSION_SIZE)
        self._run = terms.run(Role.INITIATOR, claimer, self._session, entropy(KEY_SIZE))
        self._limit_s = limit_s
        self._absence_s = absence_s
        self._events: deque[CodeClaimerEvent] = deque()
        self._message = encode_code_message(Hello(self._session, self._run.share))
        self._agreement: Agreement | None = None
        self._send_at: Instant | None = None
        self._retry_s = FIRST_RETRY_S
        self._began_at: Instant | None = None
        self._absent_since: Instant | None = None
        self._is_over = False

    # -- what a driver asks -----------------------------------------------------------------

    @property
    def links(self) -> list[PeerLink]:
        """None yet."""
        return []

    def next_event(self) -> CodeClaimerEvent | None:
        """Return what happened next, or None."""
        return self._events.popleft() if self._events else None

    def next_timeout(self) -> Instant | None:
        """Return when to come back."""
        if self._is_over:
            return None
        return min((at for at in (self._ends_at, self._send_at) if at is not None), default=None)

    def next_pacing(self, now: Instant) -> Instant | None:
        """Return None: nothing is paced."""
        del now
        return None

    @property
    def _ends_at(self) -> Instant | None:
        if self._began_at is None:
            return None
        ends_at = Instant(self._began_at + self._limit_s)
        if self._absent_since is None:
            return ends_at
        return min(ends_at, Instant(self._absent_since + self._absence_s))

    # -- what comes in ----------------------------------------------------------------------

    def handle_relay_up(self, now: Instant, relay: int) -> None:
        """Say what is to be said, at once: the relay is there."""
        if relay == RELAY:
            self.relays_up.add(relay)
            self._send_at, self._retry_s = now, FIRST_RETRY_S

    def handle_relay_down(self, now: Instant, relay: int) -> None:
        """Wait for the relay."""
        del now
        self.relays_up.discard(relay)
        self._send_at = None

    def handle_peer_gone(self, now: Instant, relay: int, key: DerpKey) -> None:
        """Take the relay's word that nobody is at the meeting."""
        del relay
        if key == self._meeting and self._agreement is None and not self.is_absent:
            self.is_absent, self._absent_since = True, now

    def handle_packet(
        self, now: Instant, wall: WallTime, relay: int, source: DerpKey, data: memoryview
    ) -> None:
        """Take a packet; only the meeting has something to say."""
        del wall, relay
        if source != self._meeting or self._is_over:
            return
        try:
            message = decode_code_message(data)
        except DecodeError:
            return
        if getattr(message, "session", None) == self._session:
            self._take(now, message)

    def handle_datagrams(self, now: Instant, origin: UdpEndpoint, burst: ReceivedBurst) -> None:
        """Nothing of ours comes by UDP."""

    def _take(self, now: Instant, message: object) -> None:
        agreement = self._agreement
        match message:
            case Share(_, share) if agreement is None:
                self._prove(now, share)
            case Answer(_, tag, _) if agreement is not None and isinstance(message, Answer):
                try:
                    if not is_tag(tag, agreement.responder_tag):
                        raise AuthenticationFailed("a wrong tag")
                    text = open_answer(agreement, message)
                except AuthenticationFailed:
                    self._fail(CodeFault.IMPOSTOR)
                else:
                    self._is_over = True
                    self._events.append(CodeAnswered(text))
            case Wrong() if agreement is not None:
                self._fail(CodeFault.WRONG)
            case _:
                pass

    def _prove(self, now: Instant, share: bytes) -> None:
        """Answer the first share there is, and no other."""
        self.is_absent, self._absent_since = False, None
        try:
            self._agreement = self._run.agree(share)
        except AuthenticationFailed:
            self._fail(CodeFault.IMPOSTOR)
            return
        self._message = encode_code_message(Proof(self._session, self._agreement.initiator_tag))
        self._began_at, self._limit_s = now, RUN_S
        self._send_at, self._retry_s = now, FIRST_RETRY_S

    # -- time, and what goes out ------------------------------------------------------------

    def handle_timeout(self, now: Instant) -> None:
        """End what took too long."""
        ends_at = self._ends_at
        if self._is_over or ends_at is None or now < ends_at:
            return
        self._fail(CodeFault.ABSENT if self.is_absent else CodeFault.SILENT)

    def packets_to_send(self, now: Instant, limit: int = 64) -> list[Transmit]:
        """Return what goes out now, the first time or again."""
        del limit
        if self._is_over or self._send_at is None or now < self._send_at:
            return []
        if self._began_at is None:
            self._began_at = now
        self._send_at = Instant(now + self._retry_s)
        self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)
        return [Transmit(self._message, RelayEndpoint(RELAY, self._meeting), is_control=True)]

    def _fail(self, fault: CodeFault) -> None:
        self._is_over = True
        self._events.append(CodeFailed(fault, is_spent=self._agreement is not None))
