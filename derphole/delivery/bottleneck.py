"""Bottleneck: what a transfer waits for, and what most of its time went into waiting for.

    sender      reading its own source    this disk
                sending, and the other    their disk, or who reads their output
                side takes no more
                sending else              the network, or the relay
    receiver    writing                   this disk
                waiting for bytes         the network, or the sender
    both        none of these             this processor

As far as this side can tell.  Pure; time is an argument.
"""

from enum import Enum

from tunnel.units import Instant, Seconds

# Chosen: below, a person does not ask; and no half of the time is nothing that limits.
LEAST_S: Seconds = 5.0
LEAST_SHARE = 0.5


class Waited(Enum):
    """What was waited for; the value goes on from "waiting for"."""

    SOURCE = "this machine to read what is sent"
    SINK = "this machine to write what came"
    OTHER_SINK = "the other machine to write it"
    NETWORK = "the network"
    SENDER = "the network, or the other machine to read it"


PROCESSOR = "this machine's processor"


class Bottleneck:
    """Adds up what a transfer waited for.

    Args:
        now: when its first byte was about to move.

    Attributes:
        waits_for: what is waited for at the moment; None for nothing.
    """

    def __init__(self, now: Instant) -> None:
        self._began_at = self._since = now
        self._spent: dict[Waited, Seconds] = {}
        self.waits_for: Waited | None = None

    def wait(self, now: Instant, waited: Waited) -> None:
        """Take that from now on this is waited for."""
        self._since, self.waits_for = now, waited

    def go_on(self, now: Instant, waited: Waited | None = None) -> None:
        """Take that it has come.

        Args:
            now: the time.
            waited: what it was, as it turned out; None for what was said.
        """
        waited = waited or self.waits_for
        if waited is not None:
            self._spent[waited] = self._spent.get(waited, 0.0) + now - self._since
        self.waits_for = None

    def words(self, now: Instant, relay: str | None) -> str | None:
        """Return what most of the time was waited for; None if nothing stands out, or soon done.

        Args:
            now: the end.
            relay: why the bytes took a relay; None where they did not.
        """
        whole_s = now - self._began_at
        if whole_s < LEAST_S:
            return None
        waited = max(self._spent, key=lambda each: self._spent[each], default=None)
        if waited is not None and self._spent[waited] >= LEAST_SHARE * whole_s:
            is_relayed = waited is Waited.NETWORK and relay is not None
            return f"the relay ({relay})" if is_relayed else waited.value
        if sum(self._spent.values()) < (1 - LEAST_SHARE) * whole_s:
            return PROCESSOR
        return None
