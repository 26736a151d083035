"""Dialling one relay: TCP, perhaps a proxy, perhaps TLS, and the HTTP upgrade to DERP.

    resolve --> connect_to --> request_tunnel --> start_tls --> GET /derp, 101 --> frames

Each step has a limit of its own: where one was taken, the relay lives and the network is slow.
Everything that fails is a `RelayError` whose text continues a sentence that begins with the relay's
name: "relay 192.0.2.1:443" + " has a certificate that ...".  Source: tailscale
derp/derphttp/derphttp_client.go.  This module does not log in and does not try again.
"""

import ipaddress
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import Enum

import gevent
from gevent import socket

from tunnel.addresses import bracketed, host_and_port, without_zone
from tunnel.errors import (
    DecodeError,
    HostUnreachable,
    RelayDistrusted,
    RelayError,
    RelayLate,
    RelayNameUnknown,
    RelayNotDerp,
    RelayNotListening,
    RelayRedirected,
    RelayRefused,
    RelayUnreachable,
)
from tunnel.net.clock import monotonic
from tunnel.net.relay_client.proxy import ProxySettings, request_tunnel
from tunnel.net.relay_client.tls import (
    PUBLIC_AUTHORITIES,
    Authorities,
    shown_pin,
    start_tls,
)
from tunnel.net.sockets import connect_to, resolve
from tunnel.proto.relay_client.derp_client import DEFAULT_TIMING, ClientTiming
from tunnel.proto.relay_client.patience import DEFAULT_LIMITS, DialLimits
from tunnel.units import ByteCount, Seconds
from tunnel.values import frozen
from tunnel.wire.derpmap import PIN_PREFIX, RelayNode
from tunnel.wire.http_head import (
    ResponseHead,
    encode_upgrade_request,
    head_size,
    parse_response_head,
)

# Chosen.
NOT_SENT_LOW_WATER_BYTES = 64 << 10  # design §7: what waits in the kernel cannot be overtaken
MAX_BODY_SHOWN = 120
MAX_LOCATION_SHOWN = 200
BODY_TIMEOUT_S = 1.0

_READ_SIZE = 16 << 10
_SWITCHING_PROTOCOLS = 101
_REDIRECTS = (301, 302, 303, 307, 308)
_BAD_REQUEST = 400
# What servers that want TLS answer to HTTP: an alert, or this status with words that name https.
_TLS_ALERT = b"\x15\x03"
_WANTS_TLS = "speaks TLS: if it is a relay, its URL begins with https://, not with http://"
# A server that is there, but cannot take us now: too many at once, or what is behind it is away.
_PASSING = (408, 425, 429)
_FIRST_SERVER_ERROR = 500
# socket.TCP_NOTSENT_LOWAT is missing from older Pythons.
_NOT_SENT_LOW_WATER_OPTION = {"linux": 25, "darwin": 0x201}


class DialStep(Enum):
    """How far an attempt has come, in words for a person."""

    NAME = "looking up its name"
    TCP = "no answer to TCP"
    PROXY = "waiting for the proxy"
    TLS = "in the TLS handshake"
    UPGRADE = "waiting for its answer to HTTP"
    LOGIN = "waiting for its answer to our login"


@frozen
class DialOptions:
    """How relays are dialled.

    Args:
        proxy: the proxies of this machine.
        authorities: who may vouch for a relay's certificate.
        limits: how long the first attempt may take; later ones may take longer.
        timing: how long a connected relay may be silent.
    """

    proxy: ProxySettings = field(default_factory=ProxySettings)
    authorities: Authorities = PUBLIC_AUTHORITIES
    limits: DialLimits = DEFAULT_LIMITS
    timing: ClientTiming = DEFAULT_TIMING


@dataclass(slots=True)
class RelayStream:
    """A byte stream to a relay.

    Args:
        socket: the connection, TLS included.
        leaf_pin: 16-byte pin of the certificate's key, if the certificate is not publicly trusted.
        is_loopback: the relay is on this machine.
        rest: bytes that came along with the answer to the upgrade.
        round_trip_s: how long the answer to the upgrade took.
    """

    socket: socket.socket
    leaf_pin: bytes | None
    is_loopback: bool
    rest: bytes = b""
    round_trip_s: Seconds = 0.0


class Dialling:
    """One attempt.

    Args:
        node: whom to reach.
        options: how.
        limits: how long each step may take.
        on_step: told of each step as it begins; must not block.
        segment_size: the largest TCP segment; None for what the system takes.
    """

    def __init__(
        self,
        node: RelayNode,
        options: DialOptions,
        limits: DialLimits | None = None,
        on_step: Callable[[DialStep], None] | None = None,
        segment_size: ByteCount | None = None,
    ) -> None:
        self._segment_size = segment_size
        self._node = node
        self._options = options
        self._limits = limits or options.limits
        self._on_step = on_step
        self._proxy = options.proxy.proxy_for(node.host, node.derp_port, use_tls=node.use_tls)

    def relay(self) -> RelayStream:
        """Connect and upgrade to DERP; raises `RelayError`."""
        stream = self.stream()
        try:
            _tune(stream.socket)
            with self._step(DialStep.UPGRADE):
                asked_at = monotonic()
                stream.rest = _upgrade(stream.socket, self._node)
                stream.round_trip_s = monotonic() - asked_at
        except OSError as error:
            stream.socket.close()
            raise RelayUnreachable("broke the connection off during the HTTP upgrade") from error
        except BaseException:
            stream.socket.close()
            raise
        return stream

    def stream(self) -> RelayStream:
        """Connect, with TLS if the relay speaks that.

        Raises:
            RelayError: the relay, or the proxy before it, cannot be used.
        """
        node, proxy = self._node, self._proxy
        sock = self._connected()
        try:
            is_loopback = proxy is None and ipaddress.ip_address(sock.getpeername()[0]).is_loopback
            self._pass_proxy(sock)
            pin = None
            if node.use_tls:
                with self._step(DialStep.TLS):
                    sock, pin = start_tls(sock, node, self._options.authorities)
            return RelayStream(sock, pin, is_loopback)
        except RelayDistrusted as error:
            raise self._with_pin(error) from error
        except OSError as error:
            sock.close()
            raise RelayUnreachable("broke the connection off") from error
        except BaseException:
            sock.close()
            raise

    @contextmanager
    def _step(self, step: DialStep) -> Iterator[None]:
        limit_s = self._limits.step_s
        self._begin(step)
        with limited(limit_s, f"did not complete the connection within {limit_s:.2g} s"):
            yield

    def _connected(self) -> socket.socket:
        node, proxy, limit_s = self._node, self._proxy, self._limits.node_s
        if proxy is None:
            way, late = "", f"did not answer within {limit_s:.2g} s"
            host, port, ipv4, ipv6 = node.host, node.derp_port, node.ipv4, node.ipv6
        else:
            way = f" through the proxy {proxy.address}"
            late = f"cannot be reached{way}, which did not answer in {limit_s:.2g} s"
            host, port, ipv4, ipv6 = proxy.host, proxy.port, "", ""
        unknown = f"cannot be reached{way}: its name was not looked up within {limit_s:.2g} s"
        try:
            self._begin(DialStep.NAME)
            with limited(limit_s, unknown):
                addresses = resolve(host, ipv4, ipv6)
            self._begin(DialStep.TCP)
            with limited(limit_s, late):
                return connect_to(addresses, port, self._segment_size)
        except HostUnreachable as error:
            raise _kind_of(error)(f"cannot be reached{way}: {error}") from error

    def _begin(self, step: DialStep) -> None:
        if self._on_step is not None:
            self._on_step(step)

    def _pass_proxy(self, sock: socket.socket) -> None:
        if self._proxy is not None:
            with self._step(DialStep.PROXY):
                request_tunnel(sock, self._proxy, self._node.host, self._node.derp_port)

    def _with_pin(self, error: RelayDistrusted) -> RelayDistrusted:
        """Return the error with the URL that would pin what the relay shows, for a person.

        OpenSSL keeps a certificate that it does not trust to itself: it is asked for once more.
        """
        pin = error.seen_pin or self._seen_pin()
        if pin is None:
            return error
        url = f"https://{self._node.address}#{PIN_PREFIX}{pin.hex()}"
        return RelayDistrusted(
            f"{error}; if it is your own relay, compare this pin with that of its certificate, "
            f"and if they match use --relay {url}",
            pin,
        )

    def _seen_pin(self) -> bytes | None:
        try:
            sock = self._connected()
            with closing(sock):
                self._pass_proxy(sock)
                with self._step(DialStep.TLS):
                    return shown_pin(sock, without_zone(self._node.host))
        except (OSError, RelayError, DecodeError):
            return None  # the sentence does without


@contextmanager
def limited(timeout_s: Seconds, sentence: str) -> Iterator[None]:
    """Raise `RelayLate(sentence)` in the block once it has taken `timeout_s`."""
    with gevent.Timeout(max(timeout_s, 0.001), RelayLate(sentence)):
        yield


def host_header(node: RelayNode) -> str:
    """Return the Host field for a relay: the port only where it is not the scheme's own."""
    host = without_zone(node.host)
    is_default = node.derp_port == (443 if node.use_tls else 80)
    return bracketed(host) if is_default else host_and_port(host, node.derp_port)


def read_head(sock: socket.socket) -> tuple[ResponseHead, bytes]:
    """Read a response head; returns it and the bytes behind it.

    Raises:
        RelayNotDerp: what answers does not speak HTTP.
        RelayUnreachable: the connection ended first.
    """
    data = bytearray()
    try:
        while (size := head_size(data)) is None:
            piece = sock.recv(_READ_SIZE)
            if not piece and data:
                raise DecodeError("its answer ends in the middle")
            if not piece:
                raise RelayUnreachable("closed the connection without an answer")
            data += piece
        return parse_response_head(bytes(data[:size])), bytes(data[size:])
    except DecodeError as error:
        if data.startswith(_TLS_ALERT):
            raise RelayNotDerp(_WANTS_TLS) from error
        shown = _printable(bytes(data))
        raise RelayNotDerp(f"is not a DERP server: it does not speak HTTP ({shown})") from error


def location_of(head: ResponseHead) -> str | None:
    """Return where a redirect leads, fit to be shown; None for any other answer."""
    location = head.headers.get("location", "")
    if head.status not in _REDIRECTS or not location:
        return None
    return _printable(location.encode("latin-1", "replace"), MAX_LOCATION_SHOWN)


def _kind_of(error: HostUnreachable) -> type[RelayUnreachable]:
    if error.is_name_unknown:
        return RelayNameUnknown
    return RelayNotListening if error.is_refused else RelayUnreachable


def _tune(sock: socket.socket) -> None:
    option = _NOT_SENT_LOW_WATER_OPTION.get(sys.platform)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, NOT_SENT_LOW_WATER_BYTES)


def _upgrade(sock: socket.socket, node: RelayNode) -> bytes:
    """Do the HTTP upgrade; returns the bytes that came behind the answer's head."""
    sock.sendall(encode_upgrade_request(host_header(node)))
    head, rest = read_head(sock)
    if head.status == _SWITCHING_PROTOCOLS:
        return rest
    body = _printable(_read_body(sock, head, rest))
    answer = f"HTTP {head.status} {_printable(head.reason.encode('latin-1'))}".rstrip()
    location = location_of(head)
    if location is not None:
        raise RelayRedirected(f"redirects us to {location}: it answered {answer}", location)
    said = f"it answered {answer}" + (f" ({body})" if body else "")
    if head.status == _BAD_REQUEST and not node.use_tls and "https" in body.lower():
        raise RelayNotDerp(_WANTS_TLS)
    if head.status in _PASSING or head.status >= _FIRST_SERVER_ERROR:
        raise RelayRefused(f"does not accept us now: {said}")
    raise RelayNotDerp(f"is not a DERP server: {said}")


def _read_body(sock: socket.socket, head: ResponseHead, rest: bytes) -> bytes:
    """Return the start of an error's body, as far as it comes soon."""
    length = head.headers.get("content-length", "")
    is_short = length.isdecimal() and len(length) <= 3
    wanted = min(int(length) if is_short else _READ_SIZE, 4 * MAX_BODY_SHOWN)
    data = bytearray(rest)
    with gevent.Timeout(BODY_TIMEOUT_S, False):
        while len(data) < wanted and (piece := sock.recv(_READ_SIZE)):
            data += piece
    return bytes(data)


def _printable(data: bytes, limit: int = MAX_BODY_SHOWN) -> str:
    """Return the start of foreign bytes as one line that no terminal can take for a command."""
    text = " ".join(data[: 4 * limit].decode("utf-8", "replace").split())
    return "".join(char if char.isprintable() else "?" for char in text[:limit])
