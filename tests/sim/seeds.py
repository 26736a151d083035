"""Seeds of long scenarios: all, a cut, or the one that a variable names; a failure says how to replay."""

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

R = TypeVar("R")
VARIABLE = "HOSTILE_SEED"


def chosen() -> int | None:
    """Return the seed that is to run alone, if one is."""
    only = os.environ.get(VARIABLE)
    return None if only is None else int(only)


def check_all(check_run: Callable[[int], R], seeds: Iterable[int], module: str) -> list[R]:
    """Check every seed; a failure of a test module names its seed and the command to replay it."""
    runs = []
    for seed in seeds:
        try:
            runs.append(check_run(seed))
        except Exception as error:
            command = f"{VARIABLE}={seed} pytest tests/sim/{module}.py"
            raise AssertionError(f"seed {seed}: {error!r}; replay: {command}") from error
    return runs
