"""HTTP heads against any bytes."""

import string

from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import DecodeError
from tunnel.wire import http_head

NAMES = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=20)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)
LINES = st.lists(st.binary(max_size=30), max_size=5).map(b"\r\n".join)


@given(st.integers(100, 599), VALUES, st.dictionaries(NAMES, VALUES, max_size=8))
def test_a_response_head_comes_back(status, reason, fields):
    fields = {name.lower(): value for name, value in fields.items()}

    head = http_head.parse_response_head(http_head.encode_response_head(status, reason, fields))

    assert head == http_head.ResponseHead(status, reason, fields)


@given(st.one_of(LINES, LINES.map(lambda rest: b"GET / HTTP/1.1\r\n" + rest + b"\r\n\r\n")))
def test_any_bytes_are_a_request_or_refused(data):
    try:
        head = http_head.parse_request_head(data)
    except DecodeError:
        return
    assert head.method


@given(st.one_of(LINES, LINES.map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest + b"\r\n\r\n")))
def test_any_bytes_are_a_response_or_refused(data):
    try:
        head = http_head.parse_response_head(data)
    except DecodeError:
        return
    assert 100 <= head.status <= 599


@given(LINES, st.binary(max_size=40))
def test_the_size_of_a_head_does_not_depend_on_what_follows(lines, rest):
    size = http_head.head_size(lines + b"\r\n\r\n")

    assert size is not None
    assert http_head.head_size(lines + b"\r\n\r\n" + rest) == size
