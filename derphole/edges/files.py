"""Files that a person names: one to read from, one to write to that is whole or not there.

    named                               written to
    nothing, or a regular file          a new file beside it, which gets the name in the end
    a device, a named pipe              itself; it has no name to lose

What is written has the name `.NAME.RANDOM.part` until `flush`, which comes once size and digest
agree.  A process that is killed leaves that file behind; any other end removes it.  A symbolic link
is followed, as a shell does: what it points to is written, and the link stays.

Whatever opens, links or renames may block for long (a network file system, a named pipe without its
other end) and so runs in a thread.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from derphole.edges.stdio import ByteSink, ByteSource, reason_text
from derphole.errors import OutputExists, SinkFailed, UsageError
from tunnel.net.threads import in_thread

# Chosen: a name has 255 bytes at most, and ours is longer than the one it stands for.
MAX_KEPT_NAME = 200
RANDOM_BYTES = 4


class FileSource(ByteSource):
    """A file that is read from its beginning.

    Args:
        path: as it was given.

    Raises:
        UsageError: it cannot be opened, or is a directory.
    """

    def __init__(self, path: str) -> None:
        self._own_fd = _opened(path, os.O_RDONLY, "read")
        try:
            super().__init__(self._own_fd, path)
        except UsageError:
            os.close(self._own_fd)
            raise

    def close(self) -> None:
        """Close the file."""
        super().close()
        os.close(self._own_fd)


def file_sink(path: str, *, overwrites: bool) -> "OpenedSink":
    """Return what writes the file of this name.

    Args:
        path: as it was given.
        overwrites: whether a regular file that is there may be replaced.

    Raises:
        OutputExists: there is a file, and it may not be replaced.
        UsageError: nothing can be written there.
    """
    try:
        status = in_thread(os.stat, path)
    except FileNotFoundError as error:
        if path.endswith(os.sep):
            raise _unusable(path, "write", error) from error
        return NewFile(path, None)
    except OSError as error:
        raise _unusable(path, "write", error) from error
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path} is a directory; name a file in it", shows_help=False)
    if not stat.S_ISREG(status.st_mode):
        return OpenedSink(_opened(path, os.O_WRONLY, "write"), path)
    if not overwrites:
        raise OutputExists(path)
    return NewFile(path, stat.S_IMODE(status.st_mode))


class OpenedSink(ByteSink):
    """A sink that owns its descriptor.

    Args:
        fd: open; closed at the end.
        name: what a person calls it.
    """

    def __init__(self, fd: int, name: str) -> None:
        self._own_fd = fd
        super().__init__(fd, name)

    def close(self) -> None:
        """Close it."""
        super().close()
        os.close(self._own_fd)


class NewFile(OpenedSink):
    """A file that has its name only once it is whole.

    Args:
        path: the name it gets, as it was given.
        replaced_mode: the permissions of the file that it replaces; None where there is none, and
            then one that appears meanwhile is left as it is.

    Raises:
        UsageError: no file can be made there.
    """

    keeps_parts = False

    def __init__(self, path: str, replaced_mode: int | None) -> None:
        self._replaces = replaced_mode is not None
        self._final = Path(os.path.realpath(path))
        self._part: Path | None = self._final.with_name(_part_name(self._final.name))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        fd = _opened(path, flags, "write", at=self._part)
        if replaced_mode is not None:
            with suppress(OSError):  # a file system without permissions
                os.fchmod(fd, replaced_mode)
        super().__init__(fd, path)

    def flush(self) -> None:
        """Keep what was written, and give it its name; raises `OutputExists`, `SinkFailed`."""
        super().flush()
        try:
            in_thread(self._give_name)
        except FileExistsError as error:
            raise OutputExists(self.name) from error
        except OSError as error:
            raise SinkFailed(self.name, reason_text(error), self.bytes_written) from error
        self._part = None

    def close(self) -> None:
        """Close it, and remove what has not got its name."""
        super().close()
        if self._part is not None:
            with suppress(OSError):
                self._part.unlink()

    def _give_name(self) -> None:
        assert self._part is not None
        if self._replaces:
            self._part.replace(self._final)
            return
        try:
            os.link(self._part, self._final)  # unlike a rename, it replaces nothing
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if os.path.lexists(self._final):
                raise FileExistsError from None
            self._part.rename(self._final)
        else:
            self._part.unlink()


def _part_name(name: str) -> str:
    kept = os.fsdecode(os.fsencode(name)[:MAX_KEPT_NAME])
    return f".{kept}.{os.urandom(RANDOM_BYTES).hex()}.part"


def _opened(path: str, flags: int, purpose: str, at: Path | None = None) -> int:
    """Open `at`, or the path itself; raises `UsageError` with the path as it was given."""
    try:
        return in_thread(os.open, at or path, flags | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _unusable(path, purpose, error) from error


def _unusable(path: str, purpose: str, error: OSError) -> UsageError:
    return UsageError(f"cannot {purpose} {path}: {reason_text(error)}", shows_help=False)
