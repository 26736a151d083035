"""Where both programs begin: the first signals, the run of a command line, the exit code.

Almost nothing is imported here, so that signals are taken from the first milliseconds on; what a
signal ends before a command has begun has nobody to tell and leaves nothing behind.  Commands that
work take the signals themselves (`derphole.cli.frame.signals`).
"""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from derphole import SIGNAL_EXIT_BASE, __version__
from derphole.cli.frame.descriptors import write_all
from derphole.cli.frame.ending import ENDING_SIGNALS
from tunnel.net.clock import wall

VERSION_ASKED = (["version"], ["--version"], ["-V"])
LAST_WORD_S = 1.0  # chosen: what a reader that is behind gets to take our last line


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    Args:
        argv: program name and arguments; None for those of the process, which then ends here.
    """
    if argv is None:
        take_signals()
        if sys.argv[1:] in VERSION_ASKED and is_version_told():
            leave(0)
    from derphole.cli.invocation import Invocation

    exit_code = Invocation(sys.argv if argv is None else argv, os.environ).run()
    if argv is None:
        leave(exit_code)
    return exit_code


def is_version_told() -> bool:
    """Print the version, if that can be done at once, and tell whether it was.

    Everything else that a command can do takes four times as long to import.
    """
    try:
        line = f"v{__version__}\n".encode()
        return os.write(1, line) == len(line)
    except OSError:
        return False  # and the command says why, with its exit code


def leave(exit_code: int) -> NoReturn:
    """End the process at once: no thread that hangs in a system call may hold it."""
    os._exit(exit_code)


def take_signals() -> None:
    """End the process with a sentence at an ending signal, those ignored from the start aside."""
    for signum in ENDING_SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _end_at_once)


def _end_at_once(signum: int, frame: FrameType | None) -> NoReturn:
    """Say by which signal, and end; an exception could surface in the middle of an import."""
    del frame
    sentence, exit_code = f"interrupted by {signal.Signals(signum).name}", SIGNAL_EXIT_BASE + signum
    if "--json" in sys.argv:
        sentence = (
            f'{{"event": "error", "time": {wall():.3f}, "code": "interrupted", '
            f'"message": "{sentence}", "exit_code": {exit_code}}}'
        )
    with suppress(OSError):
        if sys.stderr is not None:  # else the number may be that of another file by now
            write_all(2, f"{sentence}\n".encode(), LAST_WORD_S)
    leave(exit_code)
