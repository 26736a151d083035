"""A thread for an object whose calls block: files, folders, a disk that takes its time.

gevent's hub must turn meanwhile.  A thread that is stuck in the kernel holds up its own object
only: no pool is shared, and nothing waits for it but who wants the result.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gevent.threadpool import ThreadPool

from derphole.errors import DerpholeError
from tunnel.errors import TunnelError
from tunnel.units import Seconds

if TYPE_CHECKING:
    from gevent.event import AsyncResult

P = ParamSpec("P")
T = TypeVar("T")
Failure = OSError | DerpholeError | TunnelError


class Worker:
    """One native thread, made when first needed, that runs calls in order."""

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None
        self._latest: AsyncResult[object] | None = None
        self._is_closed = False

    def start(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "AsyncResult[T | Failure]":
        """Run a call in the thread; the result is what it returned, or how it failed.

        A failure comes as a value: gevent prints the traceback of what a thread raises.  Waits, in
        this greenlet only, while the thread is stuck in an earlier call.
        """
        if self._pool is None:
            self._pool = ThreadPool(1)
        self._latest = self._pool.spawn(outcome, function, *args, **kwargs)
        return self._latest

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call in the thread and return what it returns; raises what it raises."""
        value: T | Failure = self.start(function, *args, **kwargs).get()
        return settled(value)

    def settle(self, timeout_s: Seconds) -> None:
        """Wait until the call under way has ended, `timeout_s` seconds at most."""
        if self._latest is not None:
            self._latest.wait(timeout_s)

    def close(self, last: Callable[[], None]) -> None:
        """Make one last call, a quick one, after the one under way; waits for nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._latest is not None and not self._latest.ready():
            # Not another call in the thread: starting one waits for it.
            self._latest.rawlink(lambda _: last())
            return
        last()
        if self._pool is not None:
            self._pool.kill()


def outcome(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Failure:
    """Call, and return what came of it, a failure too."""
    try:
        return function(*args, **kwargs)
    except (OSError, DerpholeError, TunnelError) as error:
        return error


def settled(value: T | Failure) -> T:
    """Return what came of a call; raises the failure that it is."""
    if isinstance(value, OSError | DerpholeError | TunnelError):
        raise value
    return value
