"""A thread for the system calls on one descriptor that may block for long.

What the calls are is up to `derphole.edges.stdio`.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from derphole.edges.worker import Worker
from tunnel.units import Seconds

if TYPE_CHECKING:
    from gevent.event import AsyncResult

P = ParamSpec("P")
T = TypeVar("T")


class DescriptorThread:
    """One native thread, made when first needed, that runs calls on a descriptor in order.

    It works on a duplicate: a call that comes late, since its greenlet was killed or nobody wanted
    the bytes, must not hit what got the number after the caller closed it.

    Attributes:
        fd: the duplicate, for the calls; it is closed by `close`.

    Args:
        fd: an open descriptor that the caller owns; it is neither closed nor changed.
    """

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)
        self._worker = Worker()

    def start(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "AsyncResult[T | OSError]":
        """Run a system call in the thread; the result holds what it returned, or its OSError.

        Waits, in this greenlet only, while the thread is stuck in an earlier call.
        """
        result = self._worker.start(function, *args, **kwargs)
        return cast("AsyncResult[T | OSError]", result)

    def settle(self, timeout_s: Seconds) -> None:
        """Wait until the call under way has ended, `timeout_s` seconds at most."""
        self._worker.settle(timeout_s)

    def close(self) -> None:
        """Close the duplicate, after what is under way; waits for nothing that may be stuck."""
        self._worker.close(lambda: os.close(self.fd))
