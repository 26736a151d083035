"""HTTP heads as derper, Headscale, proxies and Go clients write them."""

import pytest

from tunnel.errors import DecodeError
from tunnel.wire import http_head

UPGRADE = (
    b"GET /derp HTTP/1.1\r\nHost: 127.0.0.1:3340\r\nUser-Agent: derphole\r\n"
    b"Connection: Upgrade\r\nUpgrade: DERP\r\n\r\n"
)


def test_the_upgrade_request_is_what_derper_takes():
    assert http_head.encode_upgrade_request("127.0.0.1:3340") == UPGRADE
    assert http_head.parse_request_head(UPGRADE) == http_head.RequestHead(
        "GET",
        "/derp",
        {
            "host": "127.0.0.1:3340",
            "user-agent": "derphole",
            "connection": "Upgrade",
            "upgrade": "DERP",
        },
    )


def test_fast_start_is_asked_for_by_a_field():
    head = http_head.parse_request_head(
        http_head.encode_upgrade_request("relay.example", fast_start=True)
    )

    assert head.headers[http_head.FAST_START_FIELD] == "1"


def test_the_upgrade_response_of_derper_is_read_and_written():
    key = "0f" * 32
    fields = {
        "Upgrade": "DERP",
        "Connection": "Upgrade",
        "Derp-Version": "2",
        "Derp-Public-Key": key,
    }
    data = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
        b"Derp-Version: 2\r\nDerp-Public-Key: " + key.encode() + b"\r\n\r\n"
    )

    head = http_head.parse_response_head(data)

    assert http_head.encode_response_head(101, "Switching Protocols", fields) == data
    assert (head.status, head.reason) == (101, "Switching Protocols")
    assert head.headers["derp-public-key"] == key


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.0 200 Connection established", 200, "Connection established"),
        (b"HTTP/1.1 204 ", 204, ""),
        (b"HTTP/1.1 502", 502, ""),
    ],
)
def test_status_lines_of_proxies_are_read(line, status, reason):
    head = http_head.parse_response_head(line + b"\r\n\r\n")

    assert (head.status, head.reason, head.headers) == (status, reason, {})


def test_a_repeated_field_is_joined_and_names_lose_their_case():
    head = http_head.parse_request_head(b"GET / HTTP/1.1\r\nX-One:  a \r\nx-ONE:b\r\n\r\n")

    assert head.headers == {"x-one": "a, b"}


def test_the_path_is_the_target_without_its_query():
    assert http_head.parse_request_head(b"GET /derp?x=1 HTTP/1.1\r\n\r\n").path == "/derp"


def test_the_end_of_a_head_is_found_before_pipelined_bytes():
    assert http_head.head_size(UPGRADE + b"\x02\x00\x00\r\n\r\n") == len(UPGRADE)
    assert http_head.head_size(UPGRADE[:-1]) is None
    assert http_head.head_size(b"") is None


def test_a_head_of_exactly_the_limit_passes_and_a_longer_one_does_not():
    filler = http_head.MAX_HEAD_SIZE - len(b"GET / HTTP/1.1\r\nx: \r\n\r\n")
    longest = b"GET / HTTP/1.1\r\nx: " + b"a" * filler + b"\r\n\r\n"

    assert http_head.head_size(longest) == http_head.MAX_HEAD_SIZE
    assert http_head.parse_request_head(longest).method == "GET"
    with pytest.raises(DecodeError):
        http_head.head_size(longest[:-4] + b"a\r\n\r\n")
    with pytest.raises(DecodeError):
        http_head.head_size(b"a" * http_head.MAX_HEAD_SIZE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n\r\nmore",
        b"GET / HTTP/2\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET /\r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nName : value\r\n\r\n",
        b"GET / HTTP/1.1\r\nName: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nName: a\nOther: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nName: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ],
)
def test_malformed_requests_are_refused(data):
    with pytest.raises(DecodeError):
        http_head.parse_request_head(data)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/1.1 1010 Long\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
    ],
)
def test_malformed_responses_are_refused(data):
    with pytest.raises(DecodeError):
        http_head.parse_response_head(data)


@pytest.mark.parametrize("host", ["", "a b", "a\r\nX: y", "höst"])
def test_a_host_that_would_break_the_head_is_refused(host):
    with pytest.raises(DecodeError):
        http_head.encode_upgrade_request(host)


@pytest.mark.parametrize(
    ("fields", "has_body"),
    [
        (b"", False),
        (b"Content-Length: 0\r\n", False),
        (b"Content-Length: 7\r\n", True),
        (b"Content-Length: 0\r\nContent-Length: 7\r\n", True),
        (b"Content-Length: \r\n", True),
        (b"Transfer-Encoding: chunked\r\n", True),
    ],
)
def test_a_request_tells_whether_content_follows(fields, has_body):
    assert (
        http_head.parse_request_head(b"GET / HTTP/1.1\r\n" + fields + b"\r\n").has_body is has_body
    )


def test_the_values_of_a_list_and_the_version_are_told():
    head = http_head.parse_request_head(
        b"GET / HTTP/1.0\r\nConnection: keep-alive,\t Upgrade\r\nConnection: X\r\n\r\n"
    )

    assert head.tokens("connection") == ["keep-alive", "upgrade", "x"]
    assert head.minor_version == 0
