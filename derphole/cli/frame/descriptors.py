"""Writing to descriptors that we share with other programs.

One of them may have made such a descriptor non-blocking.  "Would block" is then no failure and not
the end: what was not taken is written once there is room.  Nothing is imported that takes long.
"""

import errno
import os
import select
from pathlib import Path
from typing import TextIO

from tunnel.net.clock import monotonic
from tunnel.units import Seconds


def write_all(fd: int, data: bytes, timeout_s: Seconds | None = None) -> None:
    """Write every byte; blocks the thread.  Raises `OSError`, after `timeout_s` without room too.

    Args:
        fd: any descriptor.
        data: what is written.
        timeout_s: how long to wait for room, in all; None for as long as it takes.
    """
    deadline = None if timeout_s is None else monotonic() + timeout_s
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            if not _has_room(fd, None if deadline is None else deadline - monotonic()):
                raise


def write_text(stream: TextIO, text: str, timeout_s: Seconds | None = None) -> None:
    """Write text past the buffer of a stream, or through it where no descriptor is behind it.

    Raises as `write_all`, and `ValueError` for a stream that was closed.
    """
    try:
        fd = stream.fileno()
    except OSError:  # it is one in memory
        stream.write(text)
        stream.flush()
        return
    stream.flush()
    write_all(fd, text.encode(stream.encoding, stream.errors or "strict"), timeout_s)


def is_unread(stream: TextIO) -> bool:
    """Tell whether nobody will ever read a stream: its reader is gone, or it is the null device."""
    try:
        fd = stream.fileno()
        if os.path.samestat(os.fstat(fd), Path(os.devnull).stat()):
            return True
        poll = select.poll()
    except (OSError, ValueError, AttributeError):  # in memory, or without such a call
        return False
    poll.register(fd, 0)  # errors and hang-ups alone
    return bool(poll.poll(0))


def _has_room(fd: int, timeout_s: Seconds | None) -> bool:
    """Wait until something can be written, or the reader is gone."""
    if timeout_s is not None and timeout_s <= 0:
        return False
    try:
        poll = select.poll()
    except AttributeError as error:  # Windows, where nothing is non-blocking
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))
