"""CodeSeries: the codes of one command, one after another: a new one for each that is dead.

    draw --> CodeIssuer --TAKEN--> draw again, three times for one code
                        --GUESSED, BURNT, SQUATTED--> dead: a new one, until three are
                        --UNREACHABLE--> no code, or no more: another one would fare no better

The text has other ways to whoever waits for it, so running out of codes is no failure.  Source:
docs/protocol.md, section "Codes".
"""

from collections import deque
from collections.abc import Callable

from tunnel.crypto.keys import DerpKey, KeyPair
from tunnel.proto.code.code_issuer import (
    CheckAlive,
    CodeEnd,
    CodeIssuer,
    CodeOpened,
    CodeOver,
    CodeRedeemed,
    CodeState,
    CodeTransmit,
    EnterMeeting,
    WrongProof,
)
from tunnel.proto.code.terms import CodeTerms
from tunnel.units import Instant, Seconds
from tunnel.values import frozen, frozen_secret

# Chosen (design, section 4).
MOST_DRAWS = 3  # for one code
MOST_DEAD = 3


@frozen_secret
class Enter:
    """The connection of a meeting is to be made, with these keys."""

    keys: KeyPair


@frozen
class LookAlive:
    """The connections at home and of the meeting are to be looked at: do they carry anything?"""


@frozen
class Leave:
    """The connection of the meeting is to be given up, once what was to be sent is sent."""


@frozen_secret
class CodeReady:
    """A code may be shown."""

    terms: CodeTerms


@frozen_secret
class CodeDead:
    """A code that was shown is good for nothing any more.

    Args:
        terms: which one.
        reason: why.
        is_last: whether no other one follows.
    """

    terms: CodeTerms
    reason: CodeEnd
    is_last: bool


@frozen
class NoCode:
    """There is no code, and none will come."""

    reason: CodeEnd


SeriesEvent = Enter | LookAlive | Leave | CodeReady | WrongProof | CodeRedeemed | CodeDead | NoCode


class CodeSeries:
    """The codes of one command.

    Args:
        now: the present.
        draw: makes a new code.
        text: what each of them stands for, at most 512 bytes.
        home: the DERP key of the connection at home.
        entropy: returns that many random bytes.
        ends_at: when there is to be no code any more.
        round_trip_s: to the relay and back, as far as it is known.

    Attributes:
        current: the code that is on its way or good; None when there is none.
    """

    def __init__(
        self,
        now: Instant,
        draw: Callable[[], CodeTerms],
        text: bytes,
        home: DerpKey,
        entropy: Callable[[int], bytes],
        ends_at: Instant,
        round_trip_s: Seconds = 0.0,
    ) -> None:
        self.current: CodeIssuer | None = None
        self._ends_at = ends_at
        self._round_trip_s = round_trip_s
        self._draw = draw
        self._text = text
        self._home = home
        self._entropy = entropy
        self._terms: CodeTerms | None = None
        self._draws = 0
        self._dead = 0
        self._is_shown = False
        self._is_home_up = True
        self._outgoing: list[CodeTransmit] = []
        self._events: deque[SeriesEvent] = deque()
        self._begin(now)

    # -- what comes in ----------------------------------------------------------------------

    def handle_not_here(self, now: Instant, key: DerpKey) -> None:
        """Take the relay's word, at home, that a key is not connected."""
        if self.current is not None:
            self.current.handle_not_here(now, key)
            self._look(now)

    def handle_home(self, now: Instant, *, is_up: bool) -> None:
        """Note whether the connection at home is up."""
        self._is_home_up = is_up
        if self.current is not None:
            self.current.handle_home(now, is_up=is_up)
            self._look(now)

    def handle_meeting(self, now: Instant, *, is_up: bool) -> None:
        """Note whether the connection of the meeting is up."""
        if self.current is not None:
            self.current.handle_meeting(now, is_up=is_up)
            self._look(now)

    def handle_packet(self, now: Instant, source: DerpKey, data: memoryview | bytes) -> None:
        """Take a packet that came to the meeting."""
        if self.current is not None:
            self.current.handle_packet(now, source, data)
            self._look(now)

    # -- commands ---------------------------------------------------------------------------

    def rest(self) -> None:
        """Leave the meeting: for now, nobody is to come."""
        if self.current is not None and self.current.state is not CodeState.RESTING:
            self.current.rest()
            self._events.append(Leave())

    def resume(self, now: Instant) -> None:
        """Go on with the code that rested, if it did."""
        if self.current is not None and self.current.state is CodeState.RESTING:
            self.current.resume(now)
            self._look(now)

    # -- time, and what goes out ------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        """Return when `handle_timeout` has something to do; None for never."""
        if self.current is None:
            return None
        due_at = self.current.next_timeout()
        return self._ends_at if due_at is None else min(due_at, self._ends_at)

    def handle_timeout(self, now: Instant) -> None:
        """Do what is due."""
        if self.current is None:
            return
        if now >= self._ends_at:
            self.current = None
            self._events.append(Leave())
            return
        self.current.handle_timeout(now)
        self._look(now)

    def packets_to_send(self) -> list[CodeTransmit]:
        """Return what is to be sent now, before the events are taken."""
        packets, self._outgoing = self._outgoing, []
        return packets

    def next_event(self) -> SeriesEvent | None:
        """Return what happened next, or None."""
        return self._events.popleft() if self._events else None

    # -- inside -----------------------------------------------------------------------------

    def _begin(self, now: Instant) -> None:
        self._draws += 1
        self._terms = self._draw()
        self._is_shown = False
        self.current = CodeIssuer(
            now,
            self._terms,
            self._text,
            self._home,
            self._entropy,
            self._round_trip_s,
            is_home_up=self._is_home_up,
        )
        self._look(now)

    def _look(self, now: Instant) -> None:
        """Take what the current code has to say."""
        code, terms = self.current, self._terms
        assert code is not None
        assert terms is not None
        self._outgoing += code.packets_to_send()
        while (event := code.next_event()) is not None:
            match event:
                case EnterMeeting():
                    self._events.append(Enter(terms.meeting))
                case CheckAlive():
                    self._events.append(LookAlive())
                case CodeOpened():
                    self._draws, self._is_shown = 0, True
                    self._events.append(CodeReady(terms))
                case CodeOver(reason):
                    self._over(now, terms, reason)
                case _:
                    self._events.append(event)

    def _over(self, now: Instant, terms: CodeTerms, reason: CodeEnd) -> None:
        """Leave the meeting, and go on with another code if there may be one."""
        self.current = None
        self._events.append(Leave())
        if reason is CodeEnd.UNREACHABLE:
            is_known = self._is_shown
            self._events.append(CodeDead(terms, reason, True) if is_known else NoCode(reason))
        elif reason is CodeEnd.TAKEN:
            if self._draws < MOST_DRAWS:
                self._begin(now)
            else:
                self._events.append(NoCode(reason))
        else:
            self._dead += 1
            is_last = self._dead >= MOST_DEAD
            self._events.append(CodeDead(terms, reason, is_last))
            if not is_last:
                self._begin(now)
