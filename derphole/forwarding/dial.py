"""Dialling the target of a share: the first of its addresses that answers, within ten seconds."""

import errno

import gevent
from gevent import socket

from derphole.errors import TargetFailed
from derphole.forwarding.endpoints import LOCALHOST, ServiceAddress, UnixEndpoint
from derphole.forwarding.forward import prepare
from derphole.speech.resets import ResetCode
from tunnel.errors import HostUnreachable
from tunnel.net.connect import MAX_ADDRESSES, Address, connect_first, resolve
from tunnel.units import Seconds

# Chosen: longer than a busy server takes, shorter than a client waits.
DIAL_S: Seconds = 10.0
# A program that serves only this machine may listen on either; no resolver is needed for that.
LOCAL_ADDRESSES: list[Address] = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def dial(target: ServiceAddress, limit_s: Seconds) -> socket.socket:
    """Return a socket connected to the target; raises `TargetFailed`."""
    timeout = gevent.Timeout(limit_s)
    try:
        with timeout:
            sock = (
                _dial_unix(target.path)
                if isinstance(target, UnixEndpoint)
                else _dial_tcp(target.host, target.port)
            )
        prepare(sock)
    except gevent.Timeout as error:
        if error is not timeout:
            raise
        reason = f"it did not answer within {limit_s:.0f} s"
        raise TargetFailed(ResetCode.TARGET_TIMED_OUT, reason) from error
    except HostUnreachable as error:
        raise TargetFailed(ResetCode.UNREACHABLE, str(error)) from error
    except OSError as error:
        raise TargetFailed(_reset_of(error), _words_of(error)) from error
    return sock


def _dial_tcp(host: str, port: int) -> socket.socket:
    addresses = LOCAL_ADDRESSES if host == LOCALHOST else resolve(host, "", "")
    return connect_first(addresses[:MAX_ADDRESSES], port)


def _dial_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _reset_of(error: OSError) -> ResetCode:
    match error.errno:
        case errno.ECONNREFUSED | errno.ENOENT:
            return ResetCode.REFUSED
        case errno.ETIMEDOUT:
            return ResetCode.TARGET_TIMED_OUT
        case errno.EMFILE | errno.ENFILE:
            return ResetCode.TOO_MANY
        case _:
            return ResetCode.UNREACHABLE


def _words_of(error: OSError) -> str:
    match error.errno:
        case errno.ECONNREFUSED:
            return "it refused the connection (nothing listens there, or a firewall says no)"
        case errno.ENOENT:
            return "there is no such socket"
        case errno.EMFILE | errno.ENFILE:
            return "this process or the system has too many open files"
        case _:
            return (error.strerror or str(error)).lower()
