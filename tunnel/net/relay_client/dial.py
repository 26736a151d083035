"""Dialling one relay: TCP, perhaps a proxy, perhaps TLS, and the HTTP upgrade to DERP.

    connect_tcp --> request_tunnel --> start_tls --> GET /derp, 101 --> frames

Everything that fails is a `RelayError` whose text continues a sentence that begins with the relay's
name: "relay 192.0.2.1:443" + " has a certificate that ...".  Source: tailscale
derp/derphttp/derphttp_client.go.  This module does not log in and does not try again.
"""

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import gevent
from gevent import socket

from tunnel.addresses import bracketed, host_and_port
from tunnel.errors import (
    DecodeError,
    HostUnreachable,
    RelayDistrusted,
    RelayError,
    RelayNameUnknown,
    RelayNotDerp,
    RelayRedirected,
    RelayRefused,
    RelayUnreachable,
)
from tunnel.net.relay_client.proxy import ProxyAddress, ProxySettings, request_tunnel
from tunnel.net.relay_client.tls import shown_pin, start_tls
from tunnel.net.sockets import connect_tcp
from tunnel.proto.relay_client.derp_client import DEFAULT_TIMING, ClientTiming
from tunnel.units import Seconds
from tunnel.wire.derpmap import PIN_PREFIX, RelayNode
from tunnel.wire.http_head import (
    ResponseHead,
    encode_upgrade_request,
    head_size,
    parse_response_head,
)

# Chosen, as the Go client.
NODE_TIMEOUT_S = 1.5  # until TCP is connected
TOTAL_TIMEOUT_S = 10.0  # until the relay has accepted our key, over all nodes of a region

# Chosen.
NOT_SENT_LOW_WATER_BYTES = 64 << 10  # design §7: what waits in the kernel cannot be overtaken
MAX_BODY_SHOWN = 120
MAX_LOCATION_SHOWN = 200
BODY_TIMEOUT_S = 1.0

_READ_SIZE = 16 << 10
_SWITCHING_PROTOCOLS = 101
_REDIRECTS = (301, 302, 303, 307, 308)
# A server that is there, but cannot take us now: too many at once, or what is behind it is away.
_PASSING = (408, 425, 429)
_FIRST_SERVER_ERROR = 500
# socket.TCP_NOTSENT_LOWAT is missing from older Pythons.
_NOT_SENT_LOW_WATER_OPTION = {"linux": 25, "darwin": 0x201}


@dataclass(frozen=True, slots=True)
class DialOptions:
    """How relays are dialled.

    Args:
        proxy: the proxies of this machine.
        ca_file: PEM roots to trust beside the public ones.
        node_timeout_s: for the TCP connection to one node.
        total_timeout_s: for everything until the relay has accepted our key.
        timing: how long a connected relay may be silent.
    """

    proxy: ProxySettings = field(default_factory=ProxySettings)
    ca_file: Path | None = None
    node_timeout_s: Seconds = NODE_TIMEOUT_S
    total_timeout_s: Seconds = TOTAL_TIMEOUT_S
    timing: ClientTiming = DEFAULT_TIMING


@dataclass(slots=True)
class RelayStream:
    """A byte stream to a relay.

    Args:
        socket: the connection, TLS included.
        leaf_pin: 16-byte pin of the certificate's key, if the certificate is not publicly trusted.
        is_loopback: the relay is on this machine.
        rest: bytes that came along with the answer to the upgrade.
    """

    socket: socket.socket
    leaf_pin: bytes | None
    is_loopback: bool
    rest: bytes = b""


def dial_relay(node: RelayNode, options: DialOptions, timeout_s: Seconds) -> RelayStream:
    """Connect to a relay and upgrade to DERP; raises `RelayError`."""
    with limited(timeout_s, f"did not complete the connection within {timeout_s:.2g} s"):
        stream = open_stream(node, options)
        try:
            _tune(stream.socket)
            stream.rest = _upgrade(stream.socket, node)
        except OSError as error:
            stream.socket.close()
            raise RelayUnreachable("broke the connection off during the HTTP upgrade") from error
        except BaseException:
            stream.socket.close()
            raise
        return stream


def open_stream(node: RelayNode, options: DialOptions) -> RelayStream:
    """Connect to a relay, with TLS if it speaks that; the caller bounds the whole time.

    Raises:
        RelayError: the relay, or the proxy before it, cannot be used.
    """
    proxy = options.proxy.proxy_for(node.host, node.derp_port, use_tls=node.use_tls)
    sock = _connect(node, proxy, options.node_timeout_s)
    try:
        is_loopback = proxy is None and ipaddress.ip_address(sock.getpeername()[0]).is_loopback
        if proxy is not None:
            request_tunnel(sock, proxy, node.host, node.derp_port)
        pin = None
        if node.use_tls:
            sock, pin = start_tls(sock, node, options.ca_file)
        return RelayStream(sock, pin, is_loopback)
    except RelayDistrusted as error:
        raise _with_pin(error, node, options) from error
    except OSError as error:
        sock.close()
        raise RelayUnreachable("broke the connection off") from error
    except BaseException:
        sock.close()
        raise


@contextmanager
def limited(timeout_s: Seconds, sentence: str) -> Iterator[None]:
    """Raise `RelayUnreachable(sentence)` in the block once it has taken `timeout_s`."""
    with gevent.Timeout(max(timeout_s, 0.001), RelayUnreachable(sentence)):
        yield


def host_header(node: RelayNode) -> str:
    """Return the Host field for a relay: the port only where it is not the scheme's own."""
    is_default = node.derp_port == (443 if node.use_tls else 80)
    return bracketed(node.host) if is_default else host_and_port(node.host, node.derp_port)


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
        shown = _printable(bytes(data))
        raise RelayNotDerp(f"is not a DERP server: it does not speak HTTP ({shown})") from error


def location_of(head: ResponseHead) -> str | None:
    """Return where a redirect leads, fit to be shown; None for any other answer."""
    location = head.headers.get("location", "")
    if head.status not in _REDIRECTS or not location:
        return None
    return _printable(location.encode("latin-1", "replace"), MAX_LOCATION_SHOWN)


def _connect(node: RelayNode, proxy: ProxyAddress | None, timeout_s: Seconds) -> socket.socket:
    if proxy is None:
        way, late = "", f"did not answer within {timeout_s:g} s"
        host, port, ipv4, ipv6 = node.host, node.derp_port, node.ipv4, node.ipv6
    else:
        way = f" through the proxy {proxy.address}"
        late = f"cannot be reached{way}, which did not answer in {timeout_s:g} s"
        host, port, ipv4, ipv6 = proxy.host, proxy.port, "", ""
    with limited(timeout_s, late):
        try:
            return connect_tcp(host, port, ipv4, ipv6)
        except HostUnreachable as error:
            kind = RelayNameUnknown if error.is_name_unknown else RelayUnreachable
            raise kind(f"cannot be reached{way}: {error}") from error


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
    if head.status in _PASSING or head.status >= _FIRST_SERVER_ERROR:
        raise RelayRefused(f"does not accept us now: {said}")
    raise RelayNotDerp(f"is not a DERP server: {said}")


def _with_pin(error: RelayDistrusted, node: RelayNode, options: DialOptions) -> RelayDistrusted:
    """Return the error with the URL that would pin what the relay shows, for a person to compare.

    OpenSSL keeps a certificate that it does not trust to itself: it is asked for once more.
    """
    pin = error.seen_pin or _seen_pin(node, options)
    if pin is None:
        return error
    url = f"https://{node.address}#{PIN_PREFIX}{pin.hex()}"
    return RelayDistrusted(
        f"{error}; if it is your own relay, compare this pin with that of its certificate, and if "
        f"they match use --relay {url}",
        pin,
    )


def _seen_pin(node: RelayNode, options: DialOptions) -> bytes | None:
    proxy = options.proxy.proxy_for(node.host, node.derp_port, use_tls=node.use_tls)
    try:
        sock = _connect(node, proxy, options.node_timeout_s)
        with closing(sock):
            if proxy is not None:
                request_tunnel(sock, proxy, node.host, node.derp_port)
            return shown_pin(sock, node.host)
    except (OSError, RelayError, DecodeError):
        return None  # the sentence does without


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
