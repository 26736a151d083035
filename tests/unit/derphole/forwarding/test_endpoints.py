"""Targets and binds: what is read, and the sentence for what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from derphole.errors import UsageError
from derphole.forwarding.endpoints import TcpEndpoint, UnixEndpoint, parse_bind, parse_target

TARGETS = [
    ("8080", TcpEndpoint("localhost", 8080), True),
    ("localhost:22", TcpEndpoint("localhost", 22), True),
    ("db.example.com:5432", TcpEndpoint("db.example.com", 5432), False),
    ("192.0.2.7:80", TcpEndpoint("192.0.2.7", 80), False),
    ("[::1]:80", TcpEndpoint("::1", 80), True),
    ("[fe80::1%eth0]:65535", TcpEndpoint("fe80::1%eth0", 65535), False),
    ("unix:/run/a b.sock", UnixEndpoint("/run/a b.sock"), True),
    ("unix:relative.sock", UnixEndpoint("relative.sock"), True),
]
BINDS = [
    ("127.0.0.1:0", TcpEndpoint("127.0.0.1", 0), True),
    ("0", TcpEndpoint("127.0.0.1", 0), True),
    ("8080", TcpEndpoint("127.0.0.1", 8080), True),
    (":8080", TcpEndpoint("", 8080), False),
    ("0.0.0.0:8080", TcpEndpoint("0.0.0.0", 8080), False),
    ("[::]:1", TcpEndpoint("::", 1), False),
    ("[::1]:1", TcpEndpoint("::1", 1), True),
    ("127.9.9.9:1", TcpEndpoint("127.9.9.9", 1), True),
    ("unix:/tmp/s", UnixEndpoint("/tmp/s"), True),
]
NEITHER = [
    "", " ", "host", "host:", "host:port", "1:2:3", "::1:80", "[::1]", "[127.0.0.1]:80", "[x]:80",
    "host:70000", "70000", "host:-1", "host: 80", "a b:80", "user@host:80", "host/path:80",
    "unix:", "unix:" + "p" * 108, "unix:\0x", "h" * 254 + ":80", "host:80/", "８０",
]  # fmt: skip


@pytest.mark.parametrize(("text", "endpoint", "is_loopback"), TARGETS)
def test_a_target_is_read(text, endpoint, is_loopback):
    assert parse_target(text) == endpoint
    assert endpoint.is_loopback is is_loopback


@pytest.mark.parametrize(("text", "endpoint", "is_loopback"), BINDS)
def test_a_bind_is_read(text, endpoint, is_loopback):
    assert parse_bind(text) == endpoint
    assert endpoint.is_loopback is is_loopback


@pytest.mark.parametrize("text", NEITHER)
@pytest.mark.parametrize("parse", [parse_target, parse_bind])
def test_what_is_neither_is_a_usage_error_that_says_what_to_write(parse, text):
    with pytest.raises(UsageError, match="use HOST:PORT|at most") as caught:
        parse(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://localhost:80", "remove http://"),
        ("localhost:0", "port must be 1 to 65535"),
        ("0", "port must be 1 to 65535"),
        (":80", "the host is missing"),
    ],
)
def test_what_is_no_target_alone_is_named(text, said):
    with pytest.raises(UsageError, match=said):
        parse_target(text)


@pytest.mark.parametrize(("text", "endpoint", "_"), TARGETS[1:] + BINDS[4:])
def test_an_endpoint_is_written_as_it_is_read(text, endpoint, _):
    assert str(endpoint) == text


@given(st.text(max_size=60))
def test_any_text_is_an_endpoint_or_a_usage_error(text):
    for parse in (parse_target, parse_bind):
        try:
            endpoint = parse(text)
        except UsageError:
            continue
        assert parse(str(endpoint)) == endpoint
