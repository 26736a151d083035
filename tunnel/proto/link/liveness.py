"""Liveness: is the other side heard, and since when is something unanswered.

Unheard is not gone: silence counts only while something is unanswered.  STALL_S after the last
packet the owner is told, after `give_up_after_s` the link is given up.  So that silence can be
noticed at all, an idle link is pinged, and so is one whose stream bytes suddenly stop coming: a
receiver sends little, and would not know that it is no longer reached.  Nor would a sender that
waits for credit, all it sent being acknowledged: it asks whether the reader is only slow.
Source: design, section 8.
"""

from tunnel.units import Instant, Seconds

# Chosen (design, section 8).
STALL_S: Seconds = 5.0
MAX_STALL_S: Seconds = 20.0  # where two round trips take longer than STALL_S
KEEPALIVE_S: Seconds = 30.0
KEEPALIVE_STAGGER_S: Seconds = 5.0  # the issuer waits longer, so that one side's pings serve both

# Chosen: a pause that long in what comes is worth one ping.
QUIET_S: Seconds = 1.0
# Chosen: asked so often, a dead reader is told of after 6.5 s, and a slow one costs little.
HELD_BACK_S: Seconds = 2.5


class Liveness:
    """The clocks of one link.

    Args:
        now: when it began.
        is_issuer: our role.
        give_up_after_s: silence after which it is given up, once something is unanswered.
    """

    def __init__(self, now: Instant, is_issuer: bool, give_up_after_s: Seconds) -> None:
        self.last_heard: Instant | None = None
        self.last_sent: Instant = now
        self.is_stalled = False
        self._created_at = now
        self._unanswered_since: Instant | None = None
        self._quiet_at: Instant | None = None
        self._give_up_after_s = give_up_after_s
        self._stall_s = STALL_S
        self._keepalive_s = KEEPALIVE_S + (KEEPALIVE_STAGGER_S if is_issuer else 0.0)

    @property
    def heard_at(self) -> Instant:
        """When the last authentic packet came, or the beginning."""
        return self.last_heard if self.last_heard is not None else self._created_at

    @property
    def is_waiting(self) -> bool:
        """Whether something of ours is unanswered."""
        return self._unanswered_since is not None

    @property
    def silent_since(self) -> Instant | None:
        """Since when nothing was heard though something is unanswered; None while nothing is."""
        unanswered_since = self._unanswered_since
        return None if unanswered_since is None else max(self.heard_at, unanswered_since)

    def sent(self, now: Instant, is_ack_eliciting: bool) -> None:
        """Note a packet of ours."""
        self.last_sent = now
        if is_ack_eliciting and self._unanswered_since is None:
            self._unanswered_since = now

    def heard(self, now: Instant) -> Seconds | None:
        """Note an authentic packet of theirs; returns how long the stall was that it ends."""
        silent_s = now - self.heard_at if self.is_stalled else None
        self.is_stalled = False
        self.last_heard = now
        return silent_s

    def carried(self, now: Instant) -> None:
        """Note stream bytes of theirs: more of them are expected soon."""
        self._quiet_at = Instant(now + QUIET_S)

    def pinged(self) -> None:
        """Note that a ping of ours is on its way."""
        self._quiet_at = None

    def all_answered(self) -> None:
        """Note that nothing of ours is unanswered."""
        self._unanswered_since = None

    def expect_answers_after(self, round_trip_s: Seconds) -> None:
        """Note how long answers take where that is long: so far no silence is a stall."""
        self._stall_s = min(max(STALL_S, 2 * round_trip_s), MAX_STALL_S)

    def stall_at(self) -> Instant | None:
        """Return when a stall is to be told."""
        if self._unanswered_since is None or self.is_stalled:
            return None
        # What a pause in the stream made us ask counts from the last packet before the pause.
        earliest = self._unanswered_since + self._stall_s - QUIET_S
        return Instant(max(self.heard_at + self._stall_s, earliest))

    def give_up_at(self) -> Instant | None:
        """Return when the link is to be given up."""
        if self._unanswered_since is None:
            return None
        earliest = self._unanswered_since + STALL_S
        return Instant(max(self.heard_at + self._give_up_after_s, earliest))

    def forgive_sleep(self, now: Instant) -> None:
        """Let the other side have STALL_S more if nothing ran here when it was to be given up.

        A clock that runs on during sleep makes our own absence look like the other side's silence.
        """
        give_up_at = self.give_up_at()
        if give_up_at is not None and now >= give_up_at + STALL_S:
            self._unanswered_since = now

    def keepalive_at(self, is_held_back: bool) -> Instant:
        """Return when an idle link, or one that fell quiet, is to be pinged.

        `is_held_back`: bytes of ours wait for credit, and nothing is unanswered.
        """
        idle_at = Instant(max(self.last_sent, self.heard_at) + self._keepalive_s)
        if is_held_back:
            idle_at = min(idle_at, Instant(self.heard_at + HELD_BACK_S))
        return idle_at if self._quiet_at is None else min(idle_at, self._quiet_at)
