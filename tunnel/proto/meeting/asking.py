"""Asking: one claim on its way, over the relays of a token in order and in a circle.

It is repeated, byte for byte, after 250 ms and then ever later, until the relay says NotHere or 3 s
have passed; then the next relay has its turn.  Source: design, sections 4 and 5.
"""

from collections.abc import Sequence

from tunnel.proto.meeting.handshake import OutgoingClaim
from tunnel.units import Instant, Seconds

# Chosen (design, sections 4 and 5).
FIRST_RETRY_S: Seconds = 0.25
MAX_RETRY_S: Seconds = 2.0
RELAY_TURN_S: Seconds = 3.0  # without an answer the next relay has its turn


class Asking:
    """A claim that waits for its decision.

    Args:
        now: when it goes out first.
        claim: what is asked.
        relays: the numbers of the relay connections, in the order of the token's hints.
        first: the relay that has the first turn.

    Attributes:
        claim: what is asked.
        began_at: when it was to go out first.
        sent_at: when it did; None before.
    """

    def __init__(
        self, now: Instant, claim: OutgoingClaim, relays: Sequence[int], first: int
    ) -> None:
        self.claim = claim
        self.began_at = now
        self.sent_at: Instant | None = None
        self._relays = relays
        self._turn = relays.index(first)
        self._turn_ends_at = Instant(now + RELAY_TURN_S)
        self._send_at = now
        self._retry_s = FIRST_RETRY_S
        self._away: set[int] = set()  # relays that said NotHere in this round

    @property
    def relay(self) -> int:
        """The relay whose turn it is."""
        return self._relays[self._turn]

    @property
    def next_relay(self) -> int:
        """The relay that has the turn after this one."""
        return self._relays[(self._turn + 1) % len(self._relays)]

    def not_here(self, now: Instant, relay: int) -> bool:
        """Take a relay's word that the issuer is not there; tells whether it was its turn."""
        if relay != self.relay:
            return False
        self._away.add(relay)
        self._pass_on(now)
        return True

    def relay_up(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is up: in its turn, the claim goes out at once."""
        if relay == self.relay:
            self._send_at = now
            self._turn_ends_at = Instant(now + RELAY_TURN_S)

    def relay_down(self, now: Instant, relay: int) -> None:
        """Note that a relay connection is down: its turn is over."""
        if relay == self.relay:
            self._pass_on(now)

    def next_timeout(self) -> Instant:
        """Return when `handle_timeout` or `message` has something to do."""
        if len(self._relays) == 1:  # there is nobody else to have a turn
            return self._send_at
        return min(self._send_at, self._turn_ends_at)

    def handle_timeout(self, now: Instant) -> int | None:
        """Return the relay whose turn passed without a word of it, if one did just now."""
        if now < self._turn_ends_at:
            return None
        silent = self.relay
        self._pass_on(now)
        return silent

    def message(self, now: Instant) -> bytes | None:
        """Return what goes out by the relay whose turn it is, if it is due."""
        if now < self._send_at:
            return None
        self.sent_at = self.sent_at or now
        self._send_at = Instant(now + self._retry_s)
        self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)
        return self.claim.message

    def _pass_on(self, now: Instant) -> None:
        """Give the next relay its turn; after NotHere from all of them keep to the retry's time."""
        self._turn = (self._turn + 1) % len(self._relays)
        self._turn_ends_at = Instant(now + RELAY_TURN_S)
        if self._away.issuperset(self._relays):
            self._away.clear()
        else:
            self._send_at = now
