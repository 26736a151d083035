"""Conversation: runs the works of one link around its proof, and tells the other side how it ended.

    works   read files, terminals and the link, and hand what comes to the proof
    proof   decides (`derphole.speech.stream_proof`), and is called by all of them
    here    messages are read, deadlines kept, the end of the link told, decisions carried out

A decision is carried out in the greenlet whose news it answers, so that a work which writes what
it reads does both in one straight line.
"""

from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from derphole.rendezvous.common import Rendezvous
from derphole.rendezvous.receipt_paths import traffic_of
from derphole.speech.decisions import Close, Decision, Fail, Over, Replaced, Say
from derphole.speech.endings import ending_of
from derphole.speech.stream_proof import Proof
from derphole.speech.tally import Tally
from derphole.transfer_status import Direction, Receipt
from tunnel.errors import LinkEnded, StreamReset
from tunnel.net.clock import monotonic
from tunnel.net.endpoint import Link, Stream
from tunnel.net.tasks import TaskGroup
from tunnel.units import Instant, Seconds

# Chosen: the code of streams that a conversation does not have.
UNEXPECTED = 1
# Chosen: what a greenlet that reads the link gets to take what came before the link's end.
NOTICE_S: Seconds = 0.5

Work = Callable[[], None]


class Conversation:
    """Runs the works of one link, and tells the other side how it ended.

    Args:
        rendezvous: where the link came from.
        link: the link.
        proof: decides what is done about what comes.
        carry_out: carries out a decision about the data, the output or the place.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        link: Link,
        proof: Proof,
        carry_out: Callable[[Decision], None],
    ) -> None:
        self._rendezvous = rendezvous
        self._link = link
        self._proof = proof
        self._carry_out = carry_out
        self._control: Stream | None = None
        self._readers: list[gevent.Greenlet] = []  # those that take what came over the link
        self._deadline: Instant | None = None  # the proof's, as `run` knows it
        self._is_over = False
        self._changed = Event()
        self._tasks = TaskGroup("conversation", on_failure=lambda _: self._changed.set())

    # -- the run ----------------------------------------------------------------------------

    def run(self, *works: Work, reading: Work | None = None) -> None:
        """Run all at once until the proof says that it is over, or one of them fails.

        Raises what failed, the other side's ending included, and tells the other side.

        Args:
            works: what is done.
            reading: one more, which reads the link and so ends with it.
        """
        self._rendezvous.watch(self._changed.set)
        with self._tasks:
            self._tasks.spawn("link", self._watch_link)
            if reading is not None:
                self._readers.append(self.start(reading))
            for work in works:
                self.start(work)
            try:
                while not self._is_over:
                    self._wait()
            except BaseException as error:
                self._link.close(*ending_of(error))
                raise

    def start(self, work: Work) -> gevent.Greenlet:
        """Run one more work, until the run is over at the latest."""
        return self._tasks.spawn(work.__name__, self._guard, work)

    def start_reading(self, work: Work) -> None:
        """Run one more work, which reads the link: what came before its end is still taken."""
        self._readers.append(self.start(work))

    def attend(self, control: Stream) -> None:
        """Hear and say messages on this stream from now on."""
        self._control = control
        self.start_reading(self._take_messages)

    def follow(self, decisions: Sequence[Decision]) -> None:
        """Carry out what the proof decided, in this order; raises what it fails with."""
        for decision in decisions:
            match decision:
                case Say(data):
                    self._say(data)
                case Close(code, text):
                    self._link.close(code, text)
                case Over() | Replaced():
                    self._is_over = True
                case Fail(error):
                    raise error
                case _:
                    self._carry_out(decision)
        if self._is_over or self._proof.next_timeout() != self._deadline:
            self._changed.set()

    # -- inside -----------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait for something to change, or for the proof's deadline, and do what is due."""
        self._changed.clear()
        self._tasks.raise_failure()
        if self._rendezvous.failure is not None:
            raise self._rendezvous.failure
        self._deadline = self._proof.next_timeout()
        left_s = None if self._deadline is None else max(0.0, self._deadline - monotonic())
        self._changed.wait(left_s)
        self.follow(self._proof.handle_timeout(monotonic()))

    def _guard(self, work: Work) -> None:
        """Run a work to its end; the end of the link is none of its own."""
        try:
            work()
        except LinkEnded:
            return  # `_watch_link` tells the proof
        except StreamReset:
            self.follow(self._proof.handle_reset(monotonic()))

    def _watch_link(self) -> None:
        """Tell the proof of the link's end, behind everything that came before it."""
        end = self._link.wait_ended()
        assert end is not None
        gevent.joinall(self._readers, timeout=NOTICE_S)
        self.follow(self._proof.handle_link_ended(end))

    def _take_messages(self) -> None:
        """Hand the other side's messages to the proof."""
        assert self._control is not None
        while chunks := self._control.read():
            self.follow(self._proof.handle_message_bytes(monotonic(), chunks))
        self.follow(self._proof.handle_messages_ended())

    def _say(self, data: bytes) -> None:
        assert self._control is not None
        try:
            self._control.write(data)
        except LinkEnded:
            return  # `_watch_link` tells the proof
        except StreamReset:
            self.follow(self._proof.handle_reset(monotonic()))


def receipt_of(direction: Direction, tally: Tally, rendezvous: Rendezvous, link: Link) -> Receipt:
    """Return the proof at the end."""
    return Receipt(
        direction,
        tally.size,
        tally.seconds,
        rendezvous.path_description(link),
        rendezvous.reason_relayed(link),
        tally.digest.hex(),
        traffic_of(direction, link.counters, link.promotions),
    )
