"""Binding a socket to an interface, so that what it sends leaves there whatever the routes say.

    Linux      SO_BINDTODEVICE, which since 5.7 needs no rights; else IP_UNICAST_IF
    macOS      IP_BOUND_IF
    Windows    IP_UNICAST_IF

An address is not enough: with two default routes the better one carries packets of either
address.  Where rules route by source the address suffices, so a refusal here is not a failure.
Sources: socket(7), ip(7); xnu bsd/netinet/in.h; Winsock's IPPROTO_IP socket options.
"""

import logging
import struct
import sys

from gevent import socket

# Fixed by the systems; gevent and Python name only some of them.
_BIND_TO_DEVICE = 25
_LINUX_UNICAST_IF = {False: 50, True: 76}
_MACOS_BOUND_IF = {False: 25, True: 125}
_WINDOWS_UNICAST_IF = 31
_NETWORK_ORDER = struct.Struct("!I")
_NATIVE_ORDER = struct.Struct("=I")

_log = logging.getLogger(__name__)


def bind_to_device(sock: "socket._socket.socket", interface: str, is_ipv6: bool) -> bool:
    """Have a UDP socket send by one interface; tells whether the system does that."""
    try:
        if sys.platform.startswith("linux"):
            _bind_on_linux(sock, interface, is_ipv6)
            return True
        index = socket.if_nametoindex(interface)
        level = socket.IPPROTO_IPV6 if is_ipv6 else socket.IPPROTO_IP
        if sys.platform == "darwin":
            sock.setsockopt(level, _MACOS_BOUND_IF[is_ipv6], _NATIVE_ORDER.pack(index))
        else:  # Windows wants the index of IPv4 in network order, that of IPv6 in its own
            form = _NATIVE_ORDER if is_ipv6 else _NETWORK_ORDER
            sock.setsockopt(level, _WINDOWS_UNICAST_IF, form.pack(index))
    except OSError as error:
        _log.info("what is sent from an address of %s may leave elsewhere: %s", interface, error)
        return False
    return True


def _bind_on_linux(sock: "socket._socket.socket", interface: str, is_ipv6: bool) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _BIND_TO_DEVICE, interface.encode() + b"\0")
    except PermissionError:
        level = socket.IPPROTO_IPV6 if is_ipv6 else socket.IPPROTO_IP
        index = socket.if_nametoindex(interface)
        sock.setsockopt(level, _LINUX_UNICAST_IF[is_ipv6], _NETWORK_ORDER.pack(index))
