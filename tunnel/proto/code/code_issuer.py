"""CodeIssuer: holds a meeting, and tells its text to whoever proves that it knows the words.

    CHECKING --NotHere--> OPENING --logged in--> PROVING --a PROBE came--> OPEN
       | no word             | too late             | none came               |
       +---------------------+----------------------+------> OVER <-----------+
                                                                3 wrong proofs, 500 runs,
    OPEN: HELLO -> SHARE, PROOF -> ANSWER or WRONG              2 PROBEs that got lost
          rest() --> RESTING, without a meeting --resume()--> CHECKING, with what was counted

Two connections to one relay: *home*, with the issuer's own key, sends PROBEs; the *meeting* has the
code's key, which anybody can make who knows the digits.  Of two connections with one key a relay
serves the one that spoke last, so a PROBE that does not arrive went to somebody else, provided that
both connections carry anything: after a lost one that is looked at (`CheckAlive`).  While one of
them is down nothing is decided.  PROBEs go out at random times: nobody can be away for each.

A proof is checked and counted in one step, and a run has one.  A repeat of what was answered gets
the same bytes.  Source: docs/protocol.md, section "Codes".
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from enum import Enum

from tunnel.crypto.cpace import Agreement, Role, is_tag
from tunnel.crypto.keys import DerpKey
from tunnel.errors import AuthenticationFailed, DecodeError
from tunnel.proto.code.terms import CodeTerms, sealed_answer
from tunnel.proto.token_bucket import Allowance, TokenBucket
from tunnel.units import KEY_SIZE, Instant, Seconds
from tunnel.values import frozen
from tunnel.wire.code import (
    SESSION_SIZE,
    Hello,
    Probe,
    Proof,
    Share,
    Wrong,
    decode_code_message,
    encode_code_message,
)

# Chosen (design, section 4).
MOST_WRONG = 3
MOST_RUNS = 500
PROBE_S: Seconds = 10.0  # on the average; from a half to one and a half of it
# Chosen: two lost within so long are no accident.
LOST_S: Seconds = 60.0
# Chosen: what a slow network needs to get the same answers again, and little for a flood.
REPEATS = Allowance(rate=50.0, burst=50.0)
# Chosen, as for claims.
RUNS = Allowance(rate=20.0, burst=20.0)
MAX_PENDING = 64
PENDING_S: Seconds = 30.0
# Chosen: what a relay answers at once if it answers, and what a login may take; on a slow network,
# so many round trips more.
CHECK_S: Seconds = 2.0
OPENING_S: Seconds = 10.0
PROVING_S: Seconds = 3.0
PROVING_RETRY_S: Seconds = 1.0
ROUND_TRIPS = 8
# Chosen: a meeting that cannot be entered again for so long, though home is there, never will be.
AWAY_S: Seconds = 60.0


class CodeState(Enum):
    """How far a code is."""

    CHECKING = "checking"
    OPENING = "opening"
    PROVING = "proving"
    OPEN = "open"
    RESTING = "resting"
    OVER = "over"


class CodeEnd(Enum):
    """Why a code is good for nothing."""

    TAKEN = "taken"  # somebody is at its meeting already
    UNREACHABLE = "unreachable"  # its meeting could not be entered
    GUESSED = "guessed"  # three proofs were wrong
    BURNT = "burnt"  # more began a run than ever would who were told it
    SQUATTED = "squatted"  # somebody else took the meeting


class Way(Enum):
    """By which of the two connections."""

    HOME = "home"
    MEETING = "meeting"


@frozen
class CodeTransmit:
    """A packet to send."""

    way: Way
    to: DerpKey
    data: bytes


@frozen
class EnterMeeting:
    """Now the connection of the meeting is to be made."""


@frozen
class CheckAlive:
    """Both connections are to be looked at: do they carry anything?"""


@frozen
class CodeOpened:
    """The code may be shown."""


@frozen
class WrongProof:
    """Somebody guessed.

    Args:
        count: how many did so far.
        limit: how many end the code.
    """

    count: int
    limit: int


@frozen
class CodeRedeemed:
    """Somebody knows the words and was told the text; a claim comes from this key."""

    claimer: DerpKey


@frozen
class CodeOver:
    """The code is good for nothing any more."""

    reason: CodeEnd


CodeEvent = EnterMeeting | CheckAlive | CodeOpened | WrongProof | CodeRedeemed | CodeOver


class _Run:
    """One claimer's run."""

    def __init__(self, hello: bytes, session: bytes, agreement: Agreement, share: bytes) -> None:
        self.hello = hello
        self.session = session
        self.agreement = agreement
        self.share = share
        self.proof: bytes | None = None
        self.verdict = b""


class CodeIssuer:
    """The issuer's side of one code.

    Args:
        now: the present; the first PROBE goes out.
        terms: the code.
        text: what it stands for, at most 512 bytes.
        home: our own DERP key, of the connection that is called home.
        entropy: returns that many random bytes.
        round_trip_s: to the relay and back, as far as it is known.
        is_home_up: whether the connection at home is up now.

    Attributes:
        state: how far it is.
    """

    def __init__(
        self,
        now: Instant,
        terms: CodeTerms,
        text: bytes,
        home: DerpKey,
        entropy: Callable[[int], bytes],
        round_trip_s: Seconds = 0.0,
        *,
        is_home_up: bool = True,
    ) -> None:
        self.state = CodeState.CHECKING
        self.meeting = DerpKey(terms.meeting.public)
        self._terms = terms
        self._text = text
        self._home = home
        self._entropy = entropy
        self._events: deque[CodeEvent] = deque()
        self._outgoing: deque[CodeTransmit] = deque(maxlen=MAX_PENDING)
        self._runs: OrderedDict[DerpKey, tuple[Instant, _Run]] = OrderedDict()
        self._begun_runs = 0
        self._bucket = TokenBucket(RUNS, now)
        self._repeats = TokenBucket(REPEATS, now)
        self._wrong = 0
        self._was_open = False
        self._is_home_up = is_home_up
        self._is_meeting_up = False
        self._probes: set[bytes] = set()  # the sessions of those that are under way
        self._lost_at: Instant | None = None
        self._slack_s = ROUND_TRIPS * round_trip_s
        self._due_at = now
        self._send_at: Instant | None = None  # while PROVING: when to send another PROBE
        self._check(now)

    # -- commands ---------------------------------------------------------------------------

    def rest(self) -> None:
        """Hold the meeting no longer: nobody is to come for now."""
        self.state = CodeState.RESTING
        self._is_meeting_up = False
        self._forget_probes()
        self._runs.clear()

    def resume(self, now: Instant) -> None:
        """Take the meeting again, after a rest."""
        self._check(now)

    # -- what comes in ----------------------------------------------------------------------

    def handle_not_here(self, now: Instant, key: DerpKey) -> None:
        """Take the relay's word, at home, that a key is not connected."""
        if self.state is CodeState.CHECKING and self._probes and key == self.meeting:
            self._forget_probes()
            self.state = CodeState.OPENING
            self._due_at = Instant(now + OPENING_S + self._slack_s)
            self._events.append(EnterMeeting())

    def handle_home(self, now: Instant, *, is_up: bool) -> None:
        """Note whether the connection at home is up."""
        if is_up != self._is_home_up:
            self._is_home_up = is_up
            self._connection_changed(now)

    def handle_meeting(self, now: Instant, *, is_up: bool) -> None:
        """Note whether the connection of the meeting is up."""
        if is_up != self._is_meeting_up:
            self._is_meeting_up = is_up
            self._connection_changed(now)

    def handle_packet(self, now: Instant, source: DerpKey, data: memoryview | bytes) -> None:
        """Take a packet that came to the meeting."""
        try:
            message = decode_code_message(data)
        except DecodeError:
            return
        match message:
            case Probe(session):
                if source == self._home and session in self._probes:
                    self._probe_came(now)
            case Hello(session, share) if self.state is CodeState.OPEN:
                self._hello(now, source, bytes(data), session, share)
            case Proof(session, tag) if self.state is CodeState.OPEN:
                self._proof(now, source, bytes(data), session, tag)
            case _:
                pass

    # -- time -------------------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` has something to do; None for never."""
        # Without home nothing can be told: neither that somebody is there, nor that nobody is.
        if self.state in (CodeState.OVER, CodeState.RESTING) or not self._is_home_up:
            return None
        return self._due_at if self._send_at is None else min(self._due_at, self._send_at)

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due."""
        next_at = self.next_timeout()
        if next_at is None or now < next_at:
            return
        if now < self._due_at:
            self._send_at = Instant(now + PROVING_RETRY_S)
            self._send_probe()
            return
        match self.state:
            case CodeState.CHECKING | CodeState.PROVING:
                self._end(CodeEnd.SQUATTED if self._was_open else CodeEnd.TAKEN)
            case CodeState.OPENING:
                self._end(CodeEnd.UNREACHABLE)
            case _ if not self._is_meeting_up:
                self._end(CodeEnd.UNREACHABLE)
            case _:
                self._look(now)

    # -- what goes out ----------------------------------------------------------------------

    def packets_to_send(self) -> list[CodeTransmit]:
        """Return what is to be sent now."""
        packets = list(self._outgoing)
        self._outgoing.clear()
        return packets

    def next_event(self) -> CodeEvent | None:
        """Return what happened next, or None."""
        return self._events.popleft() if self._events else None

    # -- is the meeting ours? ---------------------------------------------------------------

    def _check(self, now: Instant) -> None:
        """Look whether somebody is at the meeting, as soon as there is a way to ask."""
        self.state = CodeState.CHECKING
        self._due_at = Instant(now + CHECK_S + self._slack_s)
        if self._is_home_up:
            self._send_probe()

    def _connection_changed(self, now: Instant) -> None:
        """Prove the meeting anew: whoever was away may have lost it."""
        self._forget_probes()
        are_up = self._is_home_up and self._is_meeting_up
        match self.state:
            case CodeState.CHECKING if self._is_home_up:
                self._check(now)
            case CodeState.OPENING | CodeState.PROVING:
                self.state = CodeState.PROVING if are_up else CodeState.OPENING
                wait_s = PROVING_S if are_up else OPENING_S
                self._due_at = Instant(now + wait_s + self._slack_s)
                if are_up:
                    self._send_at = Instant(now + PROVING_RETRY_S)
                    self._send_probe()
            case CodeState.OPEN:
                self._due_at = Instant(now + (self._interval_s() if are_up else AWAY_S))
                if are_up:
                    self._send_probe()
            case _:
                pass

    def _look(self, now: Instant) -> None:
        """Send the next PROBE, after a look at what became of the last one."""
        if self._probes:
            if self._lost_at is not None and now - self._lost_at <= LOST_S:
                self._end(CodeEnd.SQUATTED)
                return
            self._lost_at = now
            self._events.append(CheckAlive())
        self._probes.clear()
        self._due_at = Instant(now + self._interval_s())
        self._send_probe()

    def _interval_s(self) -> Seconds:
        """Return how long it is to the next PROBE."""
        return PROBE_S * (0.5 + int.from_bytes(self._entropy(2), "big") / 0xFFFF)

    def _send_probe(self) -> None:
        session = self._entropy(SESSION_SIZE)
        self._probes.add(session)
        data = encode_code_message(Probe(session))
        self._outgoing.append(CodeTransmit(Way.HOME, self.meeting, data))

    def _forget_probes(self) -> None:
        self._probes.clear()
        self._send_at = self._lost_at = None

    def _probe_came(self, now: Instant) -> None:
        self._probes.clear()
        if self.state is CodeState.PROVING:
            self.state, self._send_at = CodeState.OPEN, None
            self._due_at = Instant(now + self._interval_s())
            if not self._was_open:
                self._was_open = True
                self._events.append(CodeOpened())

    # -- runs -------------------------------------------------------------------------------

    def _hello(
        self, now: Instant, source: DerpKey, data: bytes, session: bytes, share: bytes
    ) -> None:
        """Begin a run, one for each key; a repeat gets the same share."""
        self._forget_old(now)
        known = self._runs.get(source)
        if known is not None:
            if known[1].hello == data and self._repeats.try_take(now):
                self._send(source, known[1].share)
            return
        if not self._bucket.try_take(now):
            return
        self._begun_runs += 1
        if self._begun_runs > MOST_RUNS:
            self._end(CodeEnd.BURNT)
            return
        ours = self._terms.run(Role.RESPONDER, source, session, self._entropy(KEY_SIZE))
        try:
            agreement = ours.agree(share)
        except AuthenticationFailed:
            return
        answer = encode_code_message(Share(session, ours.share))
        self._runs[source] = (now, _Run(data, session, agreement, answer))
        if len(self._runs) > MAX_PENDING:
            self._runs.popitem(last=False)
        self._send(source, answer)

    def _proof(
        self, now: Instant, source: DerpKey, data: bytes, session: bytes, tag: bytes
    ) -> None:
        """Check and count a proof, in one step, and one of each run."""
        _, run = self._runs.get(source, (None, None))
        if run is None or run.session != session:
            return
        if run.proof is not None:
            if run.proof == data and self._repeats.try_take(now):
                self._send(source, run.verdict)
            return
        run.proof = data
        if is_tag(tag, run.agreement.initiator_tag):
            run.verdict = encode_code_message(sealed_answer(run.agreement, session, self._text))
            self._events.append(CodeRedeemed(source))
        else:
            run.verdict = encode_code_message(Wrong(session))
            self._wrong += 1
            self._events.append(WrongProof(self._wrong, MOST_WRONG))
        self._send(source, run.verdict)
        if self._wrong >= MOST_WRONG:
            self._end(CodeEnd.GUESSED)

    def _forget_old(self, now: Instant) -> None:
        while self._runs:
            source, (began_at, _) = next(iter(self._runs.items()))
            if now - began_at < PENDING_S:
                return
            del self._runs[source]

    def _send(self, to: DerpKey, data: bytes) -> None:
        self._outgoing.append(CodeTransmit(Way.MEETING, to, data))

    def _end(self, reason: CodeEnd) -> None:
        self.state = CodeState.OVER
        self._runs.clear()
        self._events.append(CodeOver(reason))
