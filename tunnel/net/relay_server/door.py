"""Who is let in: a server's caps for every connection, and word to its operator of who is not.

    accept ──► admit ──► (its turn, TLS, the request's head) ──► meet ──► settle ──► leave
                 │                                                 │
                 └ closed at once                                  └ answered 429 or 503

Refusals are told by reason, a few at first and then one a minute: a flood of them must not become
one of lines.
"""

import logging
from collections import Counter
from collections.abc import Callable

from tunnel.net.clock import monotonic
from tunnel.net.relay_server.limits import RelayLimits
from tunnel.proto.relay_server.connection_caps import Admitted, ConnectionCaps, Refusal
from tunnel.proto.relay_server.forwarded import may_be_proxy
from tunnel.proto.token_bucket import Allowance, TokenBucket
from tunnel.units import Instant
from tunnel.values import frozen

# Chosen: whoever looks at the relay's lines sees it soon, and once a minute as long as it lasts.
TOLD = Allowance(rate=1 / 60, burst=2.0)

_log = logging.getLogger(__name__)


@frozen
class Refused:
    """Connections were not served.

    Args:
        reason: why.
        source: the address that the last of them came from, plain.
        count: how many, since this was told last.
    """

    reason: Refusal
    source: str
    count: int


class Door:
    """The one door of a server.

    Args:
        limits: what is allowed.
        report: told of refusals.
    """

    def __init__(self, limits: RelayLimits, report: Callable[[Refused], None]) -> None:
        now = monotonic()
        self._limits = limits
        self._report = report
        self._caps = ConnectionCaps(
            limits.max_connections, limits.max_per_address, limits.accept, now
        )
        self._told = {reason: TokenBucket(TOLD, now) for reason in Refusal}
        self._untold: Counter[Refusal] = Counter()

    def admit(self, address: str) -> Admitted | None:
        """Decide on a connection from a plain address; None: close it."""
        is_of_proxy = self._limits.is_behind_proxy and may_be_proxy(address)
        admitted = self._caps.admit(monotonic(), address, is_of_proxy=is_of_proxy)
        if isinstance(admitted, Refusal):
            self._refuse(admitted, address)
            return None
        return admitted

    def meet(self, admitted: Admitted, address: str) -> Instant | Refusal:
        """Return when to go on with who turns out to come from a plain address, or why not."""
        refusal = None
        if admitted.is_beyond:
            refusal = Refusal.SOURCE
        elif admitted.is_of_proxy:
            refusal = self._caps.move(monotonic(), admitted, address)
        if refusal is None:
            return admitted.serve_at
        self._refuse(refusal, address)
        return refusal

    def turn_away(self, address: str) -> None:
        """Note that somebody could not log in, since there are as many clients as there may be."""
        self._refuse(Refusal.CLIENTS, address)

    def settle(self, admitted: Admitted) -> None:
        """Note that a connection became a client, which nobody displaces."""
        self._caps.settle(admitted)

    def leave(self, admitted: Admitted) -> None:
        """Forget a connection."""
        self._caps.remove(admitted)

    def _refuse(self, reason: Refusal, source: str) -> None:
        self._untold[reason] += 1
        if self._told[reason].try_take(monotonic()):
            refused = Refused(reason, source, self._untold.pop(reason))
            _log.info("refused %d, at last from %s: %s", refused.count, source, reason.value)
            self._report(refused)
