"""Switchboard: the forwarded connections of one command; counts, bounds, ends and reports them.

admit() ──► a number, or a refusal beyond the bound
carry() ──► copies until both ways are over, in the greenlet that calls
cut()   ──► resets every connection of a link that is over
"""

from collections.abc import Iterator
from contextlib import contextmanager

from gevent import socket

from derphole.forwarding.forward import Forwarding, Outcome, Quota
from derphole.forwarding.statuses import ConnectionsReset, ForwardingEnded
from derphole.speech.resets import ResetCode, reset_words
from derphole.status import Report
from tunnel.errors import LinkEnded
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link, Stream
from tunnel.net.tasks import TaskGroup
from tunnel.units import Instant


class Switchboard:
    """The connections of `share` or `open`.

    Args:
        report: told of every connection's end, and once of what resets them all.
        most: connections at once, those that are still being made included.
        tasks: the group that their greenlets belong to.
        news: codes of resets of the other side that the person on this side has to be told of.
    """

    def __init__(
        self,
        report: Report,
        most: int,
        tasks: TaskGroup,
        news: frozenset[ResetCode] = frozenset(),
    ) -> None:
        self._report = report
        self._most = most
        self._tasks = tasks
        self._news = news
        self._told_code: int | None = None  # until a connection works
        self._is_full_told = False  # until half of the places are free
        self._quota = Quota()
        self._admitted = 0
        self._count = 0
        self._by_link: dict[Link, set[Forwarding]] = {}

    @contextmanager
    def admit(self) -> Iterator[int | None]:
        """Give a new connection its number and a place, or None where there is none."""
        if self._admitted >= self._most:
            self._tell_full()
            yield None
            return
        self._admitted += 1
        self._count += 1
        try:
            yield self._count
        finally:
            self._admitted -= 1
            self._is_full_told &= 2 * self._admitted > self._most

    def carry(
        self, sock: socket.socket, stream: Stream, link: Link, who: tuple[int, str, Instant]
    ) -> None:
        """Copy a connection to its end, which is reported.

        Args:
            sock: its socket here; closed at the end.
            stream: its stream.
            link: the link of the stream.
            who: its number, whose it is in words, and when it began.
        """
        number, peer, began_at = who
        forwarding = Forwarding(sock, stream, self._quota, began_at)
        of_link = self._by_link.setdefault(link, set())
        of_link.add(forwarding)
        try:
            outcome = forwarding.run(self._tasks)
        finally:
            of_link.discard(forwarding)
            if not of_link:
                self._by_link.pop(link, None)
        self.tell(number, peer, outcome)
        self._note_health(outcome)

    def tell(self, number: int | None, peer: str, outcome: Outcome) -> None:
        """Report a connection's end."""
        self._report(
            ForwardingEnded(
                number,
                peer,
                outcome.sent,
                outcome.received,
                outcome.seconds,
                outcome.reason,
                outcome.code,
            )
        )

    def tell_refused(self, number: int | None, peer: str, began_at: Instant, code: int) -> None:
        """Report a connection that never carried a byte."""
        seconds = monotonic() - began_at
        self.tell(number, peer, Outcome(0, 0, seconds, reset_words(code), code))

    def _tell_full(self) -> None:
        if not self._is_full_told:
            self._is_full_told = True
            open_ones = f"{self._most} are open, as many as may be"
            self._report(ConnectionsReset(open_ones))

    def _note_health(self, outcome: Outcome) -> None:
        """Say why the other side resets connections, once until one works."""
        code = outcome.code
        if code is None or outcome.received:
            self._told_code = None
        elif code in self._news and code != self._told_code:
            self._told_code = code
            self._report(ConnectionsReset(f"{reset_words(code)}, says the other side"))

    def cut(self, link: Link, code: ResetCode = ResetCode.NO_LINK) -> None:
        """Reset every connection of a link."""
        for forwarding in list(self._by_link.get(link, ())):
            forwarding.abort(code)

    def cut_all(self) -> None:
        """Reset every connection there is."""
        for link in list(self._by_link):
            self.cut(link)

    def cut_unheard(self, link: Link, began_before: Instant) -> None:
        """Reset connections older than that whose stream nobody has heard of since they began."""
        heard_at = link.last_heard
        for forwarding in list(self._by_link.get(link, ())):
            is_unheard = heard_at is None or heard_at < forwarding.began_at
            if is_unheard and forwarding.began_at <= began_before:
                forwarding.abort(ResetCode.NO_LINK)


def refuse(stream: Stream, code: int) -> None:
    """End a stream both ways with a reset."""
    try:
        stream.reset(code)
        stream.stop(code)
    except LinkEnded:
        return
