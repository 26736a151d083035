"""Bodies of HTTP answers in the three forms, whole and in pieces."""

import pytest

from tunnel.errors import DecodeError, Truncated
from tunnel.wire.http_body import HttpBody

LIMIT = 100
CHUNKED = {"transfer-encoding": "chunked"}

BODIES = [
    ("a length", {"content-length": "5"}, b"hello", b"hello"),
    ("a length twice", {"content-length": "5, 5"}, b"hello", b"hello"),
    ("bytes behind the end", {"content-length": "5"}, b"hello again", b"hello"),
    ("nothing", {"content-length": "0"}, b"", b""),
    ("chunks", CHUNKED, b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    ("chunks with extensions", CHUNKED, b"05;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", b"hello"),
    (
        "hexadecimal sizes",
        {"transfer-encoding": "Chunked"},
        b"A\r\n0123456789\r\n0\r\n",
        b"0123456789",
    ),
    ("chunks win over a length", {**CHUNKED, "content-length": "3"}, b"2\r\nhi\r\n0\r\n", b"hi"),
]


@pytest.mark.parametrize(
    ("headers", "raw", "expected"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES]
)
def test_a_body_is_read_whole_and_byte_by_byte(headers, raw, expected):
    whole = HttpBody(headers, LIMIT)
    whole.feed(raw)
    piecewise = HttpBody(headers, LIMIT)
    for byte in raw:
        piecewise.feed(bytes((byte,)))

    for body in (whole, piecewise):
        assert body.is_complete
        assert body.data == expected
        body.end()


def test_without_a_length_the_end_of_the_connection_counts():
    body = HttpBody({}, LIMIT)
    body.feed(b"hel")
    body.feed(b"lo")
    assert not body.is_complete

    body.end()

    assert body.is_complete
    assert body.data == b"hello"


@pytest.mark.parametrize(
    ("headers", "raw"),
    [
        ({"content-length": "5"}, b"hell"),
        (CHUNKED, b"5\r\nhel"),
        (CHUNKED, b"5\r\nhello\r\n"),
        (CHUNKED, b""),
    ],
)
def test_a_body_that_ends_in_the_middle_is_refused(headers, raw):
    body = HttpBody(headers, LIMIT)
    body.feed(raw)

    assert not body.is_complete
    with pytest.raises(Truncated):
        body.end()


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": "101"},
        {"content-length": "-1"},
        {"content-length": "5, 6"},
        {"content-length": ""},
        {"content-length": "0x5"},
        {"content-length": "٥"},
        {"content-length": "9" * 5000},
        {"transfer-encoding": "gzip"},
        {"transfer-encoding": "gzip, chunked"},
    ],
)
def test_an_unclear_or_excessive_promise_is_refused(headers):
    with pytest.raises(DecodeError):
        HttpBody(headers, LIMIT)


@pytest.mark.parametrize(
    ("headers", "raw"),
    [
        ({}, b"x" * 101),
        (CHUNKED, b"65\r\n"),
        (CHUNKED, b"33\r\n" + b"x" * 51 + b"\r\n33\r\n" + b"x" * 51 + b"\r\n"),
        (CHUNKED, b"-5\r\n"),
        (CHUNKED, b"\r\n\r\n"),
        (CHUNKED, b"hello\r\n"),
        (CHUNKED, b"1" * 300),
        (CHUNKED, b"0" * 300 + b"\r\n"),
    ],
)
def test_a_body_beyond_the_limit_or_without_sense_is_refused(headers, raw):
    body = HttpBody(headers, LIMIT)

    with pytest.raises(DecodeError):
        body.feed(raw)
