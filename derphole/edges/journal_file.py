"""The journal of a receiver on disk: read back, cut where it is damaged, appended to.

It lies beside what it is about, named `.NAME.derphole`, mode 0600, and is opened through no link.
Whoever has it open has it locked: of two that receive the same name into one folder, the second
would write over what the first writes.
A file of that name that is no journal of this user is left alone.  It is a `Recorder` for who
writes a tree; call `flush` behind everything that was written in one go.  All calls block.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from derphole.edges.destination import NO_LINK, PRIVATE_FILE
from derphole.edges.extraction import WORTH_BYTES
from derphole.edges.stdio import reason_text
from derphole.errors import PartialUnusable
from derphole.transfer.entries import Entry
from derphole.transfer.journal import (
    Begun,
    Finished,
    JournalReader,
    JournalWriter,
    OfferKept,
    Record,
    Replay,
    TokenKept,
)
from derphole.transfer.names import shown
from tunnel.errors import DecodeError
from tunnel.units import KIB, ByteCount

# Chosen.
READ_BYTES: ByteCount = 256 * KIB
TAKEN = "another process is receiving the same name here"
TAKEN_STEP = "wait for it or end it, or choose another place with -o"
FLUSH_BYTES: ByteCount = 32 * KIB  # many small files are kept in mind together


class JournalFile:
    """A journal in an open folder, for one thread; also the `Recorder` of who writes a tree.

    Attributes:
        replay: what an earlier run left; nothing where there was no journal.
        is_there: whether there is one.

    Args:
        folder: descriptor of the folder; it stays the caller's.
        name: of the journal.

    Raises:
        PartialUnusable: something else has its name.
    """

    def __init__(self, folder: int, name: bytes) -> None:
        self.replay = Replay()
        self._folder = folder
        self._name = name
        self._fd = -1
        self._writer = JournalWriter()
        self._pending = bytearray()
        self._worth: ByteCount = 0  # bytes of the entries in it
        try:
            self._fd = os.open(name, os.O_RDWR | os.O_NONBLOCK | NO_LINK, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise PartialUnusable(shown(name), reason_text(error)) from error
        try:
            self._lock()
            if not os.fstat(self._fd).st_nlink:  # its owner has finished meanwhile
                self.close()
                return
            self._read()
        except BaseException:
            self.close()
            raise

    @property
    def is_there(self) -> bool:
        """Whether there is a journal on disk."""
        return self._fd >= 0

    def finished_entries(self) -> Iterator[Entry]:
        """Yield the entries that are finished, read anew."""
        for record in self._records():
            if isinstance(record, Finished) and record.entry.key not in self.replay.begun:
                yield record.entry

    def begin(self, offer: OfferKept, token: TokenKept | None) -> None:
        """Begin a new journal in place of what is there; raises `OSError`."""
        if self._fd >= 0:  # ours, and locked
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        else:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK
            try:
                self._fd = os.open(self._name, flags, PRIVATE_FILE, dir_fd=self._folder)
            except FileExistsError as error:
                raise PartialUnusable(shown(self._name), TAKEN, TAKEN_STEP) from error
            self._lock()
        self._writer = JournalWriter()
        self._pending += self._writer.begin()
        self._append(offer)
        if token is not None:
            self._append(token)
        self.flush()

    def go_on(self, token: TokenKept | None) -> None:
        """Append to what is there; raises `OSError`."""
        if token is not None:
            self._append(token)
        self.flush()

    # -- the recorder ---------------------------------------------------------------------------

    def note_begun(self, entry: Entry) -> None:
        """Keep that an entry begins, whatever its size."""
        self._append(Begun(entry))

    def began(self, entry: Entry, offset: ByteCount) -> None:
        """A file begins at an offset; of a small one, what came of it is not worth a record.

        How many bytes of it are there is told by its temporary file.
        """
        if not offset and entry.size >= WORTH_BYTES:
            self._append(Begun(entry), worth=entry.size)

    def finished(self, entry: Entry) -> None:
        """An entry is complete under its temporary name, and gets its own next."""
        self._append(Finished(entry), worth=entry.size)

    def flush(self) -> None:
        """Hand everything to the system, which keeps it when this process is killed."""
        view = memoryview(bytes(self._pending))
        self._pending.clear()
        self._worth = 0
        while view:
            view = view[os.write(self._fd, view) :]

    def remove(self) -> None:
        """Remove the journal: nothing is left to go on with; raises `OSError`."""
        self._pending.clear()
        if self._fd >= 0:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder)
        self.close()

    def close(self) -> None:
        """Let go of the descriptor."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def _lock(self) -> None:
        import fcntl  # late: Windows has none

        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PartialUnusable(shown(self._name), TAKEN, TAKEN_STEP) from error
        except OSError:  # a file system without locks
            return

    def _append(self, record: Record, worth: ByteCount = 0) -> None:
        """Append a record; it is handed over at once if much would come again without it."""
        self._pending += self._writer.append(record)
        self._worth += worth
        if self._worth >= WORTH_BYTES or len(self._pending) >= FLUSH_BYTES:
            self.flush()

    def _read(self) -> None:
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise PartialUnusable(shown(self._name), "it is no journal of yours")
        reader = JournalReader()
        try:
            for record in self._records(reader):
                self.replay.take(record)
        except DecodeError as error:
            raise PartialUnusable(shown(self._name), f"it is no journal: {error}") from error
        os.ftruncate(self._fd, reader.valid_size)
        os.lseek(self._fd, 0, os.SEEK_END)
        self._writer = reader.writer()

    def _records(self, reader: JournalReader | None = None) -> Iterator[Record]:
        reader = reader or JournalReader()
        offset = 0
        while data := os.pread(self._fd, READ_BYTES, offset):
            offset += len(data)
            yield from reader.feed(data)
        reader.finish()
