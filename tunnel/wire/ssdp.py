"""SSDP: finding an internet gateway device by M-SEARCH, and its answers.

    M-SEARCH * HTTP/1.1                  HTTP/1.1 200 OK
    HOST: 239.255.255.250:1900           ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1
    MAN: "ssdp:discover"                 LOCATION: http://192.168.1.1:5000/rootDesc.xml
    MX: 1                                ...
    ST: what is sought

UDP; answers come from any port of the device to the port of the question.  The reader is tolerant
(bare line feeds, unknown fields) since what counts is one field, and bounded.  Source: UPnP Device
Architecture 1.1 section 1.3.  This module does not judge where a location points.
"""

from tunnel.errors import BadMagic, DecodeError
from tunnel.values import frozen

# Fixed by the protocol.
MULTICAST_ADDRESS = "239.255.255.250"
PORT = 1900
EVERYTHING = "ssdp:all"
INTERNET_GATEWAY = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
INTERNET_GATEWAY_2 = "urn:schemas-upnp-org:device:InternetGatewayDevice:2"
# Chosen.
MAX_WAIT_S = 1  # MX: devices spread their answers over this time
MAX_SIZE = 4096  # answers have some 300 bytes
MAX_LINES = 64

_STATUS = b"HTTP/1."
_OK = b"200"
_GATEWAY_MARKS = (":InternetGatewayDevice:", ":WANIPConnection:", ":WANPPPConnection:")


@frozen
class SearchAnswer:
    """What a device says of itself: what it is (`target`), and where its description lies."""

    target: str
    location: str

    @property
    def is_gateway(self) -> bool:
        """Whether the device, as it says, can map ports."""
        return any(mark in self.target for mark in _GATEWAY_MARKS)


def encode_search(target: str, host: str, port: int) -> bytes:
    """Return the question for devices of a kind; `host` and `port` are its destination."""
    lines = ["M-SEARCH * HTTP/1.1", f"HOST: {host}:{port}", 'MAN: "ssdp:discover"']
    lines += [f"MX: {MAX_WAIT_S}", f"ST: {target}"]
    return "\r\n".join((*lines, "", "")).encode("ascii")


def decode_search_answer(data: bytes) -> SearchAnswer:
    """Read an answer; raises `DecodeError` for anything else, and without a location."""
    if len(data) > MAX_SIZE:
        raise DecodeError(f"an SSDP answer is longer than {MAX_SIZE} bytes")
    first, *lines = data.split(b"\n")
    words = first.split()
    if len(words) < 2 or not words[0].upper().startswith(_STATUS) or words[1] != _OK:
        raise BadMagic("a datagram that is not an SSDP answer")
    fields: dict[str, str] = {}
    for line in lines[:MAX_LINES]:
        name, colon, value = line.strip().partition(b":")
        if colon:
            key = name.strip().lower().decode("latin-1")
            fields.setdefault(key, value.strip().decode("latin-1"))
    if not fields.get("location"):
        raise DecodeError("an SSDP answer without a location")
    return SearchAnswer(fields.get("st", ""), fields["location"])
