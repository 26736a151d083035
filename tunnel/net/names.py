"""Names: hosts looked up, by a look-up that everybody waits for who asks meanwhile.

    look_up("relay.example") --asks the system, or joins who asks already--> addresses
                                   its answer, if it took long, is kept for a while

The system asks a second name server once the first has been silent for 5 s.  Whoever gave up before
and began anew would never come so far: here a look-up goes on when nobody waits for it any more.
One that takes long gets another beside it, since the name servers may have changed meanwhile.
"""

import socket as system
from typing import TYPE_CHECKING

from gevent.event import Event
from gevent.threadpool import ThreadPool

from tunnel.errors import HostUnreachable
from tunnel.net.clock import monotonic
from tunnel.units import Instant, Seconds
from tunnel.values import frozen

if TYPE_CHECKING:
    from gevent.event import AsyncResult

# Chosen: look-ups have threads of their own, so that a silent name server holds nothing else up.
MAX_THREADS = 16
AGAIN_S: Seconds = 5.5  # just above the time after which the system asks another server
MAX_BESIDE = 3  # look-ups of one name under way
# Chosen: an answer that took so long is kept, since the next one would take as long.
SLOW_S: Seconds = 1.0
KEPT_S: Seconds = 30.0
MAX_NAMES = 64

# What Linux answers for a name without an address; gone from newer systems, which say "no name".
EAI_NODATA = int(getattr(system, "EAI_NODATA", system.EAI_NONAME))

Address = tuple[int, str]  # socket family, address literal
_Question = tuple[str, int]


@frozen
class _Answer:
    """What the system said, and when; failures come as values, since a pool prints exceptions."""

    addresses: list[Address]
    error: Exception | None
    came_at: Instant
    took_s: Seconds


@frozen
class _LookUp:
    """One question to the system."""

    asked_at: Instant
    result: "AsyncResult[_Answer]"

    def is_stale(self, now: Instant) -> bool:
        """Tell whether its answer is not to be used for questions that are asked from now on."""
        if not self.result.ready():
            return False
        answer = self.result.get()
        is_costly = answer.error is None and answer.took_s >= SLOW_S
        return not is_costly or now >= answer.came_at + KEPT_S


def look_up(host: str, family: int) -> list[Address]:
    """Return the addresses of a name, as the system orders them; the caller bounds the time.

    Args:
        host: a name.
        family: of the addresses, or AF_UNSPEC for all.

    Raises:
        HostUnreachable: it has none, or that could not be found out.
    """
    answer = _LOOK_UPS.answer((host, family))
    if answer.error is not None:
        is_unknown = _is_no_name(answer.error)
        raise HostUnreachable(
            lookup_reason(answer.error), is_name_unknown=is_unknown
        ) from answer.error
    return answer.addresses


class _LookUps:
    """Every look-up of this process that is under way, or was slow and is over lately."""

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None
        self._by_question: dict[_Question, list[_LookUp]] = {}

    def answer(self, question: _Question) -> _Answer:
        """Return what one of the look-ups finds, or the failure of them all."""
        has_answer = Event()
        joined = self._current(question)
        while True:
            answers: list[_Answer] = [each.result.get() for each in joined if each.result.ready()]
            found = [answer for answer in answers if answer.error is None]
            if found or len(answers) == len(joined):
                return (found or answers)[0]
            has_answer.clear()
            pending = [each for each in joined if not each.result.ready()]
            for each in pending:
                each.result.rawlink(lambda _: has_answer.set())
            if not has_answer.wait(AGAIN_S):
                joined += [each for each in self._current(question) if each not in joined]

    def _current(self, question: _Question) -> list[_LookUp]:
        """Return the look-ups to wait for, with a new one if the newest has taken long."""
        now = monotonic()
        known = [each for each in self._by_question.pop(question, []) if not each.is_stale(now)]
        is_late = bool(known) and now >= known[-1].asked_at + AGAIN_S
        has_answer = any(each.result.ready() for each in known)
        if not known or (is_late and not has_answer and len(known) < MAX_BESIDE):
            self._pool = self._pool or ThreadPool(MAX_THREADS)
            known.append(_LookUp(now, self._pool.spawn(_ask_system, *question)))
        self._by_question[question] = known  # the newest last
        while len(self._by_question) > MAX_NAMES:
            del self._by_question[next(iter(self._by_question))]
        return list(known)


_LOOK_UPS = _LookUps()


def _ask_system(host: str, family: int) -> _Answer:
    """Ask the system's resolver; runs in a thread."""
    asked_at, addresses, failure = monotonic(), [], None
    try:
        answers = system.getaddrinfo(host, None, family, system.SOCK_STREAM)
        pairs = [(int(answer[0]), str(answer[4][0])) for answer in answers]
        addresses = list(dict.fromkeys(pairs))
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot exist
        failure = error
    now = monotonic()
    return _Answer(addresses, failure, now, now - asked_at)


def _is_no_name(error: Exception) -> bool:
    """Tell whether the answer was that there is no such name, or none with an address."""
    if isinstance(error, system.gaierror):
        return error.errno in (system.EAI_NONAME, EAI_NODATA)
    return isinstance(error, UnicodeError)


def lookup_reason(error: Exception) -> str:
    """Return what came of asking for a name, and no more than is known."""
    if isinstance(error, UnicodeError):
        return "its name was not found: no host can have such a name"
    if not isinstance(error, system.gaierror):
        return f"its name could not be looked up ({error.args[-1] if error.args else error})"
    if error.errno == system.EAI_NONAME:
        return "its name was not found"
    if error.errno == EAI_NODATA:
        return "its name was found, but has no address"
    if error.errno == system.EAI_AGAIN:
        return "its name could not be looked up, no name server answers"
    return f"its name could not be looked up ({str(error.strerror).lower()})"
