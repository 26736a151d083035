"""WatchedFiles: the server token and the revocations of `serve`, read again when they change.

What cannot be read any more keeps its last meaning, is told, and is tried again: a revocation is
never forgotten since a file is damaged, empty or away, nor missed since clients hold all
descriptors.
"""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from derphole.derptun.minting import server_id
from derphole.derptun.revocations import MAX_FILE_SIZE, RevocationsUnreadable, parse_revocations
from derphole.edges.private_file import read_text
from derphole.edges.stdio import reason_text
from derphole.errors import DerpholeError, RevocationsUnusable
from derphole.status import Caution, Report
from derphole.token.pasted import pasted_token
from derphole.token.text import ServerToken
from derphole.token.validity import check_server
from tunnel.net.threads import in_thread
from tunnel.units import ByteCount

MAX_TOKEN_SIZE: ByteCount = 64 << 10
Look = tuple[int, ...] | None  # what tells one state of a file from another
NO_MORE_FILES = (errno.EMFILE, errno.ENFILE)


class WatchedFiles:
    """What is read again.

    Args:
        server: the token that is served.
        token_file: where it came from; None where it cannot be read again.
        revocations_file: of revoked tokens, which need not exist; None for none.
        report: told of what cannot be read any more.

    Attributes:
        server: the token as it was read last.
        revoked: ids of client tokens that are good no more.

    Raises `RevocationsUnusable`: a server does not begin without knowing whom to refuse.
    """

    def __init__(
        self,
        server: ServerToken,
        token_file: str | None,
        revocations_file: str | None,
        report: Report,
    ) -> None:
        self.server = server
        self.revoked: frozenset[bytes] = frozenset()
        self._token_file = token_file
        self._revocations_file = revocations_file
        self._report = report
        self._paths = [path for path in (token_file, revocations_file) if path is not None]
        self._seen: dict[str, Look] = {}  # the first look reads all: the token may have changed
        self._told: dict[str, str] = {}
        self._spare = os.open(os.devnull, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        if revocations_file is not None:
            revoked: frozenset[bytes] | None = in_thread(read_revocations, revocations_file)
            self.revoked = revoked or frozenset()

    def close(self) -> None:
        """Let go of the descriptor that is kept for when there are no others."""
        os.close(self._spare)

    def forget(self) -> None:
        """Have the next look read everything, changed or not."""
        self._seen.clear()

    def look(self) -> bool:
        """Read what has changed since the last look; tells whether anything may have."""
        if not self._paths:
            return False
        before, self._seen = self._seen, in_thread(_look_at_all, self._paths)
        changed = [path for path in self._paths if before.get(path, ()) != self._seen[path]]
        has_read = False
        for path in changed:
            is_token = path == self._token_file
            has_read |= self._read(path, self._read_token if is_token else self._read_revocations)
        return has_read

    def _read(self, path: str, read: Callable[[str], None]) -> bool:
        """Read one file; tells whether it could be read, else the next look tries again."""
        try:
            self._with_spare(read, path)
        except OSError as error:
            self._tell(path, reason_text(error))
        except RevocationsUnusable as error:
            self._tell(path, error.reason)
        except DerpholeError as error:
            self._tell(path, error.sentence)
        else:
            return True
        self._seen.pop(path, None)
        return False

    def _with_spare(self, read: Callable[[str], None], path: str) -> None:
        """Read with the spare descriptor where clients hold all the others."""
        try:
            read(path)
        except (OSError, RevocationsUnusable) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in NO_MORE_FILES:
                raise
            os.close(self._spare)
            try:
                read(path)
            finally:
                self._spare = os.open(os.devnull, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def _read_token(self, path: str) -> None:
        server = check_server(pasted_token(in_thread(read_text, path, MAX_TOKEN_SIZE).text))
        if server.seed != self.server.seed:
            self._tell(
                path,
                f"it holds the token of another server now, {server_id(server)}, which takes a "
                "new start",
            )
            return
        self.server = server
        self._told.pop(path, None)

    def _read_revocations(self, path: str) -> None:
        revoked: frozenset[bytes] | None = in_thread(read_revocations, path)
        if revoked is None and self.revoked:
            self._tell(path, "it is empty or gone, and what was revoked stays revoked")
            return
        self.revoked = revoked or frozenset()
        self._told.pop(path, None)

    def _tell(self, path: str, reason: str) -> None:
        """Say once what is wrong with a file."""
        if self._told.get(path) != reason:
            self._told[path] = reason
            self._report(Caution(f"{path} is not used as it is now: {reason}"))


def read_revocations(path: str) -> frozenset[bytes] | None:
    """Return the revoked ids; None without a file, or with nothing in it.  Blocks.

    Raises `RevocationsUnusable`.
    """
    try:
        text = read_text(path, MAX_FILE_SIZE).text
        return parse_revocations(text) if text.strip() else None
    except FileNotFoundError:
        return None
    except RevocationsUnreadable as error:
        raise RevocationsUnusable(path, str(error)) from error
    except OSError as error:
        raise RevocationsUnusable(path, reason_text(error)) from error


def _look_at_all(paths: Sequence[str]) -> dict[str, Look]:
    """Return what changes with each of the files.  Blocks."""
    return {path: _look_at(path) for path in paths}


def _look_at(path: str) -> Look:
    """Return what changes with a file; None where there is none.  Blocks."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    times = (status.st_mtime_ns, status.st_ctime_ns)  # the second changes with mode and owner
    return status.st_dev, status.st_ino, status.st_size, *times
