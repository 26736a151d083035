"""Runs a command that the kernel refuses some things to, as sandboxes and Android do.

    python sandbox.py netlink,prlimit derphole relay ...

What is refused comes back as EPERM, a thread as EAGAIN: as where a limit is reached.
Source: seccomp(2).
"""

import ctypes
import errno
import os
import platform
import struct
import sys

# Fixed by Linux: numbers of system calls by machine.
CALLS = {
    "x86_64": {"socket": 41, "prlimit64": 302, "setrlimit": 160, "clone": 56, "clone3": 435},
    "aarch64": {"socket": 198, "prlimit64": 261, "setrlimit": 164, "clone": 220, "clone3": 435},
}
IS_SUPPORTED = sys.platform.startswith("linux") and platform.machine() in CALLS
AF_NETLINK, CLONE_THREAD = 16, 0x10000
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER_AT, FIRST_ARGUMENT_AT = 0, 16
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2


def rules(refused: str) -> list[tuple[str, int, int, int]]:
    """Return call, comparison of its first argument, value, and errno, for each thing refused."""
    return {
        "netlink": [("socket", EQUAL, AF_NETLINK, errno.EPERM)],
        "prlimit": [("prlimit64", 0, 0, errno.EPERM), ("setrlimit", 0, 0, errno.EPERM)],
        # The C library falls back to the older call, whose flags can be looked at.
        "threads": [
            ("clone3", 0, 0, errno.ENOSYS),
            ("clone", ANY_BIT, CLONE_THREAD, errno.EAGAIN),
        ],
    }[refused]


def program(things: list[str]) -> bytes:
    """Return the filter as the kernel takes it."""
    code = []
    for name, comparison, value, number in [rule for each in things for rule in rules(each)]:
        body = [(RETURN, 0, 0, ERRNO | number)]
        if comparison:
            body = [(LOAD, 0, 0, FIRST_ARGUMENT_AT), (comparison, 0, 1, value), *body]
        code += [(LOAD, 0, 0, NUMBER_AT), (EQUAL, 0, len(body), CALLS[platform.machine()][name])]
        code += body
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def main() -> None:
    code = program(sys.argv[1].split(","))
    held = ctypes.create_string_buffer(code, len(code))
    address = ctypes.addressof(held)
    filters = ctypes.create_string_buffer(struct.pack("HP", len(code) // 8, address))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, filters, 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
