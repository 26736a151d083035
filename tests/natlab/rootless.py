"""Runs a command in a user namespace where labs can be built without root.

usage: rootless.py COMMAND...
"""

import os
import sys

from namespaces import rootless_command


def main() -> None:
    """Become the command, inside."""
    command = rootless_command(sys.argv[1:])
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
