"""TaskGroup: named greenlets that nobody has to remember, and whose failures nobody misses.

A child's exception ends the group: the others are killed and `join` raises it.  This is the only
place that may catch every exception.
"""

from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec

import gevent
from gevent.event import Event

P = ParamSpec("P")


class TaskGroup:
    """Owns greenlets; use as a context manager, which kills what still runs at its end.

    Args:
        name: what the group is for, in the names of its greenlets.
        on_failure: called once with the first exception of a child, in that child's greenlet.
    """

    def __init__(
        self, name: str, on_failure: Callable[[BaseException], None] | None = None
    ) -> None:
        self._name = name
        self._children: set[gevent.Greenlet] = set()
        self._failure: BaseException | None = None
        self._on_failure = on_failure
        self._idle = Event()
        self._idle.set()

    def spawn(
        self, name: str, run: Callable[P, object], *args: P.args, **kwargs: P.kwargs
    ) -> gevent.Greenlet:
        """Start `run` in a greenlet of this group."""
        child = gevent.Greenlet(self._guard, run, *args, **kwargs)
        child.name = f"{self._name}/{name}"
        self._children.add(child)
        self._idle.clear()
        child.rawlink(self._forget)
        child.start()
        return child

    def join(self) -> None:
        """Wait until every child has ended; raises the first failure."""
        self._idle.wait()
        self.raise_failure()

    def raise_failure(self) -> None:
        """Raise the first failure of a child, if there was one."""
        if self._failure is not None:
            raise self._failure

    def kill(self) -> None:
        """End every child but the caller's own and wait until they are gone."""
        mine = gevent.getcurrent()
        gevent.killall([child for child in self._children if child is not mine])

    def _guard(self, run: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            run(*args, **kwargs)
        except gevent.GreenletExit:
            return
        except BaseException as error:  # noqa: BLE001 - the one boundary that may; it is re-raised by join
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None:
            return
        self._failure = error
        if self._on_failure is not None:
            self._on_failure(error)
        mine = gevent.getcurrent()
        others = [child for child in self._children if child is not mine]
        gevent.killall(others, block=False)

    def _forget(self, child: gevent.Greenlet) -> None:
        self._children.discard(child)
        if not self._children:
            self._idle.set()

    def __enter__(self) -> "TaskGroup":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
