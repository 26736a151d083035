"""What a reverse proxy tells is believed of a proxy alone, and of the last word it wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.proto.relay_server.forwarded import NOT_FORWARDED, forwarded, may_be_proxy
from tunnel.proto.relay_server.source_network import plain_address
from tunnel.wire.http_head import MAX_HEAD_SIZE, RequestHead, parse_request_head


def told(*fields, peer="127.0.0.1"):
    head = parse_request_head("\r\n".join(("GET /derp HTTP/1.1", *fields, "", "")).encode())
    return forwarded(head, peer)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", "192.0.2.1"),  # the first is what the client claimed
        ("garbage,\t2001:db8::1", "2001:db8::1"),
        ("192.0.2.1:5678", "192.0.2.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, unknown", ""),
        ("_hidden", ""),
        ("", ""),
        ("192.0.2.1,", ""),
        ("999.0.2.1", ""),
        ("1.2.3.4:port", ""),
        ("fe80::1%eth0", ""),
    ],
)
def test_the_address_is_the_last_one(value, address):
    assert told(f"X-Forwarded-For: {value}").address == address


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")))
def test_nothing_that_a_field_may_hold_does_harm(value):
    head = RequestHead(
        "GET", "/", {f"x-forwarded-{name}": value for name in ("for", "host", "proto")}
    )

    found = forwarded(head, "127.0.0.1")

    assert found.address == "" or plain_address(found.address) == found.address
    assert found.scheme in ("", "http", "https")


def test_a_field_that_comes_twice_counts_as_one_list():
    fields = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 192.0.2.1")

    assert told(*fields).address == "192.0.2.1"


def test_a_list_as_long_as_a_head_may_be_is_read():
    value = ",".join(["203.0.113.9"] * (MAX_HEAD_SIZE // 12 - 20) + ["192.0.2.1"])

    assert told(f"X-Forwarded-For: {value}").address == "192.0.2.1"


@pytest.mark.parametrize(
    ("value", "scheme"), [("https", "https"), ("HTTP", "http"), ("http, https", "https"), ("x", "")]
)
def test_the_scheme_is_one_of_two(value, scheme):
    assert told(f"X-Forwarded-Proto: {value}").scheme == scheme


def test_the_host_is_what_the_proxy_wrote():
    assert told("X-Forwarded-Host: relay.example:8443").host == "relay.example:8443"


@pytest.mark.parametrize("peer", ["8.8.8.8", "192.0.2.1", "2001:db8::1", "172.32.0.1"])
def test_who_comes_from_elsewhere_is_no_proxy(peer):
    fields = ("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: a")

    assert told(*fields, peer=peer) == NOT_FORWARDED


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "::1", "10.1.2.3", "172.17.0.1", "192.168.0.9", "fd00::1", "100.64.0.9"]
)
def test_a_proxy_is_on_this_machine_or_in_a_private_network(peer):
    assert may_be_proxy(peer)
