"""The DERP map: which relays exist, as the JSON that Tailscale's control servers publish.

    {"Regions": {"1": {"RegionID": 1, "RegionCode": "nyc", "RegionName": "New York City",
                       "NoMeasureNoHome": false, "Nodes": [NODE, ...]}, ...}}
    NODE = {"Name": "1c", "RegionID": 1, "HostName": "derp1c.example", "CertName": "",
            "IPv4": "", "IPv6": "", "STUNPort": 0, "STUNOnly": false, "DERPPort": 0,
            "CanPort80": false, "InsecureForTests": false, "PlainHTTP": false}

Member names count in any case, unknown members are skipped, null regions and nodes too.
`PlainHTTP` is ours: upstream's map cannot say that a relay has no TLS.  A single relay given as a
URL (`parse_relay_url`) becomes a region of its own.  Source: tailscale tailcfg/derpmap.go.  This
module does not know how maps are fetched or relays dialled.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from tunnel.addresses import host_and_port
from tunnel.errors import DecodeError
from tunnel.values import frozen

# Fixed by the protocol.
DEFAULT_DERP_PORT = 443
DEFAULT_STUN_PORT = 3478
STUN_OFF = -1
FAMILY_OFF = "none"  # instead of an address: do not use this family
RAW_PIN_PREFIX = "sha256-raw:"  # CertName: SHA-256 of the whole certificate, hex
OWN_REGION_ID = 900  # 900 to 999 belong to users

# Ours: a CertName that pins by a prefix of a SHA-256, see `tunnel.net.pins`.
PIN_PREFIX = "sha256:"

# Chosen: bounds far above any real map (the public one has about 30 regions in 40 KiB).
MAX_MAP_SIZE = 1 << 20
MAX_REGIONS = 1024
MAX_NODES = 64
MAX_NAME_LENGTH = 100
MAX_HOST_LENGTH = 253
MAX_REGION_ID = (1 << 32) - 1

# Labels of 1 to 63 bytes: what resolvers and TLS libraries take without an exception of their own.
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
# An address, with the name of an interface behind it at most: the library takes any text there.
_LITERAL = re.compile(r"[0-9A-Fa-f:.]{1,45}(%[A-Za-z0-9._-]{1,32})?")
_PIN = re.compile(r"sha256:(?:[0-9a-fA-F]{2}){16,32}|sha256-raw:[0-9a-fA-F]{64}")


@frozen
class RelayNode:
    """One relay server of a region.

    Args:
        host: a DNS name or an address literal (IPv6 without brackets); also the TLS server name.
        cert_name: "" (the certificate must be valid for `host`), another name that it must be
            valid for, or a pin: `sha256-raw:HEX` or `sha256:HEX`.
        ipv4: an address, "" to look `host` up, or `FAMILY_OFF`.
        ipv6: the same for IPv6.
        stun_port: 1 to 65535, or `STUN_OFF`.
        use_tls: false only for relays in tests and on a LAN.
    """

    name: str
    region_id: int
    host: str
    cert_name: str = ""
    ipv4: str = ""
    ipv6: str = ""
    stun_port: int = DEFAULT_STUN_PORT
    stun_only: bool = False
    derp_port: int = DEFAULT_DERP_PORT
    can_port_80: bool = False
    insecure_for_tests: bool = False
    use_tls: bool = True

    @property
    def address(self) -> str:
        """`host:port` as people write it, an IPv6 literal in brackets."""
        return host_and_port(self.host, self.derp_port)


@frozen
class RelayRegion:
    """Relays that forward to each other; two peers meet in one region."""

    id: int
    code: str
    name: str
    nodes: tuple[RelayNode, ...]
    no_measure_no_home: bool = False

    @property
    def relay_nodes(self) -> tuple[RelayNode, ...]:
        """The nodes that speak DERP, in the map's order."""
        return tuple(node for node in self.nodes if not node.stun_only)


@frozen
class RelayMap:
    """The regions of a map by id."""

    regions: Mapping[int, RelayRegion]


def decode_derp_map(data: bytes) -> RelayMap:
    """Read the JSON of a DERP map; raises `DecodeError` saying what is wrong with it."""
    if len(data) > MAX_MAP_SIZE:
        raise DecodeError(f"the relay map is larger than {MAX_MAP_SIZE} bytes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DecodeError("the relay map is not JSON") from error
    regions = _Members(document, "the relay map").object("Regions")
    if len(regions) > MAX_REGIONS:
        raise DecodeError(f"the relay map has more than {MAX_REGIONS} regions")
    decoded = [_region(key, value) for key, value in regions.items() if value is not None]
    return RelayMap({region.id: region for region in decoded})


def encode_derp_map(relay_map: RelayMap) -> bytes:
    """Return the JSON of a map; what has its default value is left out."""
    regions = {
        str(region.id): {
            "RegionID": region.id,
            "RegionCode": region.code,
            "RegionName": region.name,
            **({"NoMeasureNoHome": True} if region.no_measure_no_home else {}),
            "Nodes": [_encode_node(node) for node in region.nodes],
        }
        for region in relay_map.regions.values()
    }
    return json.dumps({"Regions": regions}, indent=1).encode()


def parse_relay_url(text: str) -> RelayRegion:
    """Read one relay from `https://host[:port][/derp][?stun=PORT|off][#PIN]`.

    PIN is `sha256:HEX` or, as derper prints it, `sha256-raw:HEX`.  `http://` means a relay
    without TLS.  The result is a region of one node, with id
    `OWN_REGION_ID` and code "own".  Raises `DecodeError` with a sentence for a person.
    """
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise DecodeError(f"the relay URL {_shown(text)} has no valid host or port") from error
    if text != text.strip() or not text.isascii() or not text.isprintable():
        raise DecodeError(f"the relay URL {_shown(text)} has a blank or a character beyond ASCII")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise DecodeError(
            f"the relay URL {_shown(text)} is not of the form https://host[:port] "
            "or http://host[:port]"
        )
    if url.username is not None or url.path not in ("", "/", "/derp", "/derp/") or port == 0:
        raise DecodeError(
            f"the relay URL {_shown(text)} has more than scheme, host, port, /derp, ?stun= and #pin"
        )
    use_tls = url.scheme == "https"
    node = RelayNode(
        name=f"{OWN_REGION_ID}a",
        region_id=OWN_REGION_ID,
        host=_checked_host(url.hostname, "the relay URL"),
        cert_name=_pin_of_fragment(url.fragment, use_tls=use_tls),
        stun_port=_stun_port_of_query(url.query),
        derp_port=port or (DEFAULT_DERP_PORT if use_tls else 80),
        use_tls=use_tls,
    )
    return RelayRegion(OWN_REGION_ID, "own", node.host, (node,))


def _pin_of_fragment(fragment: str, *, use_tls: bool) -> str:
    if not fragment:
        return ""
    match = _PIN.fullmatch(fragment)
    if match is None:
        raise DecodeError(
            "a relay's pin is written #sha256: and 32 to 64 hexadecimal digits, or #sha256-raw: "
            "and 64"
        )
    if not use_tls:
        raise DecodeError("a pin needs https://: a relay without TLS has no certificate")
    return match[0].lower()


def _stun_port_of_query(query: str) -> int:
    if not query:
        return DEFAULT_STUN_PORT
    options = parse_qsl(query, keep_blank_values=True)
    name, value = options[0] if len(options) == 1 else ("", "")
    if name == "stun" and value == "off":
        return STUN_OFF
    if name == "stun" and value.isdecimal() and len(value) <= 5 and 0 < int(value) < 65536:
        return int(value)
    raise DecodeError("after ? a relay URL takes only stun=PORT or stun=off")


def _encode_node(node: RelayNode) -> dict[str, object]:
    values: dict[str, object] = {
        "Name": node.name,
        "RegionID": node.region_id,
        "HostName": node.host,
        "CertName": node.cert_name,
        "IPv4": node.ipv4,
        "IPv6": node.ipv6,
        "STUNPort": 0 if node.stun_port == DEFAULT_STUN_PORT else node.stun_port,
        "STUNOnly": node.stun_only,
        "DERPPort": 0 if node.derp_port == DEFAULT_DERP_PORT else node.derp_port,
        "CanPort80": node.can_port_80,
        "InsecureForTests": node.insecure_for_tests,
        "PlainHTTP": not node.use_tls,
    }
    return {name: value for name, value in values.items() if value}


def _region(key: str, value: object) -> RelayRegion:
    if not (key.isascii() and key.isdecimal() and 0 < len(key) <= 10):
        raise DecodeError(f"the relay map has a region with the id {_shown(key)}")
    region_id = int(key)
    members = _Members(value, f"region {region_id} of the relay map")
    if not 0 < region_id <= MAX_REGION_ID or members.integer("RegionID") not in (0, region_id):
        raise DecodeError(f"region {region_id} of the relay map has a wrong id")
    nodes = [node for node in members.array("Nodes") if node is not None]
    if len(nodes) > MAX_NODES:
        raise DecodeError(f"region {region_id} of the relay map has more than {MAX_NODES} nodes")
    return RelayRegion(
        id=region_id,
        code=_printable(members.text("RegionCode")),
        name=_printable(members.text("RegionName")),
        nodes=tuple(_node(region_id, node) for node in nodes),
        no_measure_no_home=members.flag("NoMeasureNoHome") or members.flag("Avoid"),
    )


def _node(region_id: int, value: object) -> RelayNode:
    where = f"a node of region {region_id} of the relay map"
    members = _Members(value, where)
    stun_port = members.integer("STUNPort") or DEFAULT_STUN_PORT
    derp_port = members.integer("DERPPort") or DEFAULT_DERP_PORT
    if not (0 < derp_port < 65536 and STUN_OFF <= stun_port < 65536):
        raise DecodeError(f"{where} has a port outside 1 to 65535")
    if members.integer("RegionID") not in (0, region_id):
        raise DecodeError(f"{where} names another region")
    return RelayNode(
        name=_printable(members.text("Name")),
        region_id=region_id,
        host=_checked_host(members.text("HostName"), where),
        cert_name=_printable(members.text("CertName"), MAX_HOST_LENGTH),
        ipv4=_address(members.text("IPv4"), version=4),
        ipv6=_address(members.text("IPv6"), version=6),
        stun_port=stun_port,
        stun_only=members.flag("STUNOnly"),
        derp_port=derp_port,
        can_port_80=members.flag("CanPort80"),
        insecure_for_tests=members.flag("InsecureForTests"),
        use_tls=not members.flag("PlainHTTP"),
    )


def _address(text: str, version: int) -> str:
    """Return an address of that version, "" as it is, and `FAMILY_OFF` for anything else."""
    if not text:
        return ""
    parsed = _literal(text)
    return FAMILY_OFF if parsed is None or parsed.version != version else text


def _checked_host(host: str, where: str) -> str:
    """Return a host that is safe in an HTTP header; raises `DecodeError`."""
    is_name = len(host) <= MAX_HOST_LENGTH and _HOST_NAME.fullmatch(host) is not None
    if not is_name and _literal(host) is None:
        raise DecodeError(f"{where} has {_shown(host)} where a host name belongs")
    return host


def _literal(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text) if _LITERAL.fullmatch(text) else None
    except ValueError:
        return None


def _printable(text: str, limit: int = MAX_NAME_LENGTH) -> str:
    # Names end up on terminals, and a map may be hostile.
    return "".join(char if char.isprintable() else "?" for char in text[:limit])


def _shown(text: str) -> str:
    return f'"{_printable(text)}"'


class _Members:
    """The members of an untrusted JSON object, by name in any case."""

    __slots__ = ("_values", "_where")

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise DecodeError(f"{where} is not a JSON object")
        self._values = {str(name).lower(): member for name, member in value.items()}
        self._where = where

    def text(self, name: str) -> str:
        value = self._values.get(name.lower())
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "text")
        return value or ""

    def integer(self, name: str) -> int:
        value = self._values.get(name.lower())
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._wrong(name, "a whole number")
        return value or 0

    def flag(self, name: str) -> bool:
        value = self._values.get(name.lower())
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return bool(value)

    def array(self, name: str) -> list[object]:
        value = self._values.get(name.lower())
        if value is not None and not isinstance(value, list):
            raise self._wrong(name, "a list")
        return value or []

    def object(self, name: str) -> dict[str, object]:
        value = self._values.get(name.lower())
        if value is not None and not isinstance(value, dict):
            raise self._wrong(name, "an object")
        return value or {}

    def _wrong(self, name: str, wanted: str) -> DecodeError:
        return DecodeError(f"{self._where}: {name} is not {wanted}")
