"""How a check runs to its end, whatever ends it: what it made is removed, the table is shown."""

import argparse
import signal
import sys
from collections.abc import Callable

from hosts_lib.end import End
from hosts_lib.report import Row
from hosts_lib.trouble import Trouble

USAGE_CODE = 2
SIGNAL_EXIT_BASE = 128
FATAL_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal ends the run."""

    def __init__(self, number: int) -> None:
        self.number = number


class Parser(argparse.ArgumentParser):
    """Takes exact options alone, and raises `Trouble` for anything else."""

    def __init__(self, name: str) -> None:
        super().__init__(prog=name, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> None:  # type: ignore[override]
        raise Trouble(f"{message}; see {self.prog} --help")


def say(text: str) -> None:
    """Say what goes on; the table alone is standard output."""
    print(text, file=sys.stderr, flush=True)


def guarded(
    name: str,
    check: Callable[[], None],
    clean: Callable[[], None],
    shown: Callable[[], str],
    is_good: Callable[[], bool],
    hide: Callable[[str], str] = str,
) -> int:
    """Run a check, clean up after it, print its table and return the exit code of the script.

    A signal ends the check, and waits until everything is cleaned up.
    """
    for number in FATAL_SIGNALS:
        signal.signal(number, _end)
    code = 0
    try:
        try:
            check()
        finally:
            for number in FATAL_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            clean()
    except Trouble as error:
        say(f"{name}: {hide(str(error))}")
        code = 1
    except Ended as ended:
        say(f"{name}: ended by {signal.Signals(ended.number).name}")
        code = SIGNAL_EXIT_BASE + ended.number
    if text := shown():
        print(text, flush=True)
    return code or int(not is_good())


def _end(number: int, _frame: object) -> None:
    raise Ended(number)


def cleaned(end: End) -> list[Row]:
    """End and remove everything at an end; returns what is told of it."""
    if not end.folder:
        end.close()
        return []
    left: list[str] = []
    sockets = "0"
    try:
        *left, last = end.left()
        sockets = last.rpartition(" ")[2]
    except (Trouble, OSError, ValueError) as error:
        left = [f"unknown: what is left there cannot be told: {error}"]
    left += end.close()
    where = f"on {end.name}" if end.is_far else end.name
    for line in left:
        say(f"left behind {where}: {line}")
    kinds = sorted({line.partition(" ")[0].rstrip(":") for line in left})
    seen = f"{len(left)} ({', '.join(kinds)})" if left else f"nothing; {sockets} sockets closed"
    return [Row(f"left behind {where}", seen, "nothing", not left)]
