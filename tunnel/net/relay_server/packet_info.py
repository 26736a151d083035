"""At which of our addresses a datagram came, so that the answer leaves from there.

A socket of every address would answer from whichever the route suggests, and who asked another one
waits in vain: its NAT, its firewall and its connected socket pass only what they sent to.

    IPv4 socket             IP_PKTINFO          interface, our address, the packet's destination
    IPv6 socket, or both    IPV6_RECVPKTINFO    destination (an IPv4 one mapped), interface

The answer names the address alone: routes decide the interface, and they may lead out by another
than the question came in by; a link-local address means nothing without its interface.  Sources:
ip(7), ipv6(7), RFC 3542.
"""

import struct
import sys
from ipaddress import IPv6Address

from gevent import socket

# Python has no name for it before 3.14; Windows has the option, but no call that would use it.
IP_PKTINFO = {"linux": 8, "darwin": 26}.get(sys.platform)
IPV6_RECVPKTINFO: int | None = getattr(socket, "IPV6_RECVPKTINFO", None)
IPV6_PKTINFO: int | None = getattr(socket, "IPV6_PKTINFO", None)
_IPV4_INFO = struct.Struct("@i4s4s")
_IPV6_INFO = struct.Struct("@16sI")
CONTROL_SIZE = 64  # of the larger of the two, with room for its header

Control = list[tuple[int, int, bytes]]


def ask_for_destination(sock: socket.socket) -> bool:
    """Have the system tell the destination of what arrives; false where it cannot."""
    if not hasattr(sock, "recvmsg"):
        return False
    if sock.family == socket.AF_INET:
        level, option = socket.IPPROTO_IP, IP_PKTINFO
    else:
        level, option = socket.IPPROTO_IPV6, IPV6_RECVPKTINFO
    if option is None:
        return False
    try:
        sock.setsockopt(level, option, 1)
    except OSError:
        return False
    return True


def answer_control(control: Control) -> Control:
    """Return what to send an answer with, from what came with the question."""
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO) and len(data) == _IPV4_INFO.size:
            _, ours, _ = _IPV4_INFO.unpack(data)
            return [(level, kind, _IPV4_INFO.pack(0, ours, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO) and len(data) == _IPV6_INFO.size:
            ours, interface = _IPV6_INFO.unpack(data)
            kept = interface if IPv6Address(ours).is_link_local else 0
            return [(level, kind, _IPV6_INFO.pack(ours, kept))]
    return []
