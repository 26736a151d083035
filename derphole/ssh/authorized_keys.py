"""The text of an authorized_keys file: whether a key is in it, and the text with the key.

sshd takes the first line that has the key and lets it in, and its options count: a key that stands
behind options stays restricted, whatever follows.  Keys are compared by themselves, never by their
comments.  Nothing of what is there is changed, but that a last line without an end gets one: the
key would become part of it.  Pure.  Source: sshd(8), "AUTHORIZED_KEYS FILE FORMAT".
"""

import re
from collections.abc import Iterator
from enum import Enum

from derphole.ssh.public_key import BLANKS, KeyUnusable, PublicKey, parse_line
from tunnel.units import ByteCount

MARK = b"\xef\xbb\xbf"  # the byte order mark of UTF-8, which sshd takes for a part of the line
QUOTED = re.compile(rb'"(?:\\"|[^"])*"')
# Chosen: ten thousand lines of the longest keys, several times over.
MAX_FILE: ByteCount = 64 << 20


class Standing(Enum):
    """Whether a key lets anybody in."""

    ABSENT = "absent"
    PRESENT = "present"
    RESTRICTED = "restricted"


def standing(contents: bytes, key: PublicKey) -> Standing:
    """Tell how a key stands in a file."""
    for options, found in _keys(contents):
        if found.blob == key.blob and not _is_of_authority(options):
            return Standing.RESTRICTED if options else Standing.PRESENT
    return Standing.ABSENT


def with_key(contents: bytes, key: PublicKey) -> bytes:
    """Return the contents with a key behind them, ended as the lines of the file are."""
    end = b"\r\n" if _ends_with_returns(contents) else b"\n"
    gap = b"" if not contents or contents.endswith(b"\n") else end
    return b"".join((contents, gap, key.line.encode(), end))


def spoilt_key(contents: bytes) -> PublicKey | None:
    """Return the key that lets nobody in since a byte order mark stands before it, if any."""
    if not contents.startswith(MARK):
        return None
    line = contents.removeprefix(MARK).partition(b"\n")[0]
    return next((key for _, key in _keys(line)), None)


def _ends_with_returns(contents: bytes) -> bool:
    first, newline, _ = contents.partition(b"\n")
    return bool(newline) and first.endswith(b"\r")


def _keys(contents: bytes) -> Iterator[tuple[bytes, PublicKey]]:
    """Yield options and key of each line that sshd finds a key in."""
    for line in contents.split(b"\n"):
        text = line.strip(BLANKS)
        if not text or text.startswith(b"#"):
            continue
        key = _key(text)
        if key is not None:
            yield b"", key
            continue
        options, _, rest = _without_options(text)
        key = _key(rest)
        if key is not None:
            yield options, key


def _is_of_authority(options: bytes) -> bool:
    """Tell whether a line lets in by certificates of its key, and not by the key itself."""
    flags = QUOTED.sub(b"", options).lower().split(b",")
    return b"cert-authority" in flags


def _key(text: bytes) -> PublicKey | None:
    try:
        return parse_line(text)
    except KeyUnusable:
        return None


def _without_options(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Split behind the options: at the first blank that is in no quotes.

    A quote with a backslash before it is none, whatever stands before the backslash.
    """
    is_quoted = False
    for at, byte in enumerate(text):
        if not is_quoted and byte in BLANKS:
            return text[:at], text[at : at + 1], text[at:].lstrip(BLANKS)
        if byte == ord('"') and text[at - 1 : at] != b"\\":
            is_quoted = not is_quoted
    return text, b"", b""
