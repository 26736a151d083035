"""HTTP proxies: which one a connection goes through, and the CONNECT that opens the way.

    CONNECT relay.example:443 HTTP/1.1        HTTP/1.1 200 Connection established
    Host: relay.example:443                   (empty line)
    Proxy-Authorization: Basic ...
    (empty line)

The settings are values that the command line read from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and
NO_PROXY; no environment is read here.  Loopback destinations never use a proxy, as in Go's and
curl's clients.
Sources: RFC 9110 section 9.3.6, RFC 7617; golang.org/x/net/http/httpproxy.
"""

import ipaddress
from base64 import b64encode
from urllib.parse import unquote, urlsplit

from gevent import socket

from tunnel.addresses import host_and_port
from tunnel.errors import (
    DecodeError,
    ProxyLoginRefused,
    ProxyRefused,
    ProxyUnsupported,
    RelayUnreachable,
)
from tunnel.values import frozen_secret
from tunnel.wire.http_head import head_size, parse_response_head

DEFAULT_PROXY_PORT = 80
OTHER_KINDS = ("https", "socks", "socks4", "socks4a", "socks5", "socks5h")

_READ_SIZE = 4096


@frozen_secret
class ProxyAddress:
    """Where a proxy listens; `authorization` is the value of its header, or ""."""

    host: str
    port: int
    authorization: str = ""

    @property
    def address(self) -> str:
        """`host:port` for a person, without the password."""
        return host_and_port(self.host, self.port)

    def __repr__(self) -> str:
        return f"<ProxyAddress {self.address}>"


@frozen_secret
class ProxySettings:
    """The proxies of this machine; "" = none.

    Args:
        https: URL of the proxy for TLS connections.
        http: URL of the proxy for connections without TLS.
        no_proxy: what goes without one: names (and what ends in them), addresses, networks, each
            with an optional port; separated by commas; `*` = everything.
    """

    https: str = ""
    http: str = ""
    no_proxy: str = ""

    def proxy_for(self, host: str, port: int, *, use_tls: bool) -> ProxyAddress | None:
        """Return the proxy for a destination; raises `ProxyUnsupported`."""
        url = self.https if use_tls else self.http
        if not url or _is_loopback(host) or self._is_exempt(host.lower().rstrip("."), port):
            return None
        return parse_proxy_url(url)

    def _is_exempt(self, host: str, port: int) -> bool:
        rules = (rule.strip().lower() for rule in self.no_proxy.split(","))
        return any(_rule_covers(rule, host, port) for rule in rules if rule)

    def __repr__(self) -> str:
        return f"<ProxySettings https={bool(self.https)} http={bool(self.http)}>"


def parse_proxy_url(url: str) -> ProxyAddress:
    """Read `[http://][user:password@]host[:port]`.

    Raises:
        ProxyUnsupported: it is not of that form; the text names no password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        parts = urlsplit("")
    kind = parts.scheme.lower()
    if host and kind in OTHER_KINDS:
        raise ProxyUnsupported(
            f"cannot be reached: the proxy setting names a proxy of the kind {kind}, which is not "
            "supported; set HTTPS_PROXY and HTTP_PROXY to an HTTP proxy "
            "(http://[user:password@]host[:port]), or name the relay's host in NO_PROXY"
        )
    if kind != "http" or not host or not url.isascii() or not url.isprintable():
        raise ProxyUnsupported(
            "cannot be reached: the proxy setting must have the form "
            "http://[user:password@]host[:port], the only kind of proxy supported"
        )
    authorization = ""
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(credentials.encode()).decode("ascii")
    return ProxyAddress(host, port or DEFAULT_PROXY_PORT, authorization)


def request_tunnel(sock: socket.socket, proxy: ProxyAddress, host: str, port: int) -> None:
    """Ask the proxy at the other end of `sock` for a way to `host:port`, by name.

    The caller bounds the time.

    Raises:
        ProxyRefused: the proxy said no.
        RelayUnreachable: the proxy hung up or does not speak HTTP.
    """
    target = host_and_port(host, port)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", "User-Agent: derphole"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    sock.sendall("\r\n".join((*lines, "", "")).encode("ascii"))
    way = f"cannot be reached through the proxy {proxy.address}"
    try:
        head = parse_response_head(_read_exact_head(sock, way))
    except DecodeError as error:
        raise RelayUnreachable(f"{way}: its answer is not HTTP") from error
    if head.status == 407:
        raise ProxyLoginRefused(f"{way}: it wants another user name and password (HTTP 407)")
    if not 200 <= head.status < 300:
        reason = "".join(char if char.isprintable() else "?" for char in head.reason[:80])
        raise ProxyRefused(f"{way}: it answered {head.status} {reason}".rstrip())


def _read_exact_head(sock: socket.socket, way: str) -> bytes:
    """Read a response head and not one byte of what follows, which belongs to TLS or DERP."""
    data = bytearray()
    while (size := head_size(data)) is None:
        # A first look without taking bytes away finds the end of the head.
        seen = sock.recv(_READ_SIZE, socket.MSG_PEEK)
        if not seen:
            raise RelayUnreachable(f"{way}: it closed the connection without an answer")
        end = head_size(bytes(data) + seen)
        wanted = len(seen) if end is None else end - len(data)
        data += sock.recv(wanted)
    return bytes(data[:size])


def _is_loopback(host: str) -> bool:
    address = _literal(host)
    return host.lower().rstrip(".") == "localhost" if address is None else address.is_loopback


def _rule_covers(rule: str, host: str, port: int) -> bool:
    if rule == "*":
        return True
    rule_host, rule_port = _split_port(rule)
    if rule_port is not None and rule_port != port:
        return False
    address = _literal(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(rule_host, strict=False)
        except ValueError:
            return False
    name = rule_host.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(rule: str) -> tuple[str, int | None]:
    """Split `name:port`, `address:port` or `[v6]:port`; a bare IPv6 address has no port."""
    head, colon, tail = rule.rpartition(":")
    has_port = bool(colon) and tail.isdecimal() and (":" not in head or head.endswith("]"))
    host = head if has_port else rule
    return host.removeprefix("[").removesuffix("]"), int(tail) if has_port else None


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
