"""Revocations: the text of the file that says which client tokens are good no more.

    one id a line, 16 hexadecimal digits; after blanks, anything; `#` begins a comment

Pure; knows nothing about files.
"""

import re

from derphole.token.grant import GRANT_ID_SIZE

LINE = re.compile(rf"([0-9A-Fa-f]{{{2 * GRANT_ID_SIZE}}})(?:\s.*)?")
# Chosen: tens of thousands of ids.
MAX_FILE_SIZE = 4 << 20


class RevocationsUnreadable(ValueError):
    """A line is no id; its text goes on from "line N"."""


def parse_revocations(text: str) -> frozenset[bytes]:
    """Return the grant ids in a file; raises `RevocationsUnreadable`."""
    ids = set()
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip() if line.lstrip().startswith("#") else line.strip()
        if not line:
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise RevocationsUnreadable(f"line {number} does not begin with the id of a token")
        ids.add(bytes.fromhex(match[1]))
    return frozenset(ids)


def with_revocation(text: str, grant_id: bytes, comment: str) -> str:
    """Return the text with one id more.

    Args:
        text: of the file so far.
        grant_id: of the client token.
        comment: printable, on one line; "" for none.
    """
    gap = "" if not text or text.endswith("\n") else "\n"
    about = f"  # {comment}" if comment else ""
    return f"{text}{gap}{grant_id.hex()}{about}\n"
