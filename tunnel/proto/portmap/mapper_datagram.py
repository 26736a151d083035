"""What NAT-PMP and PCP have in common: one mapping that is asked for by datagrams, and kept alive.

    asked, repeated, given up      `Exchange`
    held, renewed, lost            `Lease`
    released                       deleted, if the gateway may have it

While a gateway is silent nothing that is held is lost: it is asked again until the lease ends.
This module knows no message; those are the subclasses' matter.
"""

from math import inf

from tunnel.proto.portmap.mapping import (
    ANSWER_WAITS_S,
    Exchange,
    Failure,
    MapperState,
    MapperStatus,
    Reason,
)
from tunnel.units import Instant

_BUSY = (MapperState.PROBING, MapperState.ASKING)


class DatagramMapper:
    """Asks for, renews and deletes one mapping, in whatever words `_encode_request` has."""

    def __init__(self) -> None:
        self.status = MapperStatus()
        self.head_start_ends_at = Instant(-inf)
        self._exchange = Exchange()
        self._may_exist = False  # a mapping at the gateway, which a release must delete

    def renew(self, now: Instant) -> None:
        """Ask for the mapping that is held once more."""
        if self.status.mapping is not None and not self._exchange.is_running:
            self._ask(now)

    def handle_unsupported(self) -> None:
        """Note that the gateway answered in another protocol's words."""
        if self.status.state in _BUSY:
            self._fail(Failure(Reason.NOT_OFFERED))

    def handle_closed(self) -> None:
        """Note that nothing listens at the gateway's port."""
        self.handle_unsupported()
        if self.status.state is MapperState.RELEASING:
            self._finish_release()
        elif self.status.state is MapperState.IDLE:
            self._exchange.stop()

    def handle_timeout(self, now: Instant) -> None:
        """Repeat, renew or give up, as is due."""
        if self._exchange.handle_timeout(now):
            self._handle_silence(now)
        lease = self.status.lease
        if lease is None:
            return
        if now >= lease.expires_at:
            self._may_exist = False
            self._fail(Failure(Reason.EXPIRED))
        elif now >= lease.renew_at:
            self.renew(now)

    def next_timeout(self) -> Instant:
        """Return when `handle_timeout` is due."""
        lease = self.status.lease
        if lease is None:
            return self._exchange.next_timeout()
        if self._exchange.is_running:
            return min(self._exchange.next_timeout(), lease.expires_at)
        return lease.next_timeout()

    def datagrams_to_send(self) -> list[bytes]:
        """Take what is to be sent to the gateway."""
        return self._exchange.datagrams_to_send()

    # -- for the subclasses -----------------------------------------------------------------

    def _encode_request(self) -> bytes:
        """Return the words that ask for the mapping, or for more time with it."""
        raise NotImplementedError

    def _give_head_start(self, now: Instant) -> None:
        """Have other protocols wait for the first answer."""
        self.head_start_ends_at = Instant(now + ANSWER_WAITS_S[0])

    def _ask(self, now: Instant) -> None:
        self._may_exist = True
        self._exchange.start(now, self._encode_request())

    def _start_release(self, now: Instant, deletion: bytes) -> None:
        self.status.state = MapperState.RELEASING
        self._exchange.start(now, deletion)

    def _finish_release(self) -> None:
        self._may_exist = False
        self._exchange.stop()
        self.status.drop(MapperState.IDLE)

    def _fail(self, failure: Failure) -> None:
        self._exchange.stop()
        self.status.fail(failure)

    def _handle_silence(self, now: Instant) -> None:
        if self.status.lease is not None:
            self.status.lease.postpone(now)
        elif self.status.state is MapperState.RELEASING:
            self._finish_release()
        elif self.status.state is not MapperState.IDLE:
            # One that never said a word cannot hold a mapping of ours.
            self._may_exist = self._may_exist and self.status.seen_at is not None
            self._fail(Failure(Reason.SILENT))
