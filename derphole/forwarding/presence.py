"""Whether something listens at an address, found out without connecting to it.

A connection that is made only to look is one too many for a server that serves a single one.  So:

    a port of this machine   the kernel's tables tell whether something listens (Linux)
    a socket file            a datagram socket asks: the system answers that the kind is wrong where
                             a program holds the file, and that program notices nothing
    anything else            nothing is said; the first connection tells

"localhost" and addresses of our interfaces are this machine; no name is looked up.
"""

import errno
import os
import sys
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

from gevent import get_hub, socket

from derphole.forwarding.dial import LOCAL_ADDRESSES
from derphole.forwarding.endpoints import LOCALHOST, ServiceAddress, UnixEndpoint
from derphole.forwarding.listeners import IpAddress, decode_listeners, plain_ip
from tunnel.errors import DecodeError
from tunnel.net.sockets import is_own_address

# Fixed by Linux: the tables of the network namespace that this process is in.
PROC_NET = Path("/proc/self/net")
LOOPBACK: tuple[IpAddress, ...] = tuple(ip_address(text) for _, text in LOCAL_ADDRESSES)


def expected_failure(target: ServiceAddress) -> OSError | None:
    """Return the error that a connection would meet now; None if none is known of."""
    try:
        if isinstance(target, UnixEndpoint):
            is_idle = not is_held(target.path)
        else:
            is_idle = has_listener(addresses_here(target.host), target.port) is False
    except OSError as error:
        return error
    refused = errno.ECONNREFUSED
    return ConnectionRefusedError(refused, os.strerror(refused)) if is_idle else None


def is_held(path: str) -> bool:
    """Tell whether a program holds the socket file at a path, without its noticing.

    Raises `OSError` for a path that nothing can connect to, such as one that does not exist.
    """
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as asker:
        try:
            asker.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
    return True


def addresses_here(host: str) -> tuple[IpAddress, ...]:
    """Return which addresses of this machine a host means; none if it is another machine's.

    Args:
        host: a name, or an address with or without a zone.
    """
    if host == LOCALHOST:
        return LOOPBACK
    try:
        ip = plain_ip(ip_address(host.partition("%")[0]))
    except ValueError:
        return ()
    if ip.is_unspecified:  # dialling it leads to the loopback
        return tuple(each for each in LOOPBACK if each.version == ip.version)
    is_here = ip.is_loopback or is_own_address(str(ip))
    return (ip,) if is_here else ()


def has_listener(
    addresses: tuple[IpAddress, ...], port: int, tables: Path = PROC_NET
) -> bool | None:
    """Tell whether something listens at any of the addresses; None where that cannot be seen.

    The kernel takes 10 ms and more to print a table, so a thread reads them.

    Args:
        addresses: of this machine.
        port: 1 to 65535.
        tables: the folder of the kernel's tables.
    """
    if not addresses:
        return None
    found: bool | None = get_hub().threadpool.apply(_search, (addresses, port, tables))
    return found


def _search(addresses: tuple[IpAddress, ...], port: int, tables: Path) -> bool | None:
    """Read the tables until a listener is found; runs in a thread."""
    try:
        if _is_in(tables / "tcp", addresses, port):
            return True
        return (tables / "tcp6").exists() and _is_in(tables / "tcp6", addresses, port)
    except (OSError, DecodeError):
        return None


def _is_in(table: Path, addresses: tuple[IpAddress, ...], port: int) -> bool:
    with table.open(encoding="ascii", errors="replace") as lines:
        listeners = decode_listeners(lines, sys.byteorder)
        return any(listener.takes(ip, port) for listener in listeners for ip in addresses)
