"""Keeper: what is due at a server as time goes by: ends that are announced, links that have to end.

    a client token is revoked                  its links end
    a client token expires, or the server's    they end, too; 14 days, 1 day and 1 hour before that
                                               it is announced, once for each token

Pure; the present, the revocations and who is here are arguments.  Source: design, section 4.
"""

from collections.abc import Hashable, Mapping
from enum import Enum
from typing import TypeVar

from derphole.derptun.announcements import Announcements
from derphole.token.grant import Grant
from tunnel.units import Seconds, WallTime
from tunnel.values import frozen

K = TypeVar("K", bound=Hashable)


class Cause(Enum):
    """Why a link ends."""

    REVOKED = "revoked"
    EXPIRED = "expired"


@frozen
class Announced:
    """A token ends soon.

    Args:
        grant: of the client token; None for the server's own.
        expires_at: Unix seconds.
        left_s: how long it is until then.
    """

    grant: Grant | None
    expires_at: int
    left_s: Seconds


class Keeper:
    """Watches one server token, and those that were made from it.

    Args:
        now: the present.
        expires_at: of the server token, Unix seconds.
    """

    def __init__(self, now: WallTime, expires_at: int) -> None:
        self._own = Announcements(now, expires_at)
        self._of_clients: dict[Grant, Announcements] = {}

    @property
    def expires_at(self) -> int:
        """When the server token ends."""
        return self._own.expires_at

    def renew(self, now: WallTime, expires_at: int) -> None:
        """Take another end of the server token."""
        self._own = Announcements(now, expires_at)

    def is_over(self, now: WallTime) -> bool:
        """Tell whether the server token has expired."""
        return now >= self.expires_at

    def ends(
        self, now: WallTime, revoked: frozenset[bytes], here: Mapping[K, Grant]
    ) -> dict[K, Cause]:
        """Return the links that have to end, and why.

        Args:
            now: the present.
            revoked: ids of client tokens.
            here: the grant of each link that is up.
        """
        causes: dict[K, Cause] = {}
        for link, grant in here.items():
            if grant.id in revoked:
                causes[link] = Cause.REVOKED
            elif now >= min(grant.expires_at, self.expires_at):
                causes[link] = Cause.EXPIRED
        return causes

    def announcements(self, now: WallTime, here: Mapping[K, Grant]) -> list[Announced]:
        """Return what is to be announced now."""
        told = []
        for grant in [each for each in self._of_clients if each.expires_at <= now]:
            del self._of_clients[grant]
        left_s = self._own.due(now)
        if left_s is not None:
            told.append(Announced(None, self.expires_at, left_s))
        for grant in set(here.values()):
            if grant.expires_at >= self.expires_at:
                continue  # the server's own end comes first
            of_client = self._of_clients.setdefault(grant, Announcements(now, grant.expires_at))
            left_s = of_client.due(now)
            if left_s is not None:
                told.append(Announced(grant, grant.expires_at, left_s))
        return told
