"""Trees and files that enter and leave the process, for greenlets; the work is done in threads.

    TreeSource    read: the archive of what was named             derphole.edges.archive_source
    TreeSurvey    advance: counts what would be sent              derphole.edges.archive_source
    TreeSink      write: an archive, extracted as it comes        derphole.edges.extraction
    FileSink      write: one file, named when it is complete      derphole.edges.partial_file

Each works in one greenlet at a time, blocks that one only, and knows nothing about links and
streams.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec

from derphole.edges.archive_source import ArchiveSource, BeginAt, Survey, from_the_start
from derphole.edges.destination import Destination
from derphole.edges.extraction import Extractor
from derphole.edges.partial_file import PartialFile
from derphole.edges.source_tree import Source
from derphole.edges.stdio import reason_text
from derphole.edges.worker import Failure, Worker, settled
from derphole.errors import OutputExists, SinkFailed
from derphole.transfer.names import shown
from derphole.transfer.outcome import Received, Sent, Told, Totals
from tunnel.units import Buffer, ByteCount

if TYPE_CHECKING:
    from gevent.event import AsyncResult

# Chosen.
SURVEY_STEPS = 2000  # in one go: some 20 ms

P = ParamSpec("P")


def current_umask() -> int:
    """Return the permissions that nothing gets; to be called before there are other threads."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


class TreeSource:
    """The archive of a tree, read a block ahead.

    Args:
        sources: in the order of an archive.
        begin_at: what of each entry the other side holds; called in the thread.
    """

    def __init__(self, sources: Sequence[Source], begin_at: BeginAt = from_the_start) -> None:
        self._archive = ArchiveSource(sources, begin_at)
        self._worker = Worker()
        self._ahead: AsyncResult[Buffer | Failure] | None = None
        self._is_at_end = False

    @property
    def sent(self) -> Sent:
        """What became of the tree so far."""
        return self._archive.sent

    def read(self) -> Buffer:
        """Return the next bytes, about 1 MiB at most; b'' at the end and ever after.

        A greenlet that is killed meanwhile loses nothing: the next call returns it.
        """
        if self._is_at_end:
            return b""
        if self._ahead is None:
            self._ahead = self._worker.start(self._archive.read)
        data: Buffer = settled(self._ahead.get())
        self._is_at_end = not data
        self._ahead = self._worker.start(self._archive.read) if data else None
        return data

    def close(self) -> None:
        """Let go of descriptors and thread."""
        self._worker.close(self._archive.close)


class TreeSurvey:
    """Counts what would be sent.

    Args:
        sources: in the order of an archive.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._survey = Survey(sources)
        self._worker = Worker()

    @property
    def totals(self) -> Totals:
        """So far."""
        return self._survey.totals

    @property
    def omitted(self) -> Told:
        """What cannot be sent, so far."""
        return self._survey.omitted

    def advance(self) -> bool:
        """Count on for a moment; return whether there is more to count."""
        self._worker.call(self._survey.advance, SURVEY_STEPS)
        return not self._survey.is_done

    def close(self) -> None:
        """Let go of descriptors and thread."""
        self._worker.close(self._survey.close)


class TreeSink:
    """Extracts an archive.

    Args:
        destination: where to; it stays the caller's.
        extractor: made for it.
    """

    def __init__(self, destination: Destination, extractor: Extractor) -> None:
        self._destination = destination
        self._extractor = extractor
        self._worker = Worker()

    @property
    def received(self) -> Received:
        """What became of the archive so far."""
        return self._extractor.received

    @property
    def bytes_written(self) -> ByteCount:
        """Bytes of files stored so far, those held from an earlier run included."""
        return self._extractor.received.stored

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Extract the next bytes; do not change the chunks before the call has returned.

        Raises:
            ProtocolViolation, DecodeError: the archive is not one that a program of ours makes.
            PartialUnusable: what an earlier run left cannot be continued.
            SinkFailed: the disk is full, or fails.
        """
        self._run(self._extractor.write, chunks)

    def repair(self, path: bytes, offset: ByteCount, chunks: Sequence[Buffer]) -> None:
        """Write bytes of a continued file again, behind the archive; raises `SinkFailed`."""
        self._run(self._extractor.repair, path, offset, chunks)

    def finish(self) -> None:
        """Check that the archive was complete; raises `ProtocolViolation`, `SinkFailed`."""
        self._run(self._extractor.finish)

    def close(self) -> None:
        """Let go of descriptors and thread; a file that is not complete can be continued."""
        self._worker.close(self._extractor.close)

    def _run(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            self._worker.call(function, *args, **kwargs)
        except OSError as error:
            raise SinkFailed(
                self._destination.shown, reason_text(error), self.bytes_written
            ) from error


class FileSink:
    """Writes one file, which has its name once it is complete.

    Args:
        destination: the folder; it stays the caller's.
        name: of the file.
        held: bytes at its front that an earlier run wrote; writing goes on behind them.

    Raises:
        PartialUnusable: what an earlier run left cannot be continued.
        SinkFailed: no file can be made.
    """

    def __init__(self, destination: Destination, name: bytes, held: ByteCount = 0) -> None:
        self.name = shown(name)
        self._worker = Worker()
        self._at = held
        # Its own: the last call may come when the caller has let go of the folder.
        self._folder = os.dup(destination.fd)
        try:
            self._partial = self._worker.call(PartialFile, self._folder, name, held)
        except BaseException as error:
            self._worker.close(lambda: os.close(self._folder))
            if not isinstance(error, OSError):
                raise
            raise SinkFailed(self.name, reason_text(error)) from error

    @property
    def bytes_written(self) -> ByteCount:
        """Bytes at its front that are stored."""
        return self._at

    @property
    def fd(self) -> int:
        """The descriptor, for who reads what is held; -1 once it is complete."""
        return self._partial.fd

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Write the next bytes; do not change them before it has returned; raises `SinkFailed`."""
        self._run(self._partial.write, self._at, chunks)
        self._at += sum(map(len, chunks))

    def repair(self, offset: ByteCount, chunks: Sequence[Buffer]) -> None:
        """Write bytes again that are before the next ones; raises `SinkFailed`."""
        self._run(self._partial.write, offset, chunks)

    def finish(self, mode: int, mtime_ns: int) -> None:
        """Complete the file under its temporary name; raises `SinkFailed`.

        Args:
            mode: permissions as they will be.
            mtime_ns: nanoseconds since 1970.
        """
        self._run(self._partial.finish, self._at, mode, mtime_ns)

    def take_name(self, *, replaces: bool) -> None:
        """Give the finished file its name.

        Args:
            replaces: whether it may replace what has it.

        Raises:
            OutputExists: something has its name; what was received stays under the temporary one.
            SinkFailed: it could not be done.
        """
        try:
            self._worker.call(self._partial.take_name, replaces=replaces)
        except FileExistsError as error:
            raise OutputExists(self.name) from error
        except OSError as error:
            raise SinkFailed(self.name, reason_text(error), self._at) from error

    def close(self) -> None:
        """Let go of descriptor and thread; a file that is not complete can be continued."""
        self._worker.close(lambda: self._let_go(self._partial.close))

    def discard(self) -> None:
        """Remove a file that is not complete."""
        self._worker.close(lambda: self._let_go(self._partial.discard))

    def _let_go(self, last: Callable[[], None]) -> None:
        with suppress(OSError):
            last()
        os.close(self._folder)

    def _run(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            self._worker.call(function, *args, **kwargs)
        except OSError as error:
            raise SinkFailed(self.name, reason_text(error), self._at) from error
