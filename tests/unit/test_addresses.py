"""Addresses as people write them."""

import pytest

from tunnel.addresses import bracketed, host_and_port


@pytest.mark.parametrize(
    ("host", "in_url", "with_port"),
    [
        ("relay.example", "relay.example", "relay.example:5"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1:5"),
        ("2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:5"),
        ("", "", ":5"),
    ],
)
def test_ipv6_literals_are_in_brackets(host, in_url, with_port):
    assert bracketed(host) == in_url
    assert host_and_port(host, 5) == with_port
