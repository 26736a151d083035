"""Where TCP connections go and come from: the TARGET of `share`, the BIND of `open`.

    TARGET   HOST:PORT  PORT  [::1]:PORT  unix:PATH
    BIND     HOST:PORT  PORT  [::1]:PORT  unix:PATH  :PORT for every address of this machine

A port without a host means this machine.  Pure: what the names lead to is found out elsewhere.
"""

import ipaddress
import re

from derphole.errors import UsageError
from tunnel.addresses import host_and_port
from tunnel.values import frozen

# Chosen.
DEFAULT_BIND = "127.0.0.1:0"
LOCALHOST = "localhost"
# What sockaddr_un holds on Linux, with its final zero; macOS has 4 bytes less and says so itself.
MAX_UNIX_PATH = 107
MAX_PORT = 65535
MAX_HOST_SIZE = 253

_UNIX = "unix:"
_PORT = re.compile(r"[0-9]{1,5}")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\[\]:/@\s]*)):([0-9]{1,5})")


@frozen
class TcpEndpoint:
    """A TCP address.

    Args:
        host: a name or an address without brackets; "" for every address of this machine.
        port: 0 for any, where one may be chosen.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return host_and_port(self.host, self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        if self.host == LOCALHOST:
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False


@frozen
class UnixEndpoint:
    """A socket in the file system."""

    path: str

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        return True


ServiceAddress = TcpEndpoint | UnixEndpoint


def parse_target(text: str) -> ServiceAddress:
    """Read the TARGET of `share`; raises `UsageError`."""
    what = f'invalid target "{text}"'
    forms = "use HOST:PORT, PORT, [::1]:PORT or unix:PATH"
    if "://" in text:
        raise UsageError(f"{what}: remove {text.partition('://')[0]}://; {forms}")
    endpoint = _parse(text, LOCALHOST, what, forms)
    if isinstance(endpoint, TcpEndpoint) and not (endpoint.host and endpoint.port):
        missing = f"the port must be 1 to {MAX_PORT}" if endpoint.host else "the host is missing"
        raise UsageError(f"{what}: {missing}; {forms}")
    return endpoint


def parse_bind(text: str) -> ServiceAddress:
    """Read the BIND of `open`; raises `UsageError`."""
    forms = "use HOST:PORT, PORT, unix:PATH, or :PORT for every address of this machine"
    return _parse(text, "127.0.0.1", f'invalid address to listen on "{text}"', forms)


def _parse(text: str, default_host: str, what: str, forms: str) -> ServiceAddress:
    if text.startswith(_UNIX):
        return _unix(text.removeprefix(_UNIX), what, forms)
    if _PORT.fullmatch(text):
        host, digits = default_host, text
    else:
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise UsageError(f"{what}; {forms}")
        host, digits = match[1] or match[2], match[3]
        if match[1] and not _is_ipv6(match[1]):
            raise UsageError(f"{what}: [{match[1]}] is not an IPv6 address; {forms}")
    if int(digits) > MAX_PORT:
        raise UsageError(f"{what}: the port must be at most {MAX_PORT}; {forms}")
    if len(host) > MAX_HOST_SIZE:
        raise UsageError(f"{what}: a host name has at most {MAX_HOST_SIZE} characters; {forms}")
    return TcpEndpoint(host, int(digits))


def _unix(path: str, what: str, forms: str) -> UnixEndpoint:
    if not path or "\0" in path:
        raise UsageError(f"{what}: a path must follow unix:; {forms}")
    try:
        size = len(path.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise UsageError(f"{what}: it is not a path; {forms}") from error
    if size > MAX_UNIX_PATH:
        raise UsageError(f"{what}: the path of a socket may have at most {MAX_UNIX_PATH} bytes")
    return UnixEndpoint(path)


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text.partition("%")[0]).version == 6
    except ValueError:
        return False
