"""Where a command takes its token from: argument, option, file, standard input, environment.

Exactly one source counts; the environment (DERPHOLE_TOKEN, DERPTUN_TOKEN) only when no other is
given.  A source that cannot be read is a usage error (exit 2), without the usage line.
"""

import os
import re
import select
import stat
from collections.abc import Sequence
from pathlib import Path

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.output import Output
from derphole.errors import UsageError
from derphole.status import Caution
from derphole.token.pasted import has_token, has_token_or_code

# Chosen: far above any token; a larger file is not a token file.
MAX_TOKEN_FILE_SIZE = 64 << 10
MAX_TOKEN_LINE_SIZE = 4096

ENVIRONMENT_NAMES = {"derphole": "DERPHOLE_TOKEN", "derptun": "DERPTUN_TOKEN"}
OPTION_NAMES = ("--token", "--token-file", "--token-stdin")
LABEL = re.compile(
    r"(token|code)[:=]?|derphole(@\S*)?|derptun(@\S*)?|npx|pipe|open|receive|recv|rx|ssh|accept",
    re.IGNORECASE,
)


def unlabelled(words: Sequence[str]) -> list[str]:
    """Return the words of a command line without what was pasted in front of a token.

    `derphole pipe derphole pipe TOKEN` and `derphole pipe token: TOKEN` mean `derphole pipe TOKEN`,
    and a code may be typed in several words.
    """
    if any(word[:1].isdecimal() for word in words[:-1]):
        from derphole.token.typed_code import joined_words

        words = joined_words(words, os.path.lexists)
    for place, word in enumerate(words):
        if has_token_or_code(word):
            return list(words[place:])
        if not LABEL.fullmatch(word):
            break
    return list(words)


def is_given_elsewhere(arguments: Arguments) -> bool:
    """Tell whether an option or the environment names a token."""
    if any(arguments.values.get(name) not in (None, False) for name in OPTION_NAMES):
        return True
    return bool(arguments.environ.get(ENVIRONMENT_NAMES[arguments.program], "").strip())


def token_text(
    arguments: Arguments,
    output: Output,
    argument: str | None = "TOKEN",
    *,
    warns_of_mode: bool = True,
) -> str:
    """Return the text of the token.

    Args:
        arguments: the command line and the environment.
        output: gets the warning about a token file that others can read.
        argument: name of the positional argument that may hold the token, if there is one.
        warns_of_mode: whether a token file that others can read is worth a warning.

    Raises `UsageError` when there is none, more than one, or an unreadable one.
    """
    names = ((argument,) if argument else ()) + OPTION_NAMES
    given = [name for name in names if arguments.values.get(name) not in (None, False)]
    listed = f"{', '.join(names[:-1])}, or {names[-1]}"
    if len(given) > 1:
        raise UsageError(f"at most one of {listed} may be set")
    if not given:
        text = arguments.environ.get(ENVIRONMENT_NAMES[arguments.program], "").strip()
        if not text:
            raise UsageError(f"exactly one of {listed} is required")
        return text
    match given[0]:
        case "--token-file":
            path = Path(arguments.text("--token-file") or "")
            return _from_file(path, output if warns_of_mode else None)
        case "--token-stdin":
            return _from_stdin(arguments.stdin_fd)
        case name:
            value = _not_empty(arguments.text(name) or "", name)
            if arguments.program == "derptun" and not has_token(value) and _is_file(value):
                raise UsageError(f"{value} is a file: use --token-file {value}", shows_help=False)
            return value


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _from_file(path: Path, output: Output | None) -> str:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(MAX_TOKEN_FILE_SIZE + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise _unreadable("--token-file", error) from error
    mode = stat.S_IMODE(status.st_mode)
    if output is not None and stat.S_ISREG(status.st_mode) and mode & 0o077:
        output.report(
            Caution(f"other users can use the token file {path} (mode {mode:04o}); run chmod 600")
        )
    if len(content) > MAX_TOKEN_FILE_SIZE:
        raise UsageError(f"--token-file: {path} is too large for a token", shows_help=False)
    return _not_empty(content.decode("utf-8", "replace"), "--token-file")


def _from_stdin(descriptor: int) -> str:
    """Read the first line byte by byte: what follows it is the stream."""
    line = bytearray()
    try:
        while (byte := _read_byte(descriptor)) not in (b"", b"\n"):
            line += byte
            if len(line) > MAX_TOKEN_LINE_SIZE:
                raise UsageError("--token-stdin: the first line is not a token", shows_help=False)
    except OSError as error:
        raise _unreadable("--token-stdin", error) from error
    return _not_empty(line.decode("utf-8", "replace"), "--token-stdin")


def _read_byte(descriptor: int) -> bytes:
    """Read one byte, also from a descriptor that somebody else made non-blocking."""
    while True:
        try:
            return os.read(descriptor, 1)
        except BlockingIOError:
            select.select([descriptor], [], [])


def _not_empty(text: str, source: str) -> str:
    text = text.strip()
    if not text:
        raise UsageError(f"{source} is empty", shows_help=False)
    return text


def _unreadable(source: str, error: OSError | ValueError) -> UsageError:
    reason = error.strerror if isinstance(error, OSError) else None
    return UsageError(f"read {source}: {reason or error}", shows_help=False)
