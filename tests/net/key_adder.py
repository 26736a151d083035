"""A process that adds keys to a file until it has all of them, and says which it has added.

    python key_adder.py HOME FIRST COUNT

It begins when a line comes on its standard input.
"""

import os
import sys

from support.ssh_keys import ed25519_key

from derphole.edges.accounts import Account
from derphole.edges.authorized_file import AuthorizedFile


def main() -> None:
    home, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    file = AuthorizedFile(Account("somebody", os.geteuid(), os.getegid(), home))
    sys.stdin.readline()
    for number in range(first, first + count):
        file.add(ed25519_key(number))
        print(number, flush=True)


if __name__ == "__main__":
    main()
