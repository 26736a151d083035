"""The options of `derphole relay`: text into checked values."""

import re
from pathlib import Path

from derphole.cli.frame.arguments import Arguments, parse_size
from derphole.errors import UsageError
from tunnel.errors import DecodeError
from tunnel.units import BytesPerSecond
from tunnel.values import frozen
from tunnel.wire.derpmap import DEFAULT_STUN_PORT, RelayNode, parse_relay_url

DEFAULT_LISTEN = "127.0.0.1:3340"
DEFAULT_MAX_CLIENTS = 1024
MOST_CLIENTS = 100_000

_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\[\]:\s/]*)):([0-9]{1,5})")


@frozen
class RelayOptions:
    """What the command line asks for.

    Args:
        listen: host ("" for all addresses) and port.
        stun_port: None for no STUN.
        stun_is_wanted: the STUN port was named, so it must work.
        certificate: certificate and key file, None for plain HTTP.
        max_clients: logged in at once.
        max_per_address: connections at once from one address, None for the usual number.
        is_behind_proxy: what a reverse proxy tells of its clients is believed.
        public: how everybody reaches the relay, None for as it listens.
        rate: of each client, None for no limit.
        key_file: None for a key that only this run has.
    """

    listen: tuple[str, int]
    stun_port: int | None
    stun_is_wanted: bool
    certificate: tuple[Path, Path] | None
    max_clients: int
    max_per_address: int | None
    is_behind_proxy: bool
    public: RelayNode | None
    rate: BytesPerSecond | None
    key_file: Path | None


def relay_options(arguments: Arguments) -> RelayOptions:
    """Read the options; raises `UsageError`."""
    stun = arguments.text("--stun-port")
    cert, key = arguments.text("--tls-cert"), arguments.text("--tls-key")
    if bool(cert) != bool(key):
        raise UsageError("--tls-cert and --tls-key must be given together")
    key_file = arguments.text("--key-file")
    return RelayOptions(
        listen=parse_listen(arguments.text("--listen") or DEFAULT_LISTEN),
        stun_port=DEFAULT_STUN_PORT if stun is None else parse_stun_port(stun),
        stun_is_wanted=stun is not None,
        certificate=(Path(cert), Path(key)) if cert and key else None,
        max_clients=parse_count("--max-clients", arguments) or DEFAULT_MAX_CLIENTS,
        max_per_address=parse_count("--max-per-address", arguments),
        is_behind_proxy=arguments.flag("--behind-proxy"),
        public=parse_public_url(arguments.text("--public-url")),
        rate=parse_rate(arguments.text("--rate")),
        key_file=Path(key_file) if key_file else None,
    )


def parse_listen(text: str) -> tuple[str, int]:
    """Read HOST:PORT, [IPv6]:PORT or :PORT; raises `UsageError`."""
    match = _LISTEN.fullmatch(text)
    if match is None or int(match[3]) > 65535:
        raise UsageError(
            f'invalid --listen value "{text}"; use HOST:PORT, [IPv6]:PORT, or :PORT for every '
            "address of this machine"
        )
    return match[1] or match[2] or "", int(match[3])


def parse_stun_port(text: str) -> int | None:
    """Read a port or `off`; raises `UsageError`."""
    if text == "off":
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise UsageError(f'invalid --stun-port value "{text}"; use a port or off')
    return int(text)


def parse_count(option: str, arguments: Arguments) -> int | None:
    """Read a number of clients or connections, None without; raises `UsageError`."""
    text = arguments.text(option)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MOST_CLIENTS:
        raise UsageError(f'invalid {option} value "{text}"; use 1 to {MOST_CLIENTS}')
    return int(text)


def parse_public_url(text: str | None) -> RelayNode | None:
    """Read how everybody reaches the relay, as for --relay, None without; raises `UsageError`."""
    if text is None:
        return None
    if "?" in text:
        raise UsageError("--public-url takes no ?stun=; --stun-port says where STUN is")
    try:
        (node,) = parse_relay_url(text).nodes
    except DecodeError as error:
        raise UsageError(f"invalid --public-url value: {error}") from error
    return node


def parse_rate(text: str | None) -> BytesPerSecond | None:
    """Read bytes a second with K, M or G for powers of 1024; raises `UsageError`."""
    if text is None:
        return None
    rate = parse_size(text)
    if not rate:
        raise UsageError(
            f'invalid --rate value "{text}"; use bytes a second, such as 1250000, 500K or 2M'
        )
    return float(rate)
