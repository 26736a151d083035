"""What an earlier run left below a folder: temporary files, found by the path of their entry.

No link is followed on the way to them.  All calls block.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from derphole.edges.destination import NO_LINK, OPEN_FOLDER, is_like, present
from derphole.edges.one_file import content_digest
from derphole.edges.partial_file import give_name
from derphole.transfer.entries import Entry, EntryType
from derphole.transfer.names import PART_SUFFIX, System, local_part, part_name
from derphole.transfer.placing import Present
from tunnel.units import ByteCount


class LeftBehind:
    """Looks for what is left of entries.

    Args:
        root: descriptor of the folder; it stays the caller's.
        system: whose rules for names hold.
        top_names: what the outermost entries are called here, where that was decided before.
    """

    def __init__(
        self,
        root: int,
        *,
        system: System = System.LINUX,
        top_names: Mapping[bytes, bytes] | None = None,
    ) -> None:
        self._root = root
        self._system = system
        self._top_names = top_names or {}

    def held(self, path: bytes) -> ByteCount:
        """Return how many bytes of a file its temporary file has; 0 where that is of no use."""
        fd = self.open(path)
        if fd is None:
            return 0
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def open(self, path: bytes) -> int | None:
        """Open the temporary file of a file for reading; None where there is none of ours."""
        with suppress(OSError), self._place(path) as (folder, name):
            fd = os.open(part_name(name), os.O_RDONLY | os.O_NONBLOCK | NO_LINK, dir_fd=folder)
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                return fd
            os.close(fd)
        return None

    def stands(self, entry: Entry) -> bool:
        """Tell whether an entry that is finished is there as it was; names a file that has none."""
        with suppress(OSError), self._place(entry.path) as (folder, name):
            there = present(folder, name)
            is_nameless = entry.type is EntryType.FILE and there is Present.NOTHING
            if is_nameless and is_like(folder, part_name(name), Present.FILE, entry):
                give_name(folder, part_name(name), name, replaces=False)
                there = Present.FILE
            return is_like(folder, name, there, entry)
        return False

    def digest(self, path: bytes) -> bytes | None:
        """Return the digest of a file that has its name; None where it cannot be read."""
        with suppress(OSError), self._place(path) as (folder, name):
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | NO_LINK, dir_fd=folder)
            try:
                return content_digest(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
            finally:
                os.close(fd)
        return None

    def forget(self, path: bytes) -> None:
        """Remove the temporary file of a file; raises `OSError`."""
        with suppress(FileNotFoundError, NotADirectoryError), self._place(path) as (folder, name):
            os.unlink(part_name(name), dir_fd=folder)

    def sweep(self, path: bytes) -> ByteCount:
        """Remove every temporary file below a folder; returns how many bytes they had.

        Of small files that were begun no journal tells.
        """
        size: ByteCount = 0
        with suppress(OSError), self._place(path) as (folder, name):
            top = os.open(name, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            try:
                for _, _, names, fd in os.fwalk(b".", dir_fd=top):
                    for part in names:
                        if part.startswith(b".") and part.endswith(PART_SUFFIX):
                            size += os.stat(part, dir_fd=fd, follow_symlinks=False).st_size
                            os.unlink(part, dir_fd=fd)
            finally:
                os.close(top)
        return size

    @contextmanager
    def _place(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Open the folder of an entry; give its descriptor and the entry's name in it."""
        top, *parts = path.split(b"/")
        local = [local_part(self._top_names.get(top, top), self._system)]
        local += [local_part(part, self._system) for part in parts]
        folder = os.dup(self._root)
        try:
            for part in local[:-1]:
                inner = os.open(part, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder, local[-1]
        finally:
            os.close(folder)
