"""Calls that may block, in a thread of the pool: gevent's hub turns meanwhile.

What is for one descriptor, and may hang for good, has a thread of its own elsewhere.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from gevent import get_hub

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what may block in the thread pool; returns what it returns, raises what it raises.

    Failures come back as values: the pool would print what is raised in it, traceback and all.
    """

    def run() -> tuple[list[T], Exception | None]:
        try:
            return [work(*args, **kwargs)], None
        except Exception as error:  # noqa: BLE001 - it is raised again, where somebody hears it
            return [], error

    results: list[T]
    results, error = get_hub().threadpool.apply(run)
    if error is not None:
        raise error
    return results[0]
