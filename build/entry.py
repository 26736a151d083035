"""The script that PyInstaller freezes: one program under two names, told apart by argv[0].

Two kinds of processes only hold the program: the one that unpacked the one file, and npm's shim.
They pass signals on, but for SIGKILL.  There Linux ends the program by SIGTERM in their place.
"""

import os
import signal
import sys
from contextlib import suppress

from derphole.cli.main import main, take_signals

PR_SET_PDEATHSIG = 1  # linux/prctl.h
UNPACKED = "_MEI"  # how the folder's name begins that one file is unpacked into


def holder(told: str) -> int | None:
    """Return the process that only holds this one; None where there is none.

    Args:
        told: the number that the shim has told; others that inherit it have another parent.
    """
    parent = os.getppid()
    is_unpacked = os.path.basename(getattr(sys, "_MEIPASS", "")).startswith(UNPACKED)
    return parent if is_unpacked or told == str(parent) else None


def end_with(parent: int) -> None:
    """Have this process end when its parent, which has that number, has ended."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it was faster
        os.kill(os.getpid(), signal.SIGTERM)


held_by = holder(os.environ.pop("DERPHOLE_SHIM", ""))
if held_by is not None and sys.platform == "linux":
    take_signals()
    with suppress(ImportError, OSError, AttributeError):  # a libc without it
        end_with(held_by)
sys.exit(main())
