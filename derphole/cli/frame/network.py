"""Arguments and environment become `NetworkOptions`: the one place that reads these variables."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from derphole.cli.frame.arguments import Arguments, parse_size
from derphole.config import TRACE_SIZE, NetworkOptions, RelayAddress
from derphole.errors import UsageError
from derphole.token.hints import OwnRelay
from derphole.token.pasted import has_token
from derphole.token.typed_times import parse_duration
from derphole.trace_bounds import LEAST_SIZE
from tunnel.addresses import is_link_local, unquoted_zone
from tunnel.units import KIB, ByteCount, Seconds

DEFAULT_PORTS = {"https": 443, "http": 80}
# 16 bytes are what a token carries; derper prints the hash of its whole certificate.
PIN = re.compile(r"sha256:([0-9a-fA-F]{32}|[0-9a-fA-F]{64})|sha256-raw:[0-9a-fA-F]{64}")
URL = re.compile(r"https?://[^\s\"'`<>()]+", re.IGNORECASE)
BARE_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.%]+\])(?::[0-9]{1,5})?/?(?:#\S+)?")
STUN_QUERY = re.compile(r"stun=([1-9][0-9]{0,4}|off)")
MAP_PATH = "/derpmap"
RELAY_PATHS = ("", "/", "/derp")
CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"
MAX_PARALLEL = 16
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


def network_options(arguments: Arguments) -> NetworkOptions:
    """Return the settings of a command with a network; raises `UsageError`."""
    environ = arguments.environ
    derp_map, relay = _relay_choice(arguments)
    timeout_s = _timeout(arguments.text("--timeout"))
    _check_parallel(arguments.text("--parallel"))
    trace = arguments.text("--trace")
    if trace == "":
        raise UsageError("--trace requires the name of a file")
    return NetworkOptions(
        derp_map=derp_map,
        relay=parse_relay(relay) if relay else None,
        force_relay=arguments.flag("--force-relay"),
        udp_port=_udp_port(arguments),
        timeout_s=timeout_s,
        is_patient=timeout_s is None and arguments.text("--timeout") is not None,
        trace=Path(trace) if trace else None,
        trace_size=_trace_size(arguments.text("--trace-size"), has_trace=bool(trace)),
        proxy_https=_either_case(environ, "HTTPS_PROXY") or _either_case(environ, "ALL_PROXY"),
        proxy_http=_either_case(environ, "HTTP_PROXY") or _either_case(environ, "ALL_PROXY"),
        no_proxy=_no_proxy(_either_case(environ, "NO_PROXY")),
        ca_file=_ca_file(arguments.text("--ca-file")),
        cert_file=_path(environ.get("SSL_CERT_FILE")),
        cert_dir=_path(environ.get("SSL_CERT_DIR")),
        cache_dir=cache_dir(environ),
    )


def parse_relay(text: str) -> RelayAddress:
    """Read `https://host[:port][?stun=PORT|off][#PIN]`, or the same with `http://` and no PIN.

    Raises `UsageError`.  PIN is `sha256:HEX`, or `sha256-raw:HEX` as derper prints it.  The one URL
    in a whole line, such as the one that `derphole relay` prints, is enough.
    """
    text = _one_url(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _bad_relay(text, str(error)) from error
    if parts.path == MAP_PATH:
        raise _bad_relay(text, "it is the URL of a relay map, which goes to --derp-map")
    if not parts.hostname or parts.username is not None or parts.path not in RELAY_PATHS:
        raise _bad_relay(text, "nothing may follow the host name and the port")
    stun = STUN_QUERY.fullmatch(parts.query)
    if (parts.query and stun is None) or port == 0:
        raise _bad_relay(text, "only ?stun=PORT may follow the host name and the port")
    host = unquoted_zone(parts.hostname)
    if is_link_local(host) and "%" not in host:
        raise _bad_relay(
            text,
            "a link-local address needs the interface of this machine that it is reached by, as in "
            f"{parts.scheme}://[{host}%eth0]:{port or DEFAULT_PORTS[parts.scheme]}",
        )
    pin = _pin(text, parts.fragment) if parts.fragment else None
    if pin and parts.scheme != "https":
        raise _bad_relay(text, "a pin requires https")
    address = RelayAddress(
        host,
        port or DEFAULT_PORTS[parts.scheme],
        parts.scheme == "https",
        pin,
        stun[1] if stun else None,
    )
    try:
        OwnRelay(address.host, address.port)
    except ValueError as error:
        raise _bad_relay(text, str(error)) from error
    return address


def _one_url(text: str) -> str:
    """Return the one URL in what was pasted as a relay; raises `UsageError`."""
    if has_token(text):  # which is secret
        raise UsageError(
            "what was given as a relay holds a token; a relay is a URL such as "
            "https://relay.example.com, and the token says itself which relay to use",
            shows_help=False,
        )
    urls: list[str] = list(dict.fromkeys(url.rstrip(".,;") for url in URL.findall(text)))
    if len(urls) == 1:
        return urls[0]
    if urls:
        raise _bad_relay(text, f"there are {len(urls)} URLs in it; give one")
    if BARE_HOST.fullmatch(host := text.strip(" \t\r\n\"'`<>()")):
        raise _bad_relay(
            text,
            f"its scheme is missing; write http://{host} if the relay has no certificate, or "
            f"https://{host} if it has one",
        )
    raise _bad_relay(text, "it must begin with https:// or http://")


def cache_dir(environ: Mapping[str, str]) -> Path | None:
    """Return the folder for what may be fetched again, None for a user without a home."""
    chosen = environ.get("XDG_CACHE_HOME", "")
    if chosen and Path(chosen).is_absolute():
        return Path(chosen) / "derphole"
    home = environ.get("HOME", "")
    if not home or not Path(home).is_absolute():
        return None
    folder = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return Path(home) / folder / "derphole"


def _relay_choice(arguments: Arguments) -> tuple[str | None, str | None]:
    """Return map and relay, of which one at most is given; options win over the environment."""
    derp_map, relay = arguments.text("--derp-map"), arguments.text("--relay")
    if derp_map == "" or relay == "":
        raise UsageError("--derp-map and --relay require a value")
    if derp_map and relay:
        raise UsageError("only one of --derp-map or --relay may be set")
    if derp_map or relay:
        return derp_map, relay
    environ = arguments.environ
    relay = environ.get("DERPHOLE_RELAY") or environ.get("DERPHOLE_DERP_SERVER") or None
    return (None if relay else environ.get("DERPHOLE_DERP_MAP") or None), relay


def _pin(text: str, fragment: str) -> str:
    if not PIN.fullmatch(fragment):
        raise _bad_relay(text, "a pin must be #sha256: or #sha256-raw: and 64 hexadecimal digits")
    return fragment.lower()


def _bad_relay(text: str, reason: str) -> UsageError:
    return UsageError(f'invalid relay "{text}": {reason}', shows_help=False)


def _ca_file(text: str | None) -> Path | None:
    """Return the file of --ca-file; raises `UsageError` unless it holds a certificate."""
    if text is None:
        return None
    path = Path(text)
    try:
        has_certificate = CERTIFICATE_MARK in path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(
            f'--ca-file "{text}" cannot be read: {reason}', shows_help=False
        ) from error
    if not has_certificate:
        raise UsageError(f'--ca-file "{text}" holds no PEM certificate', shows_help=False)
    return path


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _timeout(text: str | None) -> Seconds | None:
    """Return the bound in seconds; 0 and nothing at all mean none."""
    if text is None:
        return None
    seconds = float(text) if SECONDS.fullmatch(text) else parse_duration(text)
    if seconds is None:
        raise UsageError(f'invalid --timeout value "{text}"; use seconds, or 0 for no limit')
    return seconds or None


def _trace_size(text: str | None, *, has_trace: bool) -> ByteCount:
    """Return how large a trace may grow."""
    if text is None:
        return TRACE_SIZE
    if not has_trace:
        raise UsageError("--trace-size requires --trace FILE", shows_help=False)
    size = parse_size(text)
    if size is None or size < LEAST_SIZE:
        raise UsageError(
            f'invalid --trace-size value "{text}"; use bytes, such as 500K or 64M, '
            f"and at least {LEAST_SIZE // KIB}K",
            shows_help=False,
        )
    return size


def _udp_port(arguments: Arguments) -> int:
    """Return the port of direct paths, 0 for any."""
    text = arguments.text("--udp-port")
    if text is None:
        return 0
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise UsageError(f'invalid --udp-port value "{text}"; use a number from 1 to 65535')
    if arguments.flag("--force-relay"):
        raise UsageError("--udp-port is for direct paths, and --force-relay allows none")
    return int(text)


def _check_parallel(text: str | None) -> None:
    """Raise `UsageError` for what could not be a number of lanes; nothing uses several so far."""
    if text is None or text.lower() == "auto":
        return
    if not re.fullmatch(r"[0-9]{1,2}", text) or not 1 <= int(text) <= MAX_PARALLEL:
        raise UsageError(f"parallel must be 1-{MAX_PARALLEL} or auto")


def _either_case(environ: Mapping[str, str], name: str) -> str | None:
    """Return a proxy variable; the lower-case name wins, as it does elsewhere."""
    return environ.get(name.lower()) or environ.get(name) or None


def _no_proxy(text: str | None) -> tuple[str, ...]:
    """Read what goes without a proxy: separated by commas, blanks or both."""
    return tuple((text or "").replace(",", " ").split())
