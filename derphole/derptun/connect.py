"""`connect --stdio`: one connection to the server's target, by standard input and output.

    standard input ──► stream    its end is the end of that way; the other goes on
    standard output ◄── stream   its end is handed on, and the command ends once the input has, or
                                 is quiet while everything of it has arrived

It is started by ssh and its like, so it always ends by itself: soon after the other side's end,
when nobody reads its output any more, or with the link.  Nothing watches its parent: a shared ssh
connection goes on after that.
"""

import os
from collections.abc import Callable

import gevent
from gevent.event import Event

from derphole import HANG_UP
from derphole.config import NetworkOptions
from derphole.derptun.limits import GIVE_UP_S, RENEW_AFTER_S
from derphole.derptun.opening import (
    awaited,
    described_claimer,
    described_of,
    why_down,
)
from derphole.derptun.patience import patiently
from derphole.edges.stdio import ByteSink, ByteSource
from derphole.errors import AlreadyInUse, ConnectionLost, Interrupted, ServerFull, SinkClosed
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
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.values import replace

READ_SIZE: ByteCount = 256 << 10
# Chosen: after the other side's end an input that is open and says nothing is not waited for; ssh
# closes it when it sees that end.
QUIET_S: Seconds = 2.0
LOOK_S: Seconds = 0.2
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
        self._reads_since: Instant | None = None  # what is awaited is the input, and nothing else
        self._is_done = False
        self._on_running: Callable[[], None] = lambda: None
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
            on_running: called before the first byte goes to standard output.
        """
        token, limit_s = self._token, self._options.timeout_s
        behaviour = endpoint_options(self._options, GIVE_UP_S, RENEW_AFTER_S)
        with (
            ClaimerRendezvous(self._options, self._report, token, behaviour) as rendezvous,
            TaskGroup("connect", on_failure=rendezvous.fail) as tasks,
        ):
            self._report(StateChanged(State.PROBING_DIRECT))
            began_at = monotonic()
            patiently(rendezvous.find_relays, limit_s, self._report)
            if limit_s is not None:
                left_s = max(0.1, began_at + limit_s - monotonic())
                rendezvous.options = replace(self._options, timeout_s=left_s)
            try:
                link = rendezvous.claim(awaited(token))
            except AlreadyInUse:
                raise ServerFull from None
            rendezvous.report_path(link)
            self._rendezvous, self._link, self._link_since = rendezvous, link, wall()
            link.open_stream()  # of control, on which nobody has anything to say
            stream = link.open_stream()
            link.refuse_streams(ResetCode.INTERNAL)
            self._on_running = on_running
            up = tasks.spawn("input", self._copy_up, stream)
            hang_up = tasks.spawn("hang-up", self._watch_output)
            tasks.spawn("output", self._copy_down, link, stream, up, hang_up)
            end = self._end_of(rendezvous, link)
            if not self._is_done:
                raise ConnectionLost(why_down(end, token.grant)) from end
            rendezvous.complete()

    def _end_of(self, rendezvous: ClaimerRendezvous, link: Link) -> LinkEnded:
        """Wait for the end of the link; at SIGHUP, ssh's goodbye, what came in still goes out."""
        try:
            return rendezvous.wait_end(link)
        except Interrupted as interrupted:
            if interrupted.signum == HANG_UP:
                with gevent.Timeout(LAST_WORDS_S, False):
                    self._has_input_ended.wait()
                    rendezvous.wait_end(link)
            raise

    def _copy_up(self, stream: Stream) -> None:
        """Copy standard input; what goes wrong with the stream is found by the other way."""
        try:
            while True:
                self._reads_since = monotonic()
                data = self._source.read()
                self._reads_since = None
                if not data:
                    break
                stream.write(data)
            stream.end()
        except (StreamReset, LinkEnded):
            return
        finally:
            self._has_input_ended.set()

    def _copy_down(
        self, link: Link, stream: Stream, up: gevent.Greenlet, hang_up: gevent.Greenlet
    ) -> None:
        """Copy the stream to standard output, to its end, and end the link."""
        try:
            while chunks := stream.read(READ_SIZE):
                self._on_running()
                self._sink.write(chunks)
            self._sink.flush()
            hang_up.kill()
            self._close_sink()
            if self._has_all_input(stream, up):
                stream.wait_acknowledged()
        except StreamReset as reset:
            raise ConnectionLost(reset_words(reset.code)) from reset
        except LinkEnded:
            return  # the main greenlet says why
        self._is_done = True
        link.close(Ending.DONE, "its connection has ended")

    def _has_all_input(self, stream: Stream, up: gevent.Greenlet) -> bool:
        """Take what still comes in, to its end; False for an input that is only open.

        That one is not waited for.  What was read of it has arrived, and the stream is reset, and
        not ended: more might have come.
        """
        while not self._has_input_ended.wait(LOOK_S):
            since = self._reads_since
            if since is None or monotonic() - since < QUIET_S:
                continue
            stream.wait_acknowledged(QUIET_S)
            if self._reads_since == since:
                up.kill()
                stream.reset(ResetCode.ABORTED)
                return False
        return True

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
