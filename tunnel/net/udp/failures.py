"""What a failed send or read of a UDP socket means, on each system.  Decisions, no calls.

                 Linux                     macOS                   Windows
    answered     ECONNREFUSED, ...         ECONNREFUSED, ...       WSAECONNRESET, WSAENETRESET
    too large    EMSGSIZE                  EMSGSIZE                WSAEMSGSIZE
    full         EAGAIN, ENOBUFS, ENOMEM   the same                WSAEWOULDBLOCK, WSAENOBUFS
    unreachable  ENETUNREACH, ...          ENETUNREACH, ...        WSAENETUNREACH, ...
    refused      EPERM, EACCES             EPERM, EACCES           WSAEACCES

The numbers are the systems' own, so that what one says can be tried out on another.  Python puts
Winsock's number into `errno`, but for the few that C has a name for: 10013 comes as EACCES, 13.
Sources: errno(3), udp(7), ip(7); xnu bsd/sys/errno.h; Windows Sockets error codes.
"""

import enum
import sys


class Failure(enum.Enum):
    """Why a datagram did not go out, or none came in; the value is how that is told."""

    ANSWERED = "somebody refused a datagram that was sent before"
    TOO_LARGE = "the datagram is too large"
    FULL = "there is no room, or nothing to read"
    UNREACHABLE = "no way leads there now"
    REFUSED = "this machine forbids it"
    UNKNOWN = "for an unusual reason"


_LINUX = {
    # EPROTO, ENOPROTOOPT, EOPNOTSUPP, ECONNRESET, ECONNREFUSED
    Failure.ANSWERED: (71, 92, 95, 104, 111),
    Failure.TOO_LARGE: (90,),
    Failure.FULL: (11, 12, 105),
    # ENXIO, ENODEV, EINVAL (a route called blackhole), ENONET, EAFNOSUPPORT, EADDRNOTAVAIL,
    # ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH
    Failure.UNREACHABLE: (6, 19, 22, 64, 97, 99, 100, 101, 112, 113),
    Failure.REFUSED: (1, 13),
}
_MACOS = {
    Failure.ANSWERED: (42, 52, 54, 61),  # ENOPROTOOPT, ENETRESET, ECONNRESET, ECONNREFUSED
    Failure.TOO_LARGE: (40,),
    Failure.FULL: (12, 35, 55),
    # ENXIO, EAFNOSUPPORT, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH
    Failure.UNREACHABLE: (6, 47, 49, 50, 51, 64, 65),
    Failure.REFUSED: (1, 13),
}
_WINDOWS = {
    Failure.ANSWERED: (10052, 10054),
    Failure.TOO_LARGE: (10040,),
    Failure.FULL: (10035, 10055),
    # WSAEAFNOSUPPORT, WSAEADDRNOTAVAIL, WSAENETDOWN, WSAENETUNREACH, WSAEHOSTDOWN, WSAEHOSTUNREACH
    Failure.UNREACHABLE: (10047, 10049, 10050, 10051, 10064, 10065),
    Failure.REFUSED: (13, 10013),
}
_SYSTEMS = {"linux": _LINUX, "darwin": _MACOS, "win32": _WINDOWS}
_MEANINGS = {
    system: {number: failure for failure, numbers in table.items() for number in numbers}
    for system, table in _SYSTEMS.items()
}


def failure_of(error: OSError, system: str | None = None) -> Failure:
    """Return what an error of sendto, recvfrom and their like means.

    Args:
        error: with the number that the system gave.
        system: as `sys.platform` has it, and whose numbers are meant; None for this one's.
    """
    if isinstance(error, BlockingIOError):
        return Failure.FULL
    meanings = _MEANINGS.get(system or sys.platform, _MEANINGS["linux"])
    return meanings.get(error.errno or 0, Failure.UNKNOWN)
