"""Run one command, then write its exit code and peak memory to a file as JSON.

    measured_run.py REPORT COMMAND [ARGUMENT...]

The kernel keeps a process's peak across exec, so a command started straight from a large parent
(a test runner, say) is charged with the parent's size.  This small process stands between them:
the command is its child, and the figure is the command's own.
"""

import json
import os
import signal
import sys
from pathlib import Path

RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # getrusage(2) of each system
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOT_STARTED = 127


def main() -> int:
    report, *command = sys.argv[1:]
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
            os._exit(NOT_STARTED)
    for number in FORWARDED:
        signal.signal(number, lambda received, _frame: os.kill(child, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    _, status, usage = os.wait4(child, 0)
    exit_code = os.waitstatus_to_exitcode(status)
    figures = {"exit_code": exit_code, "peak_rss_bytes": usage.ru_maxrss * RSS_UNIT_BYTES}
    Path(report).write_text(json.dumps(figures))
    return exit_code if exit_code >= 0 else 128 - exit_code


if __name__ == "__main__":
    sys.exit(main())
