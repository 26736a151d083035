"""A moment in which the system has no descriptor left, as on a machine that is busy with much else."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

ALREADY_OPEN = 3  # standard input, output and error; what is open stays open


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Let this process open nothing within the context."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (ALREADY_OPEN, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
