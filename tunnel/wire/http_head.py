"""HTTP/1.1 heads: the few lines that go before DERP frames, for either side.

    GET /derp HTTP/1.1            HTTP/1.1 101 Switching Protocols
    Host: relay.example           Upgrade: DERP
    Upgrade: DERP                 Connection: Upgrade
    (empty line)                  (empty line)

Lines end with CR LF; a head ends at its first empty line and is at most 16 KiB, and what follows
belongs to somebody else.  Field names are kept in lower case; the values of a repeated field are
joined with ", ".  Folded lines, bare line feeds and control characters are refused.  Sources:
RFC 9112; tailscale derp/derphttp and derpserver/handler.go.  This module knows neither bodies nor
sockets.
"""

import re
from collections.abc import Mapping

from tunnel.errors import DecodeError
from tunnel.values import frozen

# Fixed by the protocol.
END_OF_HEAD = b"\r\n\r\n"
DERP_PATH = "/derp"
FAST_START_FIELD = "derp-fast-start"
# Chosen: what Go's and Apache's servers accept lies around it; a DERP upgrade needs 200 bytes.
MAX_HEAD_SIZE = 16 << 10
MAX_FIELDS = 100

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_REQUEST_VERSION = re.compile(rb"HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")


@frozen
class RequestHead:
    """What a client asked for; `target` as sent, field names in lower case.

    Args:
        minor_version: 0 or 1, of HTTP/1.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    minor_version: int = 1

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def has_body(self) -> bool:
        """Whether content follows the head, of whatever size it says."""
        length = self.headers.get("content-length", "0")
        return "transfer-encoding" in self.headers or length.strip("0") != "" or not length

    def tokens(self, name: str) -> list[str]:
        """Return the values of a field that is a list, in lower case."""
        values = self.headers.get(name, "").lower().split(",")
        return [value.strip(" \t") for value in values]


@frozen
class ResponseHead:
    """What a server answered; `status` is 100 to 599, field names in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]


def head_size(data: bytes | bytearray) -> int | None:
    """Return the size of the head at the front of `data`, or None while it is incomplete.

    Raises:
        DecodeError: the head is, or must become, longer than `MAX_HEAD_SIZE`.
    """
    end = data.find(END_OF_HEAD, 0, MAX_HEAD_SIZE)
    if end >= 0:
        return end + len(END_OF_HEAD)
    if len(data) >= MAX_HEAD_SIZE:
        raise DecodeError(f"an HTTP head is longer than {MAX_HEAD_SIZE} bytes")
    return None


def parse_request_head(data: bytes) -> RequestHead:
    """Read a whole request head, empty line included; raises `DecodeError`."""
    first, headers = _split_head(data)
    words = first.split(b" ")
    version = _REQUEST_VERSION.fullmatch(words[2]) if len(words) == 3 else None
    if version is None:
        raise DecodeError("the first line is not that of an HTTP/1.1 request")
    method, target = words[:2]
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise DecodeError("an HTTP request's method or target is malformed")
    return RequestHead(method.decode("ascii"), target.decode("ascii"), headers, int(version[1]))


def parse_response_head(data: bytes) -> ResponseHead:
    """Read a whole response head, empty line included; raises `DecodeError`."""
    first, headers = _split_head(data)
    match = _STATUS_LINE.fullmatch(first)
    if match is None:
        raise DecodeError("the first line is not that of an HTTP/1.1 response")
    reason = match[2] or b""
    return ResponseHead(int(match[1]), reason.decode("latin-1").strip(), headers)


def encode_upgrade_request(host_header: str, *, fast_start: bool = False) -> bytes:
    """Return the request that turns a connection into DERP frames.

    Args:
        host_header: host, or host:port where the port is not the scheme's own; brackets around
            an IPv6 address.
        fast_start: ask the server to answer without any HTTP head.

    Raises:
        DecodeError: `host_header` cannot be part of an HTTP head.
    """
    if not _TARGET.fullmatch(host_header.encode("utf-8")):
        raise DecodeError("a host name with characters that HTTP does not allow")
    lines = [f"GET {DERP_PATH} HTTP/1.1", f"Host: {host_header}", "User-Agent: derphole"]
    lines += ["Connection: Upgrade", "Upgrade: DERP"]
    if fast_start:
        lines.append("Derp-Fast-Start: 1")
    return _encode_lines(lines)


def encode_response_head(status: int, reason: str, headers: Mapping[str, str]) -> bytes:
    """Return a response head; the caller's names and values are ASCII without line ends."""
    fields = (f"{name}: {value}" for name, value in headers.items())
    return _encode_lines([f"HTTP/1.1 {status} {reason}", *fields])


def _encode_lines(lines: list[str]) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _split_head(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Cut a head into its first line and its fields."""
    size = head_size(data)
    if size is None or size != len(data):
        raise DecodeError("an HTTP head that does not end with its first empty line")
    first, *lines = bytes(data[: -len(END_OF_HEAD)]).split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        raise DecodeError(f"an HTTP head of more than {MAX_FIELDS} fields")
    headers: dict[str, str] = {}
    for line in lines:
        name, value = _parse_field(line)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return first, headers


def _parse_field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise DecodeError("an HTTP field is malformed")
    return name.decode("ascii").lower(), value.decode("latin-1").strip(" \t")
