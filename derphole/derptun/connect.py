"""`connect --stdio`: one connection to the server's target, by standard input and output.

    standard input ──► stream    its end is the end of that way; the other goes on
    standard output ◄── stream   its end is handed on, and the command ends

It is started by ssh and its like, so it always ends by itself: soon after the other side's end,
when nobody reads its output any more, or with the link.  Nothing watches its parent: a shared ssh
connection goes on after that.
"""

import os
from collections.abc import Callable

import gevent
from gevent.event import Event

from derphole.config import NetworkOptions
from derphole.derptun.limits import GIVE_UP_S, RENEW_AFTER_S
from derphole.derptun.opening import (
    SERVER_AWAITED,
    described_claimer,
    described_of,
    why_down,
)
from derphole.derptun.patience import patiently
from derphole.edges.stdio import ByteSink, ByteSource
from derphole.errors import ConnectionLost, SinkClosed
from derphole.rendezvous.claimer import ClaimerRendezvous
from derphole.rendezvous.common import endpoint_options
from derphole.speech.endings import Ending
from derphole.speech.resets import ResetCode, reset_words
from derphole.status import Report, State, StateChanged
from derphole.token.text import ClientToken
from tunnel.errors import LinkEnded, StreamReset
from tunnel.net.clock import monotonic, wall
from tunnel.net.endpoint import Link, Stream
from tunnel.net.tasks import TaskGroup
from tunnel.units import ByteCount, Seconds

READ_SIZE: ByteCount = 256 << 10
# Chosen: what is still on its way in when the other side has ended comes at least so often.
QUIET_S: Seconds = 1.0
# Chosen: ssh closes both pipes and sends SIGHUP within a millisecond.
GOODBYE_S: Seconds = 0.3
LAST_WORDS_S: Seconds = 2.0  # of the other side, once both our ends are closed


class Connect:
    """One run of `connect`.

    Args:
        options: the settings of the command; `timeout_s` bounds the wait for the server.
        token: leads to the server.
        source: standard input.
        sink: standard output; closed by `close_sink`.
        report: told what a person wants to know.
        close_sink: hands the end of the output on.
    """

    def __init__(
        self,
        options: NetworkOptions,
        token: ClientToken,
        source: ByteSource,
        sink: ByteSink,
        report: Report,
        close_sink: Callable[[], None],
    ) -> None:
        self._options = options
        self._token = token
        self._source = source
        self._sink = sink
        self._report = report
        self._close_sink = close_sink
        self._has_input_ended = Event()
        self._moved_at = monotonic()
        self._is_done = False
        self._rendezvous: ClaimerRendezvous | None = None
        self._link: Link | None = None
        self._since = self._link_since = wall()

    def describe(self) -> dict[str, object]:
        """Return how things are, for `derptun status`; never blocks."""
        about = described_claimer("connect", self._token, self._since)
        rendezvous, link = self._rendezvous, self._link
        about["links"] = []
        if rendezvous is not None and link is not None:
            about["links"] = [described_of(rendezvous, link, self._link_since)]
        return about

    def run(self, on_running: Callable[[], None]) -> None:
        """Copy both ways until the other side has ended; raises `DerpholeError` for other ends.

        Args:
            on_running: called when the link is up, before the first byte.
        """
        token, limit_s = self._token, self._options.timeout_s
        behaviour = endpoint_options(self._options, GIVE_UP_S, RENEW_AFTER_S)
        with (
            ClaimerRendezvous(self._options, self._report, token, behaviour) as rendezvous,
            TaskGroup("connect", on_failure=rendezvous.fail) as tasks,
        ):
            self._report(StateChanged(State.PROBING_DIRECT))
            patiently(rendezvous.find_relays, limit_s, self._report)
            link = rendezvous.claim(SERVER_AWAITED)
            rendezvous.report_path(link)
            self._rendezvous, self._link, self._link_since = rendezvous, link, wall()
            link.open_stream()  # of control, on which nobody has anything to say
            stream = link.open_stream()
            link.refuse_streams(ResetCode.INTERNAL)
            on_running()
            up = tasks.spawn("input", self._copy_up, stream)
            tasks.spawn("output", self._copy_down, link, stream, up)
            tasks.spawn("hang-up", self._watch_output)
            end = rendezvous.wait_end(link)
            if not self._is_done:
                raise ConnectionLost(why_down(end, token.grant)) from end
            rendezvous.complete()

    def _copy_up(self, stream: Stream) -> None:
        """Copy standard input; what goes wrong with the stream is found by the other way."""
        try:
            while data := self._source.read():
                self._moved_at = monotonic()
                stream.write(data)
            stream.end()
        except (StreamReset, LinkEnded):
            return
        finally:
            self._has_input_ended.set()

    def _copy_down(self, link: Link, stream: Stream, up: gevent.Greenlet) -> None:
        """Copy the stream to standard output, to its end, and end the link."""
        try:
            while chunks := stream.read(READ_SIZE):
                self._sink.write(chunks)
            self._sink.flush()
            self._close_sink()
            # Who reads us has seen the end; what it still sends is taken for as long as it comes.
            while not self._has_input_ended.wait(QUIET_S):
                if monotonic() - self._moved_at >= QUIET_S:
                    up.kill()
                    stream.end()
            stream.wait_acknowledged()
        except StreamReset as reset:
            raise ConnectionLost(reset_words(reset.code)) from reset
        except LinkEnded:
            return  # the main greenlet says why
        self._is_done = True
        link.close(Ending.DONE, "its connection has ended")

    def _watch_output(self) -> None:
        """End when nobody reads our output any more; at a goodbye the other side has a while."""
        self._sink.wait_closed()
        if self._has_input_ended.wait(GOODBYE_S):
            gevent.sleep(LAST_WORDS_S)
        raise SinkClosed(self._sink.bytes_written, self._sink.name)


def close_standard_output() -> None:
    """Let the reader of standard output see its end; the number stays taken."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
