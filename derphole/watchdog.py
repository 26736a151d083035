"""A debug watchdog: names what keeps the hub from turning for more than 50 ms.

A native thread pings the hub; a hub that turns answers at once.  Where the answer is late, the
thread looks at the stack of the hub's thread and at the greenlet that a trace hook saw last.  It
costs a wake-up each 10 ms and a call per greenlet switch, so nothing starts it by default.

It knows no module of this program.  A process that the machine leaves without a processor looks
the same as a stall, except while it waits for events: that is never reported.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType

import gevent
import greenlet  # type: ignore[import-untyped]  # greenlet ships no types
from gevent.hub import get_hub

from tunnel.net.clock import monotonic
from tunnel.units import Seconds
from tunnel.values import frozen

# Chosen.
STALL_S = 0.05  # what a person starts to notice, and ten times what any call may take
PING_INTERVAL_S = 0.01  # a stall just over the limit is seen five times
REPORT_AFTER_S = 5.0  # a stall that does not end is reported while it lasts
STACK_DEPTH = 25


@frozen
class Stall:
    """A time in which no greenlet but one could run.

    Attributes:
        greenlet_name: which one ran; "hub" is a callback of the event loop.
        lasted_s: how long; when it has not ended yet, how long so far.
        has_ended: whether the hub turns again.
        stack: where it was when the limit was reached, innermost call last.
    """

    greenlet_name: str
    lasted_s: Seconds
    has_ended: bool
    stack: str

    def __str__(self) -> str:
        so_far = "" if self.has_ended else " so far"
        return (
            f"the event loop was blocked for {1000 * self.lasted_s:.0f} ms{so_far} "
            f"in greenlet {self.greenlet_name}:\n{self.stack}"
        )


class Watchdog:
    """Watches the hub of the thread that starts it; a context manager.

    Args:
        report: called for each stall in a thread of the watchdog, so it must not touch the hub.
        stall_s: the shortest stall that is reported.
    """

    def __init__(self, report: Callable[[Stall], None], stall_s: Seconds = STALL_S) -> None:
        self._report = report
        self._stall_s = stall_s
        self._hub = get_hub()
        self._hub_thread = threading.get_ident()
        self._current: greenlet.greenlet = greenlet.getcurrent()
        self._answered = threading.Event()
        self._stopped = threading.Event()
        self._ping = self._hub.loop.async_(ref=False)
        self._previous_trace: Callable[..., object] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._previous_trace = greenlet.settrace(self._note_switch)
        self._ping.start(self._answered.set)
        self._thread = threading.Thread(target=self._watch, name="hub-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns once no further report can come."""
        self._stopped.set()
        if self._thread is not None:
            self._answered.set()
            self._thread.join()
            self._thread = None
            greenlet.settrace(self._previous_trace)
        self._ping.stop()
        self._ping.close()

    def __enter__(self) -> "Watchdog":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _note_switch(self, event: str, greenlets: tuple[object, greenlet.greenlet]) -> None:
        self._current = greenlets[1]
        if self._previous_trace is not None:
            self._previous_trace(event, greenlets)

    def _watch(self) -> None:
        while not self._stopped.wait(PING_INTERVAL_S):
            self._answered.clear()
            asked_at = monotonic()
            self._ping.send()
            if self._answered.wait(self._stall_s) or self._stopped.is_set():
                continue
            name, stack = self._sample()
            if stack is None or self._answered.is_set():
                continue
            has_ended = self._answered.wait(REPORT_AFTER_S)
            self._report(Stall(name, monotonic() - asked_at, has_ended, stack))
            while not has_ended and not self._stopped.is_set():
                has_ended = self._answered.wait(REPORT_AFTER_S)

    def _sample(self) -> tuple[str, str | None]:
        """Return the greenlet's name and stack; no stack when the hub waits for events."""
        current = self._current
        frame = sys._current_frames().get(self._hub_thread)  # noqa: SLF001 - the documented way
        if frame is None or (current is self._hub and _is_waiting(frame)):
            return "", None
        return _name(current, self._hub), "".join(traceback.format_stack(frame, STACK_DEPTH))


def _is_waiting(frame: FrameType) -> bool:
    """Tell whether the hub is in its event loop and not in a callback of ours."""
    return frame.f_code.co_name == "run" and frame.f_globals.get("__name__") == "gevent.hub"


def _name(current: greenlet.greenlet, hub: gevent.hub.Hub) -> str:
    if current is hub:
        return "hub"
    if isinstance(current, gevent.Greenlet):
        return str(current.name)
    return "main" if current.parent in (None, hub) else repr(current)
