"""Dialling the target of a share: its addresses one after the other, within ten seconds.

Never two at once: both might answer, and a server that serves one connection would have served
nobody.  An address that is silent has its share of the time; the one that answered is the first to
be tried for the next connection.
"""

import errno
from collections.abc import Sequence

import gevent
from gevent import socket

from derphole.edges.tcp import NO_ROOM, prepare
from derphole.errors import TargetFailed
from derphole.forwarding.endpoints import LOCALHOST, ServiceAddress, UnixEndpoint
from derphole.speech.resets import ResetCode
from tunnel.errors import HostUnreachable
from tunnel.net.clock import monotonic
from tunnel.net.names import Address
from tunnel.net.sockets import MAX_ADDRESSES, resolve
from tunnel.units import Seconds

# Chosen: longer than a busy server takes, shorter than a client waits.
DIAL_S: Seconds = 10.0
LEAST_S: Seconds = 0.01  # for an address whose turn comes when the time is up
# A program that serves only this machine may listen on either; no resolver is needed for that.
LOCAL_ADDRESSES: list[Address] = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


class Dialler:
    """Connects to one target, again and again.

    Args:
        target: where to.
        limit_s: how long the target may take to answer, over all its addresses.
    """

    def __init__(self, target: ServiceAddress, limit_s: Seconds = DIAL_S) -> None:
        self._target = target
        self._limit_s = limit_s
        self._answered: Address | None = None  # the address that was connected to last

    def dial(self) -> socket.socket:
        """Return a connected socket; raises `TargetFailed`."""
        timeout = gevent.Timeout(self._limit_s)
        try:
            with timeout:
                sock = self._connected()
            prepare(sock)
        except gevent.Timeout as error:
            if error is not timeout:
                raise
            raise self._timed_out() from error
        except HostUnreachable as error:
            raise TargetFailed(ResetCode.UNREACHABLE, str(error)) from error
        except TimeoutError as error:
            raise self._timed_out() from error
        except OSError as error:
            raise target_failed(error) from error
        return sock

    def _connected(self) -> socket.socket:
        target, ends_at = self._target, monotonic() + self._limit_s
        if isinstance(target, UnixEndpoint):
            return _dial_unix(target.path)
        if target.host == LOCALHOST:
            addresses = list(LOCAL_ADDRESSES)
        else:
            addresses = resolve(target.host, "", "")[:MAX_ADDRESSES]
        addresses.sort(key=lambda address: address != self._answered)
        sock, self._answered = connect_in_turn(addresses, target.port, ends_at - monotonic())
        return sock

    def _timed_out(self) -> TargetFailed:
        reason = f"it did not answer within {self._limit_s:.0f} s"
        return TargetFailed(ResetCode.TARGET_TIMED_OUT, reason)


def connect_in_turn(
    addresses: Sequence[Address], port: int, limit_s: Seconds
) -> tuple[socket.socket, Address]:
    """Return a socket and the address that it is connected to; never tries two at once.

    Args:
        addresses: in the order of trying, at least one.
        port: 1 to 65535.
        limit_s: shared evenly by those that are left.

    Raises the `OSError` that says most when none answers.
    """
    errors: list[OSError] = []
    ends_at = monotonic() + limit_s
    for number, address in enumerate(addresses):
        share_s = (ends_at - monotonic()) / (len(addresses) - number)
        try:
            return _connect(address, port, max(share_s, LEAST_S)), address
        except OSError as error:
            errors.append(error)
    # A refusal says more than silence, and silence more than a family that this machine has not.
    kinds = (ConnectionRefusedError, TimeoutError, OSError)
    raise next(each for kind in kinds for each in errors if isinstance(each, kind))


def target_failed(error: OSError) -> TargetFailed:
    """Return what the system's answer to a connection means for the target."""
    return TargetFailed(_reset_of(error), _words_of(error))


def _connect(address: Address, port: int, limit_s: Seconds) -> socket.socket:
    """Return a connected socket; raises `OSError`, and has tried to the end then."""
    family, text = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(limit_s)
        sock.connect((text, port))
        sock.settimeout(None)
    except BaseException:
        sock.close()  # an answer that is still to come is met with a reset: no server sees it
        raise
    return sock


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
