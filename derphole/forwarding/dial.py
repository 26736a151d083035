"""Dialling the target of a share: the first of its addresses that answers, within ten seconds."""

import errno

import gevent
from gevent import socket

from derphole.edges.tcp import NO_ROOM, prepare
from derphole.errors import TargetFailed
from derphole.forwarding.endpoints import LOCALHOST, ServiceAddress, UnixEndpoint
from derphole.speech.resets import ResetCode
from tunnel.errors import HostUnreachable
from tunnel.net.names import Address
from tunnel.net.sockets import MAX_ADDRESSES, connect_first, resolve
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
        raise target_failed(error) from error
    return sock


def target_failed(error: OSError) -> TargetFailed:
    """Return what the system's answer to a connection means for the target."""
    return TargetFailed(_reset_of(error), _words_of(error))


def _dial_tcp(host: str, port: int) -> socket.socket:
    if host == LOCALHOST:
        return _dial_localhost(port)
    return connect_first(resolve(host, "", "")[:MAX_ADDRESSES], port)


def _dial_localhost(port: int) -> socket.socket:
    """Try one address after the other: two at once may both reach a server that serves one."""
    errors: list[OSError] = []
    for address in LOCAL_ADDRESSES:
        try:
            return connect_first([address], port)
        except OSError as error:
            errors.append(error)
    # A refusal says more than a family that this machine does not have.
    raise next((each for each in errors if isinstance(each, ConnectionRefusedError)), errors[0])


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
        case number if number in NO_ROOM:
            return ResetCode.TOO_MANY
        case _:
            return ResetCode.UNREACHABLE


def _words_of(error: OSError) -> str:
    match error.errno:
        case errno.ECONNREFUSED:
            return "nothing seems to be listening there"
        case errno.ENOENT:
            return "there is no such socket"
        case number if number in NO_ROOM:
            return NO_ROOM[number]
        case _:
            return (error.strerror or str(error)).lower()
