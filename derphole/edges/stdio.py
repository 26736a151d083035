"""The edge that touches standard input and standard output.

    what the descriptor is            read                           write
    pipe, terminal, socket            hub readiness, then one read   writev in a thread
    regular file, device, directory   read in a thread, one ahead    writev in a thread

Inherited descriptors are shared with other processes, so their flags are never changed: no
O_NONBLOCK is set here, and one that came with it is served all the same.  What epoll refuses goes
to a thread, since a disk, a network file system or a device may block for long.  A thread that is
stuck in the kernel holds up its own source or sink only, and not the end of the process.

libuv, gevent's loop on Windows, would set O_NONBLOCK, and there waits for sockets only: under it
what came without is read in a thread, too; not ahead, since what comes next may be for another.

This module knows nothing about links and streams: `derphole.pipe` moves the bytes between them.
"""

import errno
import os
import select
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ParamSpec

from gevent.event import AsyncResult, Event
from gevent.hub import get_hub

from derphole.edges.descriptor_thread import DescriptorThread
from derphole.edges.vectored import batches, drop_front
from derphole.errors import SinkClosed, SinkFailed, SourceFailed, UsageError
from tunnel.units import Buffer, Seconds

# Chosen.
MIN_READ_BYTES = 64 << 10  # what a pipe holds unless somebody enlarged it
MAX_READ_BYTES = 1 << 20  # a thread costs 66 us a call: at 1 MiB that is a third of the copy
CUT_WRITE_S: Seconds = 0.2  # a write to a reader that hung up ends at once

READABLE, WRITABLE = 1, 2  # libev's EV_READ and EV_WRITE
NOT_SUPPORTED = frozenset((errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ESPIPE))
READER_GONE = frozenset((errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN))
WINDOWS_READER_GONE = READER_GONE | {errno.EINVAL}  # its C library says that of a pipe
STANDARD_NAMES = {0: "standard input", 1: "standard output", 2: "standard error"}

P = ParamSpec("P")


def forget_typed() -> None:
    """Forget what was typed before anybody was asked: it is no answer."""
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
        return
    import termios  # late: Windows has none

    with suppress(termios.error):  # the terminal is gone
        termios.tcflush(0, termios.TCIFLUSH)


def typed_line() -> str:
    """Return a line that is typed on standard input; other greenlets go on meanwhile."""
    source = standard_input()
    try:
        return bytes(source.read()).decode("utf-8", "replace")
    finally:
        source.close()


def standard_input() -> "ByteSource":
    """Return standard input; raises `UsageError` when the program was started without one.

    Python leaves `sys.stdin` empty then, and only that tells: by now the number may belong to a
    descriptor that this program opened itself.
    """
    if sys.stdin is None:
        raise _missing("standard input")
    return ByteSource(0)


def standard_output() -> "ByteSink":
    """Return standard output; raises `UsageError` when the program was started without one."""
    if sys.stdout is None:
        raise _missing("standard output")
    return ByteSink(1)


class ByteSource:
    """Reads a descriptor that the caller owns, in one greenlet at a time.

    Args:
        fd: an open descriptor; it is neither closed nor changed.
        name: what a person calls it; None where its number says that.

    Attributes:
        name: what a person calls it.

    Raises:
        UsageError: the descriptor is closed or is a directory.
    """

    def __init__(self, fd: int, name: str | None = None) -> None:
        self._fd = fd
        self.name = name or _name(fd)
        mode = _mode(fd)
        if stat.S_ISDIR(mode):
            raise UsageError(
                f"{self.name} is a directory; to send one, pipe the output of tar",
                shows_help=False,
            )
        self._is_regular = stat.S_ISREG(mode)
        self._is_pollable = _is_pollable(fd) and not (_is_libuv() and os.get_blocking(fd))
        self._watcher = get_hub().loop.io(fd, READABLE) if self._is_pollable else None
        self._thread = None if self._is_pollable else DescriptorThread(fd)
        self._reads_ahead = not (_is_stream(mode) or os.isatty(fd))
        self._ahead: AsyncResult[bytes | OSError] | None = None
        self._read_size = MIN_READ_BYTES
        self._has_nowait = hasattr(os, "RWF_NOWAIT")
        self._is_at_end = False

    @property
    def is_terminal(self) -> bool:
        """Whether a person may be typing at the other end."""
        return os.isatty(self._fd)

    def size_hint(self) -> int | None:
        """Return the bytes left in a regular file, else None; the file may still change."""
        if not self._is_regular:
            return None
        try:
            return max(0, os.fstat(self._fd).st_size - os.lseek(self._fd, 0, os.SEEK_CUR))
        except OSError:
            return None

    def read(self) -> Buffer:
        """Wait for bytes and return 1 byte to 1 MiB of them, or b'' at the end and ever after.

        Blocks the calling greenlet only, which may be killed meanwhile: nothing read is lost.
        The buffer is the caller's.  Raises `SourceFailed`.
        """
        if self._is_at_end:
            return b""
        try:
            data = (
                self._read_when_ready() if self._thread is None else self._read_ahead(self._thread)
            )
        except OSError as error:
            raise SourceFailed(self.name, reason_text(error)) from error
        self._is_at_end = not data
        return data

    def close(self) -> None:
        """Let go of the watcher and the thread; the descriptor stays open."""
        if self._watcher is not None:
            self._watcher.close()
        if self._thread is not None:
            self._thread.close()

    def _read_when_ready(self) -> Buffer:
        while True:
            get_hub().wait(self._watcher)
            try:
                data = self._read_now()
            except BlockingIOError:
                continue  # another process was faster
            if len(data) == self._read_size:
                self._read_size = min(2 * self._read_size, MAX_READ_BYTES)
            return data

    def _read_now(self) -> Buffer:
        """Read what is there.

        A pipe may have another reader that was faster, so readiness is only a hint: where the
        kernel can be told not to wait, it is.  Terminals and older kernels cannot.
        """
        if self._has_nowait:
            buffer = bytearray(self._read_size)
            try:
                count = os.preadv(self._fd, [buffer], -1, os.RWF_NOWAIT)
            except OSError as error:
                if error.errno not in NOT_SUPPORTED:
                    raise
                self._has_nowait = False
            else:
                del buffer[count:]
                return buffer
        return os.read(self._fd, self._read_size)

    def _read_ahead(self, thread: DescriptorThread) -> bytes:
        if self._ahead is None:
            self._ahead = thread.start(os.read, thread.fd, MAX_READ_BYTES)
        # A kill in here leaves the read, and its bytes, to the next call.
        data: bytes | OSError = self._ahead.get()
        self._ahead = None
        if isinstance(data, OSError):
            raise data
        if data and self._reads_ahead:
            self._ahead = thread.start(os.read, thread.fd, MAX_READ_BYTES)
        return data


class ByteSink:
    """Writes a descriptor that the caller owns, in one greenlet at a time.

    Args:
        fd: an open descriptor; it is neither closed nor changed.  Writes go to a duplicate.
        name: what a person calls it; None where its number says that.

    Attributes:
        name: what a person calls it.
        keeps_parts: whether what was written stays where it is when the rest does not come.

    Raises:
        UsageError: the descriptor is closed.
    """

    keeps_parts = True

    def __init__(self, fd: int, name: str | None = None) -> None:
        self.name = name or _name(fd)
        self._bytes_written = 0
        self._is_regular = stat.S_ISREG(_mode(fd))
        self._is_pollable = _is_pollable(fd)
        self._thread = DescriptorThread(fd)
        self._fd = self._thread.fd

    @property
    def is_terminal(self) -> bool:
        """Whether a person may be reading at the other end."""
        return os.isatty(self._fd)

    @property
    def bytes_written(self) -> int:
        """Bytes that the kernel has taken so far."""
        return self._bytes_written

    def write(self, chunks: Sequence[Buffer]) -> None:
        """Write the chunks in order and return when the kernel has taken every byte.

        Blocks the calling greenlet only.  If that is killed meanwhile, the batch under way may
        still be written.  Do not change the chunks before the call has returned.

        Raises:
            SinkClosed: the reader is gone.
            SinkFailed: the kernel refused, for example because the disk is full.
        """
        for batch in batches(chunks):
            self._run(self._push, batch)
            while batch:  # the descriptor came non-blocking, and is full
                self._wait_writable()
                self._run(self._push, batch)

    def flush(self) -> None:
        """Surface the errors that a file system kept back; raises `SinkFailed`.

        Local file systems reserve the space in `write`.  Network file systems and quotas report
        when a descriptor is closed, so a duplicate is closed here: the promise of cp, 0.1 ms where
        nothing was kept back.  fsync would promise survival of a power cut, and cost a second for
        each 600 MB.  Pipes, sockets and terminals have nothing to flush.
        """
        if self._is_regular:
            self._run(_close_duplicate, self._fd)

    def wait_closed(self) -> None:
        """Wait until the reader of a pipe, socket or terminal has hung up.

        Waits for ever on what has no reader, such as a file.  An epoll set that asks for no event
        becomes readable only on an error or hang-up, which the hub waits for without waking up.
        The write that the hang-up cut short is counted before this returns.
        """
        if not self._is_pollable or not hasattr(select, "epoll"):
            Event().wait()
        hangup = select.epoll()
        try:
            hangup.register(self._fd, 0)
            watcher = get_hub().loop.io(hangup.fileno(), READABLE)
            try:
                get_hub().wait(watcher)
            finally:
                watcher.close()
        finally:
            hangup.close()
        self._thread.settle(CUT_WRITE_S)

    def close(self) -> None:
        """Let go of the duplicate and the thread; the caller's descriptor stays open.

        A reader sees the end of a pipe once both are closed.
        """
        self._thread.close()

    def _push(self, batch: list[memoryview]) -> None:
        """Write until the batch is empty or the descriptor would block; runs in the thread."""
        while batch:
            try:
                count = _write_some(self._fd, batch)
            except BlockingIOError:
                return
            self._bytes_written += count
            drop_front(batch, count)

    def _run(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        failure = self._thread.start(function, *args, **kwargs).get()
        if failure is not None:
            raise self._failed(failure) from failure

    def _wait_writable(self) -> None:
        if not self._is_pollable:
            raise self._failed(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        watcher = get_hub().loop.io(self._fd, WRITABLE)
        try:
            get_hub().wait(watcher)
        finally:
            watcher.close()

    def _failed(self, error: OSError) -> SinkClosed | SinkFailed:
        if error.errno in (WINDOWS_READER_GONE if sys.platform == "win32" else READER_GONE):
            return SinkClosed(self._bytes_written, self.name)
        return SinkFailed(self.name, reason_text(error), self._bytes_written)


def _name(fd: int) -> str:
    return STANDARD_NAMES.get(fd, f"descriptor {fd}")


def _missing(name: str) -> UsageError:
    return UsageError(
        f"{name} is closed; connect it to a file, a pipe or /dev/null", shows_help=False
    )


def _mode(fd: int) -> int:
    """Return the mode bits of an open descriptor; raises `UsageError` when it is closed."""
    try:
        return os.fstat(fd).st_mode
    except OSError as error:
        raise _missing(_name(fd)) from error


def reason_text(error: OSError) -> str:
    """Return the system's words about a descriptor or a file, as the rest of a sentence."""
    if error.errno == errno.EBADF:
        return "it is closed, or open only for the other direction"
    reason = error.strerror or str(error)
    return reason[:1].lower() + reason[1:]


def _is_pollable(fd: int) -> bool:
    """Tell whether readiness of the descriptor can be waited for.

    Without epoll (macOS), files and devices count as not pollable; on Windows nothing is.
    """
    if sys.platform == "win32":
        return False
    if not hasattr(select, "epoll"):
        mode = os.fstat(fd).st_mode
        return _is_stream(mode) or os.isatty(fd)
    with select.epoll() as probe:
        try:
            probe.register(fd, 0)
        except OSError:
            return False
    return True


def _is_stream(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _is_libuv() -> bool:
    return type(get_hub().loop).__module__.startswith("gevent.libuv")


def _write_some(fd: int, batch: list[memoryview]) -> int:
    """Write as much as the kernel takes at once; Windows takes one piece a call."""
    if hasattr(os, "writev"):
        return os.writev(fd, batch)
    return os.write(fd, batch[0])


def _close_duplicate(fd: int) -> None:
    os.close(os.dup(fd))
