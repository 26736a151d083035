"""One file that is sent: read from an offset on, a block ahead, and again by pieces.

The descriptor is open from the beginning, so that what was named is what is sent, whatever takes
its name meanwhile.
"""

import os
import stat
from typing import TYPE_CHECKING

from xxhash import xxh3_128

from derphole.edges.source_tree import OPEN_FILE
from derphole.edges.stdio import reason_text
from derphole.edges.worker import Failure, Worker, settled
from derphole.errors import SourceFailed, SourceUnusable
from derphole.transfer.entries import Change
from derphole.transfer.names import shown
from tunnel.net.threads import in_thread
from tunnel.units import MIB, Buffer, ByteCount

if TYPE_CHECKING:
    from gevent.event import AsyncResult

# Chosen.
READ_BYTES: ByteCount = MIB


class OneFile:
    """A regular file, open for reading; for one greenlet that reads on, and one that reads pieces.

    Attributes:
        status: as it was when it was opened.
        shown: what a person calls it.

    Args:
        path: of the file; a link is followed.

    Raises:
        SourceUnusable: it cannot be opened, or is no regular file.
    """

    def __init__(self, path: bytes) -> None:
        self.shown = shown(path)
        try:
            self._fd: int = in_thread(os.open, path, OPEN_FILE)
        except OSError as error:
            raise SourceUnusable(self.shown, reason_text(error)) from error
        self.status = os.fstat(self._fd)
        if not stat.S_ISREG(self.status.st_mode):
            os.close(self._fd)
            raise SourceUnusable(self.shown, "it is not a regular file")
        self._at: ByteCount = 0
        self._worker = Worker()
        self._piece_worker = Worker()
        self._ahead: AsyncResult[bytes | Failure] | None = None

    @property
    def read_size(self) -> ByteCount:
        """Up to where it was read."""
        return self._at

    def begin(self, offset: ByteCount) -> None:
        """Read from there on."""
        self._at = offset

    def read(self) -> Buffer:
        """Return the next bytes, 1 MiB at most; b'' at the end that it had when it was opened.

        Raises `SourceFailed`.
        """
        if self._ahead is None:
            self._ahead = self._start()
        try:
            data: bytes = settled(self._ahead.get())
        except OSError as error:
            raise SourceFailed(self.shown, reason_text(error)) from error
        self._at += len(data)
        self._ahead = self._start() if data else None
        return data

    def _start(self) -> "AsyncResult[bytes | Failure]":
        size = max(0, min(READ_BYTES, self.status.st_size - self._at))
        return self._worker.start(os.pread, self._fd, size, self._at)

    def piece(self, offset: ByteCount, size: ByteCount) -> bytes | None:
        """Return a stretch of it, shorter at its end; None where it cannot be read."""
        try:
            return self._piece_worker.call(read_stretch, self._fd, offset, size)
        except OSError:
            return None

    def digest(self) -> bytes | None:
        """Return the digest of what it has now; None where it cannot be read."""
        try:
            return self._piece_worker.call(content_digest, self._fd)
        except OSError:
            return None

    def change(self) -> Change | None:
        """Tell what befell it since it was opened, once it was read to its end."""
        status = os.fstat(self._fd)
        if self._at < self.status.st_size:
            return Change.SHRANK
        if status.st_size > self.status.st_size:
            return Change.GREW
        return Change.WRITTEN if status.st_mtime_ns != self.status.st_mtime_ns else None

    def close(self) -> None:
        """Let go of descriptor and threads."""
        self._worker.close(lambda: None)
        self._piece_worker.close(lambda: os.close(self._fd))


def content_digest(fd: int) -> bytes:
    """Return the digest of all that a file has from its beginning on.  Blocks."""
    digest, at = xxh3_128(), 0
    while data := os.pread(fd, READ_BYTES, at):
        digest.update(data)
        at += len(data)
    return digest.digest()


def read_stretch(fd: int, offset: ByteCount, size: ByteCount) -> bytes:
    """Return the bytes of a file from an offset on, fewer at its end only.  Blocks."""
    parts: list[bytes] = []
    while size and (data := os.pread(fd, size, offset)):
        parts.append(data)
        offset += len(data)
        size -= len(data)
    return b"".join(parts)
