"""Absence: what the relays say about whether the issuer is there.

A relay that is asked for somebody whom it does not serve says so (NotHere), though not to every
question.  Its word counts until its connection ends, or until it was silent for some turns of its
own: the issuer is there then, and only its machine is silent.  No relay that is not connected has
a say.
"""

from tunnel.units import Instant

# Chosen: a relay need not answer every claim; after so many silent turns its word counts no more.
SILENT_TURNS = 3


class Absence:
    """The words of the relays of one claim.

    Attributes:
        since: since when every relay that is connected says that the issuer is not there; None
            while one does not, or none is connected.
    """

    def __init__(self) -> None:
        self.since: Instant | None = None
        self._relays_up: set[int] = set()
        self._silent_turns: dict[int, int] = {}  # of relays that said NotHere, since they did

    def relay_up(self, now: Instant, relay: int) -> None:
        """Note that a relay is connected."""
        self._relays_up.add(relay)
        self._judge(now)

    def relay_down(self, now: Instant, relay: int) -> None:
        """Note that a relay is not connected any more."""
        self._relays_up.discard(relay)
        self._silent_turns.pop(relay, None)
        self._judge(now)

    def not_here(self, now: Instant, relay: int) -> None:
        """Note that a relay says that the issuer is not there."""
        self._silent_turns[relay] = 0
        self._judge(now)

    def silent_turn(self, now: Instant, relay: int) -> None:
        """Note that a relay's turn passed without a word of it."""
        turns = self._silent_turns.get(relay)
        if turns is None:
            return
        self._silent_turns[relay] = turns + 1
        if turns + 1 >= SILENT_TURNS:
            del self._silent_turns[relay]
        self._judge(now)

    def forget(self) -> None:
        """Forget what the relays said: the issuer answered, or is asked for anew."""
        self._silent_turns.clear()
        self.since = None

    def _judge(self, now: Instant) -> None:
        if not self._relays_up or not self._relays_up <= self._silent_turns.keys():
            self.since = None
        elif self.since is None:
            self.since = now
