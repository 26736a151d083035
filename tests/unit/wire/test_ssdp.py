"""SSDP searches, and answers as real gateways write them."""

import pytest

from tunnel.errors import BadMagic, DecodeError
from tunnel.wire import ssdp

SEARCH = (
    b"M-SEARCH * HTTP/1.1\r\n"
    b"HOST: 239.255.255.250:1900\r\n"
    b'MAN: "ssdp:discover"\r\n'
    b"MX: 1\r\n"
    b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    b"\r\n"
)
# As miniupnpd 2.3 writes it.
ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"CACHE-CONTROL: max-age=120\r\n"
    b"ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    b"USN: uuid:6fd5-00::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    b"EXT:\r\n"
    b"SERVER: Debian/12 UPnP/1.1 MiniUPnPd/2.3.1\r\n"
    b"LOCATION: http://10.0.1.1:5000/rootDesc.xml\r\n"
    b'OPT: "http://schemas.upnp.org/upnp/1/0/"; ns=01\r\n'
    b"01-NLS: 1\r\n"
    b"\r\n"
)
LOCATION = "http://10.0.1.1:5000/rootDesc.xml"


def test_a_search_is_as_upnp_writes_it():
    assert ssdp.encode_search(ssdp.INTERNET_GATEWAY, ssdp.MULTICAST_ADDRESS, ssdp.PORT) == SEARCH


def test_an_answer_is_read():
    answer = ssdp.decode_search_answer(ANSWER)

    assert answer == ssdp.SearchAnswer(ssdp.INTERNET_GATEWAY, LOCATION)
    assert answer.is_gateway


def test_bare_line_feeds_and_odd_spelling_are_understood():
    data = ANSWER.replace(b"\r\n", b"\n").replace(b"LOCATION: ", b"Location :\t").lower()
    data = data.replace(b"internetgatewaydevice", b"InternetGatewayDevice")

    assert ssdp.decode_search_answer(data).location == LOCATION.lower()


@pytest.mark.parametrize(
    ("target", "is_gateway"),
    [
        ("urn:schemas-upnp-org:service:WANIPConnection:2", True),
        ("urn:schemas-upnp-org:service:WANPPPConnection:1", True),
        ("urn:schemas-upnp-org:device:MediaServer:1", False),
        ("upnp:rootdevice", False),
        ("", False),
    ],
)
def test_only_what_maps_ports_is_a_gateway(target, is_gateway):
    assert ssdp.SearchAnswer(target, LOCATION).is_gateway is is_gateway


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadMagic),
        (SEARCH, BadMagic),
        (b"NOTIFY * HTTP/1.1\r\nLOCATION: http://10.0.1.1/\r\n\r\n", BadMagic),
        (ANSWER.replace(b"200 OK", b"404 Not Found"), BadMagic),
        (ANSWER.replace(b"LOCATION", b"ELSEWHERE"), DecodeError),
        (ANSWER.replace(LOCATION.encode(), b""), DecodeError),
        (ANSWER + b"X" * 4096, DecodeError),
    ],
)
def test_what_is_no_answer_is_refused(data, error):
    with pytest.raises(error):
        ssdp.decode_search_answer(data)


def test_of_many_lines_only_the_first_are_read():
    data = b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 70 + b"LOCATION: http://10.0.1.1/\r\n\r\n"

    with pytest.raises(DecodeError):
        ssdp.decode_search_answer(data)
