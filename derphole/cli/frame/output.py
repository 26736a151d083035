"""What people and programs see: lines or JSON events on standard error, payload on standard output.

    level     tokens, instructions, addresses, errors   notices, waiting, receipts   states, debug
    quiet     shown
    normal    shown                                     shown
    verbose   shown                                     shown                        shown

Lines go out through a thread of their own, so that a standard error nobody reads stalls nothing.
Text may come from the other side: every control character is escaped here.
"""

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from derphole.cli.frame.descriptors import is_unread, write_text
from derphole.cli.frame.writer import Bar, LineWriter
from derphole.errors import (
    DerpholeError,
    Interrupted,
    SinkClosed,
    SinkFailed,
    UsageError,
    utc_text,
)
from derphole.status import JsonValue, Level, Status
from tunnel.units import WallTime

# Chosen: at the end, how long a stalled standard error may hold us before its lines are lost.
LAST_LINES_S = 2.0


class Output:
    """Everything a command says goes through here.

    Args:
        stdout: where payload text goes; None when the descriptor is closed.
        stderr: where everything else goes; None when the descriptor is closed.
        clock: wall clock for the time of events.
        level: how much is said.
        is_json: one JSON event a line instead of lines for people.

    Attributes:
        is_on_terminal: whether standard error is a terminal, where a person reads.
    """

    def __init__(
        self,
        stdout: TextIO | None,
        stderr: TextIO | None,
        clock: Callable[[], WallTime],
        level: Level = Level.NORMAL,
        is_json: bool = False,
    ) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._lines = LineWriter(stderr)
        self._log: LineWriter | None = None
        self._is_muted = False
        self.is_on_terminal = stderr is not None and stderr.isatty()
        self._clock = clock
        self.level = level
        self.is_json = is_json

    @property
    def has_stdout(self) -> bool:
        """Whether there is a standard output."""
        return self._stdout is not None

    @property
    def has_reader(self) -> bool:
        """Whether somebody may read what goes to standard error."""
        return self._stderr is not None and not is_unread(self._stderr)

    def log_to(self, log: TextIO) -> None:
        """Write every line to a file, too, behind the time; it is written to until the end."""
        self._log = LineWriter(log)

    def mute(self) -> None:
        """Say nothing more on standard error, where a program may take it for something else.

        A person at a terminal, and who asked for everything, is told all the same.
        """
        self._is_muted = not self.is_on_terminal and self.level < Level.VERBOSE

    def report(self, status: Status) -> None:
        """Show a status, if the level asks for it; never blocks."""
        # Programs get states and paths at the usual level already.
        needed = min(status.level, Level.NORMAL) if self.is_json else status.level
        if self.level < needed:
            return
        is_vital = status.level is Level.QUIET
        if self.is_json:
            self._event(status.event, status.keys, is_vital=is_vital)
            return
        details = status.details if self.level is Level.VERBOSE else None
        for line in (status.sentence, details):
            if line is not None:
                self._write(escaped(line), is_vital=is_vital)

    def picture(self, rows: Sequence[str]) -> None:
        """Show rows that we drew ourselves, colours included, where a person reads."""
        if self.is_on_terminal and not self.is_json:
            for row in rows:
                self._lines.write(row, is_vital=True)

    def draw(self, bar: Bar) -> None:
        """Show a bar in the last row of a terminal, below all lines; never blocks."""
        self._lines.draw(bar)

    def debug(self, text: str) -> None:
        """Show a debug line at the verbose level."""
        if self.level < Level.VERBOSE:
            return
        if self.is_json:
            self._event("debug", {"message": text})
        else:
            self._write(escaped(text))

    def error(self, error: DerpholeError | Interrupted, details: str | None = None) -> None:
        """Show why the command fails; `details` are further lines for a developer."""
        hint = error.hint if isinstance(error, UsageError) else None
        self.failure(error.code, error.sentence, error.exit_code, hint=hint, details=details)

    def failure(
        self,
        code: str,
        text: str,
        exit_code: int,
        *,
        hint: str | None = None,
        details: str | None = None,
    ) -> None:
        """Show a failure that is told by its code and its sentence."""
        if self.is_json:
            keys: dict[str, JsonValue] = {"code": code, "message": text, "exit_code": exit_code}
            if details is not None:
                keys["details"] = details
            self._event("error", keys, is_vital=True)
            return
        more = (details or "").splitlines()
        for line in (text, *([hint] if hint else []), *more):
            self._write(escaped(line), is_vital=True)

    def usage_after_error(self, *lines: str) -> None:
        """Show what follows a usage error; programs that read JSON get nothing."""
        for line in () if self.is_json else lines:
            self._write(escaped(line), is_vital=True)

    def payload_line(self, text: str) -> None:
        """Write a line to standard output and flush it; blocks.

        Raises `SinkClosed` or `SinkFailed`.
        """
        if self._stdout is None:
            raise SinkClosed(0)
        try:
            write_text(self._stdout, text + "\n")
        except BrokenPipeError as error:
            raise SinkClosed(0) from error
        except OSError as error:
            raise SinkFailed("standard output", error.strerror or str(error)) from error

    def close(self) -> None:
        """Write what is left, for two seconds at most."""
        self._lines.close(LAST_LINES_S)
        if self._log is not None:
            self._log.close(LAST_LINES_S)

    def _write(self, line: str, *, is_vital: bool = False) -> None:
        if not self._is_muted:
            self._lines.write(line, is_vital=is_vital)
        if self._log is not None:
            self._log.write(f"{utc_text(self._clock())} {line}", is_vital=is_vital)

    def _event(self, name: str, keys: Mapping[str, JsonValue], *, is_vital: bool = False) -> None:
        event = {"event": name, "time": round(self._clock(), 3), **keys}
        self._write(json.dumps(event), is_vital=is_vital)


def escaped(text: str) -> str:
    r"""Return `text` as one line without control, format and lone surrogate characters.

    They are written as \x1b or \u202e, so that no text of the other side moves the cursor, hides
    letters or fakes a line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if _is_plain(letter) else _spelled(letter) for letter in text)


def _is_plain(letter: str) -> bool:
    return unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _spelled(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")
