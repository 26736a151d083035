"""WatchedFiles: the server token and the revocations of `serve`, read again when they change.

What cannot be read any more keeps its last meaning, and is told: a revocation is never forgotten
since a file is damaged or away.
"""

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
Look = tuple[int, int, int, int] | None  # what tells one state of a file from another


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
        self._seen = in_thread(_look_at_all, self._paths)
        self._told: dict[str, str] = {}
        if revocations_file is not None:
            self.revoked = in_thread(read_revocations, revocations_file)

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
        """Read one file; tells whether it could be read."""
        try:
            read(path)
        except OSError as error:
            self._tell(path, reason_text(error))
        except DerpholeError as error:
            self._tell(path, error.sentence)
        else:
            self._told.pop(path, None)
            return True
        return False

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

    def _read_revocations(self, path: str) -> None:
        if self.revoked and self._seen[path] is None:
            self._tell(path, "it is gone; what was revoked stays revoked")
            return
        self.revoked = in_thread(read_revocations, path)

    def _tell(self, path: str, reason: str) -> None:
        """Say once what is wrong with a file."""
        if self._told.get(path) != reason:
            self._told[path] = reason
            self._report(Caution(f"{path} is not used as it is now: {reason}"))


def read_revocations(path: str) -> frozenset[bytes]:
    """Return the revoked ids; none without a file.  Raises `RevocationsUnusable`; blocks."""
    try:
        return parse_revocations(read_text(path, MAX_FILE_SIZE).text)
    except FileNotFoundError:
        return frozenset()
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
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
