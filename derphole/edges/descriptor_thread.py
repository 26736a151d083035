"""A thread for the system calls on one descriptor that may block for long.

gevent's hub must turn while a disk, a network file system or a reader takes its time.  A thread
that is stuck in the kernel holds up its own descriptor only: no pool is shared, and nothing here
waits for it.  What the calls are is up to `derphole.edges.stdio`.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gevent.threadpool import ThreadPool

from tunnel.units import Seconds

if TYPE_CHECKING:
    from gevent.event import AsyncResult

P = ParamSpec("P")
T = TypeVar("T")


class DescriptorThread:
    """One native thread, made when first needed, that runs calls on a descriptor in order.

    It works on a duplicate: a call that comes late, since its greenlet was killed or nobody wanted
    the bytes, must not hit what got the number after the caller closed it.  A failure comes back
    as a value: gevent prints the traceback of what a thread raises.

    Attributes:
        fd: the duplicate, for the calls; it is closed by `close`.

    Args:
        fd: an open descriptor that the caller owns; it is neither closed nor changed.
    """

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)
        self._pool: ThreadPool | None = None
        self._latest: AsyncResult[object] | None = None
        self._is_closed = False

    def start(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "AsyncResult[T | OSError]":
        """Run the call in the thread; the result holds what it returned, or its OSError.

        Waits, in this greenlet only, while the thread is stuck in an earlier call.
        """
        if self._pool is None:
            self._pool = ThreadPool(1)
        self._latest = self._pool.spawn(outcome, function, *args, **kwargs)
        return self._latest

    def settle(self, timeout_s: Seconds) -> None:
        """Wait until the call under way has ended, `timeout_s` seconds at most."""
        if self._latest is not None:
            self._latest.wait(timeout_s)

    def close(self) -> None:
        """Close the duplicate, after what is under way; waits for nothing that may be stuck."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._latest is not None and not self._latest.ready():
            # Not another call: starting one waits for the thread.
            self._latest.rawlink(lambda _: os.close(self.fd))
            return
        os.close(self.fd)
        if self._pool is not None:
            self._pool.kill()


def outcome(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | OSError:
    """Call and return what came of it: gevent prints the traceback of what a thread raises."""
    try:
        return function(*args, **kwargs)
    except OSError as error:
        return error
