"""Runs derphole with a wall clock that is wrong: python shifted_clock.py FILE -- ARGUMENTS...

FILE holds by how many seconds, as one little-endian double; writing another makes the clock jump.
The monotonic clock stays as it is, as it does when somebody sets the time of a machine.
"""

import mmap
import struct
import sys
import time

OFFSET = struct.Struct("<d")


def main() -> int:
    split = sys.argv.index("--")
    with open(sys.argv[1], "rb") as file:
        shared = mmap.mmap(file.fileno(), OFFSET.size, access=mmap.ACCESS_READ)
    from tunnel.net import clock

    # Before anything imports it by name.
    clock.wall = lambda: clock.WallTime(time.time() + OFFSET.unpack_from(shared)[0])
    sys.argv[:] = ["derphole", *sys.argv[split + 1 :]]
    from derphole.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
