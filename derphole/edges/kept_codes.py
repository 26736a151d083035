"""Which token a code has led to, as the journals of broken transfers tell.

A code's meeting closes once it is used, so the same command, started again, goes on by the token
that was kept.  Reads without locks: the journal may be in use.  Blocks.
"""

import os
import stat
from contextlib import suppress

from derphole.edges.destination import NO_LINK
from derphole.edges.kept_state import KeptState
from derphole.transfer.journal import JournalReader, Replay
from tunnel.errors import DecodeError
from tunnel.units import MIB, ByteCount, WallTime

READ_BYTES: ByteCount = 1 << 16
MAX_BYTES: ByteCount = 16 * MIB  # of one journal


def kept_token(state: KeptState, code: str, now: WallTime) -> str | None:
    """Return the token that a code led to and that is still good; None for none."""
    for path in state.remembered():
        with suppress(OSError, DecodeError):
            kept = _replay(path).token_at(now)
            if kept is not None:
                text, _, token = kept.text.partition(" ")
                if text == code and token:
                    return token
    return None


def _replay(path: bytes) -> Replay:
    replay, reader = Replay(), JournalReader()
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | NO_LINK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return replay
        size = 0
        while size < MAX_BYTES and (data := os.read(fd, READ_BYTES)):
            size += len(data)
            for record in reader.feed(data):
                replay.take(record)
    finally:
        os.close(fd)
    return replay
