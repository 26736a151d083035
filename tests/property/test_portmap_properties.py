"""The port mapping codecs against any bytes and any values, and the machine against any gateway."""

from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import DecodeError
from tunnel.proto.portmap.machine import PortMapMachine
from tunnel.proto.portmap.mapping import MappingMade
from tunnel.units import Instant
from tunnel.wire import igd, natpmp, pcp, ssdp
from tunnel.wire.http_body import HttpBody

PORTS = st.integers(0, 65535)
WORDS = st.integers(0, 0xFFFFFFFF)
LOCATION = igd.Url("10.0.1.1", 5000, "/rootDesc.xml")
TAGS = st.sampled_from(
    [
        "<a>",
        "</a>",
        "<b/>",
        "<s:c x='y'>",
        "</s:c>",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "<?xml?>",
        "&lt;",
        "&#65;",
    ]
    + [
        "<service>",
        "</service>",
        "<serviceType>",
        "</serviceType>",
        "<controlURL>",
        "</controlURL>",
    ]
    + [
        "<errorCode>",
        "</errorCode>",
        "<XResponse>",
        "</XResponse>",
        "718",
        "/ctl",
        "<!DOCTYPE a>",
        "<",
        ">",
        "&",
    ]
    + ["urn:schemas-upnp-org:service:WANIPConnection:1", "http://10.0.1.1/x", "http://10.0.1.2/x"]
)
DOCUMENTS = st.one_of(
    st.binary(max_size=300), st.lists(TAGS, max_size=60).map(lambda tags: "".join(tags).encode())
)


def big(value, size):
    return value.to_bytes(size, "big")


@given(WORDS, PORTS, PORTS, WORDS)
def test_nat_pmp_mappings_come_back(epoch, internal, external, lifetime):
    data = (
        b"\x00\x81\x00\x00" + big(epoch, 4) + big(internal, 2) + big(external, 2) + big(lifetime, 4)
    )

    assert natpmp.decode_response(data) == natpmp.MapResponse(epoch, internal, external, lifetime)
    request = natpmp.encode_map_request(internal, external, lifetime)
    assert request[4:] == data[8:]


@given(
    st.binary(max_size=40),
    st.sampled_from([b"", b"\x00\x80\x00\x00", b"\x00\x81", b"\x00\x81\x00\x00"]),
)
def test_any_bytes_are_nat_pmp_or_refused(data, start):
    try:
        answer = natpmp.decode_response(start + data)
    except DecodeError:
        return
    assert 0 <= answer.epoch_s <= 0xFFFFFFFF


@given(st.binary(min_size=12, max_size=12), PORTS, PORTS, st.ip_addresses(), WORDS, WORDS)
def test_pcp_mappings_come_back(nonce, internal, external, address, lifetime, epoch):
    address = getattr(address, "ipv4_mapped", None) or address
    body = pcp.MapBody(nonce, 17, internal, external, str(address))
    request = pcp.encode_map_request("10.0.1.2", body, lifetime)
    data = b"\x02\x81\x00\x00" + big(lifetime, 4) + big(epoch, 4) + bytes(12) + request[24:]

    assert pcp.decode_response(data) == pcp.Response(1, 0, lifetime, epoch, body)


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"\x02\x80", b"\x02\x81\x00\x00", b"\x02\x81\x00\x0c"]),
)
def test_any_bytes_are_pcp_or_refused(data, start):
    try:
        answer = pcp.decode_response(start + data)
    except DecodeError:
        return
    if answer.mapping is not None:
        ip_address(answer.mapping.external_ip)
        assert len(answer.mapping.nonce) == 12


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda tail: b"HTTP/1.1 200 OK\r\nLocation: " + tail),
    )
)
def test_any_bytes_are_a_search_answer_or_refused(data):
    try:
        answer = ssdp.decode_search_answer(data)
    except DecodeError:
        return
    assert answer.location


@given(st.text(max_size=100))
def test_any_text_is_a_url_or_refused(text):
    try:
        url = igd.parse_url(text, LOCATION)
    except DecodeError:
        return
    assert str(IPv4Address(url.host)) == url.host
    assert 1 <= url.port <= 65535
    assert b"\n" not in igd.encode_get(url).split(b"\r\n")[0]
    assert igd.encode_get(url).count(b"\r\n") == 5


@given(DOCUMENTS)
def test_any_bytes_are_a_description_or_refused(document):
    try:
        services = igd.decode_description(document, LOCATION)
    except DecodeError:
        return
    assert len(services) <= igd.MAX_SERVICES
    for service in services:
        assert service.control.host == LOCATION.host
        assert igd.CONNECTION_TYPE.fullmatch(service.kind)


@given(DOCUMENTS)
def test_any_bytes_are_an_answer_or_refused(document):
    try:
        answer = igd.decode_answer(document)
    except DecodeError:
        return
    if isinstance(answer, igd.Fault):
        assert answer.words.isprintable()
        return
    for read in (igd.external_address, igd.reserved_port):
        with suppress(DecodeError):
            read(answer)


@given(st.text(max_size=60))
def test_escaped_text_comes_back(text):
    written = "".join(
        f"&#{ord(c)};" if ord(c) and not 0xD800 <= ord(c) <= 0xDFFF else "" for c in text
    )
    document = f"<XResponse><a>{written}</a></XResponse>".encode()
    expected = "".join(c for c in text if ord(c) and not 0xD800 <= ord(c) <= 0xDFFF)

    answer = igd.decode_answer(document)

    assert isinstance(answer, igd.Answer)
    assert answer.values["a"] == expected.strip()


@given(
    st.sampled_from([{}, {"content-length": "10"}, {"transfer-encoding": "chunked"}]),
    st.lists(
        st.one_of(
            st.binary(max_size=20), st.sampled_from([b"5\r\nhello\r\n", b"0\r\n\r\n", b"f\r\n"])
        ),
        max_size=12,
    ),
)
def test_how_a_body_is_cut_into_pieces_changes_nothing(headers, pieces):
    def read(parts):
        body = HttpBody(headers, 64)
        try:
            for part in parts:
                body.feed(part)
            body.end()
        except DecodeError:
            return None
        assert len(body.data) <= 64
        return body.data

    whole = b"".join(pieces)
    single = read(bytes((byte,)) for byte in whole)
    assert read(pieces) == single
    assert read([whole]) == single


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["datagram", "search", "http", "none", "closed", "wait", "check", "release", "move"]
        ),
        st.one_of(st.binary(max_size=80), st.integers(0, 5000).map(lambda number: big(number, 2))),
    ),
    max_size=40,
)


@given(STEPS, st.integers(0, 1000))
def test_the_machine_survives_any_gateway_and_reports_only_sound_mappings(steps, seed):
    random = Random(seed)
    now = 0.0
    machine = PortMapMachine(Instant(now), "10.0.1.1", "10.0.1.2", 4000, random.randbytes)
    sent = []
    for kind, data in steps:
        sent += machine.datagrams_to_send()
        machine.searches_to_send(Instant(now))
        machine.requests_to_send()
        if kind == "datagram" and sent and random.random() < 0.7:
            # Something like an answer: the question's bytes behind a plausible head.
            question = random.choice(sent)
            epoch = big(random.randrange(1000), 4)
            if question[0] == 2:
                data = (
                    b"\x02\x81\x00\x00" + question[4:8] + epoch + bytes(12) + question[24:44] + data
                )
            else:
                data = (
                    b"\x00"
                    + bytes((question[1:2] or b"\0")[0] | 0x80 for _ in "x")
                    + b"\0\0"
                    + epoch
                    + data
                )
        _step(machine, Instant(now), kind, data, random)
        now += random.choice((0.0, 0.1, 1.0, 4000.0))
        machine.handle_timeout(Instant(now))
        while (event := machine.next_event()) is not None:
            if isinstance(event, MappingMade):
                assert event.mapping.external_port >= 1024
                assert not ip_address(event.mapping.external_ip).is_unspecified


def _step(machine, now, kind, data, random):
    if kind == "datagram":
        machine.handle_datagram(now, data)
    elif kind == "search":
        machine.handle_search_answer(
            now,
            b"HTTP/1.1 200 OK\r\nST: :InternetGatewayDevice:\r\nLOCATION: http://10.0.1.1/\r\n",
            "10.0.1.1",
        )
    elif kind == "http":
        document = random.choice([
            data,
            b"<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:2</serviceType><controlURL>/c</controlURL></service>",
            b"<aResponse><NewExternalIPAddress>5.5.5.5</NewExternalIPAddress></aResponse>",
            b"<aResponse><NewReservedPort>%d</NewReservedPort></aResponse>" % random.randrange(65536),
            b"<a><errorCode>%d</errorCode></a>" % random.choice((401, 402, 501, 718, 724, 725)),
        ])  # fmt: skip
        machine.handle_response(now, random.randrange(12), 200, document)
    elif kind == "none":
        machine.handle_no_response(now, random.randrange(12), "no answer")
    elif kind == "closed":
        machine.handle_closed_port(now)
    elif kind == "check":
        machine.check(now)
    elif kind == "move":
        machine.handle_network_change(now, "10.0.1.1", "10.0.1.3")
    elif kind == "release":
        machine.release(now)
