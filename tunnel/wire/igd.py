"""UPnP internet gateway devices: their description, and the SOAP calls that map a port.

    GET description --> services WANIPConnection:2 :1, WANPPPConnection:1, each with a control URL
    POST control URL  GetExternalIPAddress     --> NewExternalIPAddress
                      AddPortMapping           --> nothing
                      AddAnyPortMapping (:2)   --> NewReservedPort
                      DeletePortMapping        --> nothing
    any call may be answered by a fault with an errorCode

What a gateway sends is foreign: the XML reader knows elements and their text, the five entities and
character references, and nothing else; a document type is refused, sizes, depth and count are
bounded.  URLs are plain http to an IPv4 address, and a description can only name its own host.
Sources: UPnP Device Architecture 1.1 sections 2 and 3, WANIPConnection:1 and :2.  This module knows
neither HTTP responses nor which error calls for what.
"""

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from ipaddress import IPv4Address

from tunnel.errors import DecodeError, Truncated
from tunnel.values import frozen

# Fixed by the protocol.
CONNECTION_TYPE = re.compile(r"urn:schemas-upnp-org:service:WAN(?:IP|PPP)Connection:[0-9]{1,2}")
ANY_PORT_TYPE = re.compile(r"urn:schemas-upnp-org:service:WANIPConnection:(?:[2-9]|[0-9]{2})")
ENVELOPE_NAMESPACE = "http://schemas.xmlsoap.org/soap/envelope/"
ENCODING_STYLE = "http://schemas.xmlsoap.org/soap/encoding/"
PERMANENT_LEASE_S = 0
DEFAULT_HTTP_PORT = 80
MAX_PORT = 65535
# Chosen: descriptions of real gateways have some 4 KiB, 150 elements and a depth of 12.
MAX_DOCUMENT_SIZE = 64 << 10
MAX_ELEMENTS = 2000
MAX_DEPTH = 32
MAX_URL_SIZE = 512
MAX_SERVICES = 4
MAX_WORDS_SHOWN = 80
# Chosen: this is what the gateway's own pages show.
DESCRIPTION = "derphole"

_URL = re.compile(
    r"http://(?P<host>[0-9.]{7,15})(?::(?P<port>[0-9]{1,5}))?(?P<path>/[\x21-\x7e]*)?",
    re.IGNORECASE,
)
_PATH = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_.\-]{0,63}:)?([A-Za-z_][A-Za-z0-9_.\-]{0,127})")
_REFERENCE = re.compile(r"&(?:#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6})|(amp|lt|gt|quot|apos));")
_CHARACTER_BY_ENTITY = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_NO_CHARACTER = "\N{REPLACEMENT CHARACTER}"
_CODE = re.compile(r"[0-9]{1,5}")


class ErrorCode(IntEnum):
    """Those of UPnP and of WANIPConnection that call for more than words; others come too."""

    INVALID_ACTION = 401
    INVALID_ARGUMENTS = 402
    ACTION_FAILED = 501
    ACTION_NOT_IMPLEMENTED = 602
    NOT_AUTHORIZED = 606
    CONFLICT_IN_MAPPING_ENTRY = 718
    SAME_PORT_VALUES_REQUIRED = 724
    ONLY_PERMANENT_LEASES = 725
    NO_PORT_MAPS_AVAILABLE = 728
    CONFLICT_WITH_OTHER_MECHANISMS = 729


@frozen
class Url:
    """Where a gateway's page lies; `host` is an IPv4 address, `path` starts with a slash."""

    host: str
    port: int
    path: str


@frozen
class Service:
    """Something that maps ports; `kind` matches `CONNECTION_TYPE`."""

    kind: str
    control: Url

    @property
    def can_choose_port(self) -> bool:
        """Whether AddAnyPortMapping exists."""
        return ANY_PORT_TYPE.fullmatch(self.kind) is not None


@frozen
class PortMapping:
    """A UDP mapping to ask for; a lease of 0 s is permanent."""

    external_port: int
    internal_port: int
    internal_ip: str
    lease_s: int


@frozen
class Answer:
    """A call that was done; what it returned, by name."""

    values: Mapping[str, str]


@frozen
class Fault:
    """A call that was refused; `words` are the gateway's, printable and short."""

    code: int
    words: str


def parse_url(text: str, base: Url | None = None) -> Url:
    """Read an absolute URL, or one relative to `base`; raises `DecodeError`."""
    if len(text) > MAX_URL_SIZE:
        raise DecodeError(f"a URL is longer than {MAX_URL_SIZE} characters")
    text = text.partition("#")[0]
    match = _URL.fullmatch(text)
    if match is not None:
        return Url(_host(match["host"]), _port(match["port"]), match["path"] or "/")
    if base is None or "://" in text or text.startswith("//") or not _PATH.fullmatch(text):
        raise DecodeError("a URL that is not plain http to an IPv4 address")
    if text.startswith("/"):
        return Url(base.host, base.port, text)
    folder = base.path.partition("?")[0].rpartition("/")[0]
    return Url(base.host, base.port, f"{folder}/{text}")


def decode_description(document: bytes, location: Url) -> tuple[Service, ...]:
    """Return the services of a description that can map ports, the best kind first.

    Args:
        document: the XML that was read from `location`.
        location: its URL; services on another host are left out.

    Raises:
        DecodeError: the document cannot be read.
    """
    base = location
    found: list[tuple[str, str]] = []
    fields: dict[str, str] = {}
    for name, text in _closed_elements(document):
        if name == "URLBase" and text:
            base = _base(text, location)
        elif name in ("serviceType", "controlURL"):
            fields[name] = text
        elif name == "service":
            found.append((fields.get("serviceType", ""), fields.get("controlURL", "")))
            fields = {}
    services = [_service(kind, control, base) for kind, control in found]
    usable = {each: None for each in services if each and each.control.host == location.host}
    return tuple(sorted(usable, key=_rank)[:MAX_SERVICES])


def encode_get(url: Url) -> bytes:
    """Return the HTTP request for a page."""
    return _encode_request("GET", url, [])


def encode_external_address_call(service: Service) -> bytes:
    """Return the HTTP request that asks for the external address."""
    return _encode_call(service, "GetExternalIPAddress", {})


def encode_add_call(service: Service, mapping: PortMapping, *, any_port: bool) -> bytes:
    """Return the HTTP request for a mapping.

    Args:
        service: whom to ask.
        mapping: what to map.
        any_port: let the gateway choose another external port if the one asked for is taken; only
            where the service `can_choose_port`.
    """
    arguments = {
        "NewRemoteHost": "",
        "NewExternalPort": str(mapping.external_port),
        "NewProtocol": "UDP",
        "NewInternalPort": str(mapping.internal_port),
        "NewInternalClient": mapping.internal_ip,
        "NewEnabled": "1",
        "NewPortMappingDescription": DESCRIPTION,
        "NewLeaseDuration": str(mapping.lease_s),
    }
    return _encode_call(service, "AddAnyPortMapping" if any_port else "AddPortMapping", arguments)


def encode_delete_call(service: Service, external_port: int) -> bytes:
    """Return the HTTP request that deletes a mapping."""
    arguments = {
        "NewRemoteHost": "",
        "NewExternalPort": str(external_port),
        "NewProtocol": "UDP",
    }
    return _encode_call(service, "DeletePortMapping", arguments)


def decode_answer(document: bytes) -> Answer | Fault:
    """Read the answer to a call; raises `DecodeError`."""
    values: dict[str, str] = {}
    is_answer = False
    for name, text in _closed_elements(document):
        values.setdefault(name, text)
        is_answer = is_answer or name.endswith("Response")
    if "errorCode" in values:
        code = values["errorCode"]
        if not _CODE.fullmatch(code):
            raise DecodeError("a gateway's fault without an error code")
        return Fault(int(code), _printable(values.get("errorDescription", "")))
    if not is_answer:
        raise DecodeError("a gateway's answer that is neither a result nor a fault")
    return Answer(values)


def external_address(answer: Answer) -> str:
    """Return the address of an answer to GetExternalIPAddress; raises `DecodeError`."""
    text = answer.values.get("NewExternalIPAddress", "")
    try:
        return str(IPv4Address(text))
    except ValueError as error:
        raise DecodeError("a gateway's answer without an external address") from error


def reserved_port(answer: Answer) -> int:
    """Return the port of an answer to AddAnyPortMapping, 0 to 65535; raises `DecodeError`."""
    text = answer.values.get("NewReservedPort", "")
    if not _CODE.fullmatch(text) or int(text) > MAX_PORT:
        raise DecodeError("a gateway's answer without the port it mapped")
    return int(text)


def _host(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError as error:
        raise DecodeError("a URL whose host is not an IPv4 address") from error


def _port(text: str | None) -> int:
    port = DEFAULT_HTTP_PORT if text is None else int(text)
    if not 1 <= port <= MAX_PORT:
        raise DecodeError(f"a URL with the port {port}")
    return port


def _base(text: str, location: Url) -> Url:
    """Return what relative URLs start from: the document's word for it, if it can be used."""
    try:
        base = parse_url(text)
    except DecodeError:
        return location
    return base if base.host == location.host else location


def _service(kind: str, control: str, base: Url) -> Service | None:
    if not CONNECTION_TYPE.fullmatch(kind):
        return None
    try:
        return Service(kind, parse_url(control, base))
    except DecodeError:
        return None


def _rank(service: Service) -> tuple[bool, bool]:
    return (not service.can_choose_port, "WANIPConnection" not in service.kind)


def _encode_call(service: Service, action: str, arguments: Mapping[str, str]) -> bytes:
    """Return a SOAP request; arguments are numbers, addresses and our own words."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
    envelope = (
        '<?xml version="1.0"?>\r\n'
        f'<s:Envelope xmlns:s="{ENVELOPE_NAMESPACE}" s:encodingStyle="{ENCODING_STYLE}">'
        f'<s:Body><u:{action} xmlns:u="{service.kind}">{inner}</u:{action}></s:Body></s:Envelope>'
    ).encode("ascii")
    fields = [
        'Content-Type: text/xml; charset="utf-8"',
        f'SOAPAction: "{service.kind}#{action}"',
        f"Content-Length: {len(envelope)}",
    ]
    return _encode_request("POST", service.control, fields) + envelope


def _encode_request(method: str, url: Url, fields: list[str]) -> bytes:
    lines = [f"{method} {url.path} HTTP/1.1", f"Host: {url.host}:{url.port}"]
    lines += ["User-Agent: derphole", "Connection: close", *fields]
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _closed_elements(document: bytes) -> Iterator[tuple[str, str]]:
    """Yield (name without prefix, own text) of each element as it ends, up to the root's end."""
    if len(document) > MAX_DOCUMENT_SIZE:
        raise DecodeError(f"an XML document is longer than {MAX_DOCUMENT_SIZE} bytes")
    text = document.decode("utf-8", "replace")
    open_elements: list[tuple[str, list[str]]] = []
    position = count = 0
    while (start := text.find("<", position)) >= 0:
        if open_elements:
            open_elements[-1][1].append(_unescaped(text[position:start]))
        if text.startswith("<![CDATA[", start):
            position = _behind(text, "]]>", start + 9)
            if open_elements:
                open_elements[-1][1].append(text[start + 9 : position - 3])
            continue
        if text.startswith(("<!--", "<?"), start):
            position = _behind(text, "-->" if text[start + 1] == "!" else "?>", start + 2)
            continue
        position = _behind(text, ">", start)
        tag = text[start + 1 : position - 1]
        count += 1
        if count > 2 * MAX_ELEMENTS or len(open_elements) > MAX_DEPTH:
            raise DecodeError("an XML document with too many elements")
        if not tag.startswith("/"):
            open_elements.append((_local_name(tag.removesuffix("/")), []))
        if tag.startswith("/") or tag.endswith("/"):
            yield _close(open_elements, tag)
            if not open_elements:
                return
    raise Truncated("an XML document ends in the middle")


def _close(open_elements: list[tuple[str, list[str]]], tag: str) -> tuple[str, str]:
    is_end_tag = tag.startswith("/")
    if not open_elements or (is_end_tag and open_elements[-1][0] != _local_name(tag[1:])):
        raise DecodeError("an XML document whose elements do not nest")
    name, pieces = open_elements.pop()
    return name, "".join(pieces).strip()


def _behind(text: str, mark: str, start: int) -> int:
    end = text.find(mark, start)
    if end < 0:
        raise Truncated("an XML document ends in the middle")
    return end + len(mark)


def _local_name(tag: str) -> str:
    """Return the name in a tag without its prefix; a document type is not one and is refused."""
    words = tag.split(None, 1)
    match = _NAME.fullmatch(words[0]) if words else None
    if match is None:
        raise DecodeError("an XML document with an invalid tag")
    return match[1]


def _unescaped(text: str) -> str:
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(match: re.Match[str]) -> str:
    decimal, hexadecimal, entity = match.groups()
    if entity is not None:
        return _CHARACTER_BY_ENTITY[entity]
    code = int(decimal) if decimal is not None else int(hexadecimal, 16)
    is_character = 0 < code < 0xD800 or 0xDFFF < code <= 0x10FFFF
    return chr(code) if is_character else _NO_CHARACTER


def _printable(text: str) -> str:
    line = " ".join(text.split())[:MAX_WORDS_SHOWN]
    return "".join(character if character.isprintable() else "?" for character in line)
