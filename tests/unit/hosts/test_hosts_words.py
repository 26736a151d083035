"""No token is shown, no address unless asked for; why a program ended is said in its own words."""

import pytest
from hosts_lib.trouble import why_it_ended, without_addresses, without_tokens

TOKENS = [f"{kind}_Kz0JVRl17I_g1Ea8ntw7x-NybE" for kind in ("dhp1", "dts1", "dtc1")]


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_are_not_shown(token: str):
    shown = without_tokens(f'{{"token": "{token}"}} and {token}.')

    assert "Kz0JVRl17I" not in shown
    assert "NybE" not in shown


@pytest.mark.parametrize(
    "address",
    [
        "203.0.113.9",
        "203.0.113.9:49145",
        "[2001:db8::1]:3340",
        "2001:db8:1::2",
        "fe80::1",
        "[fe80::1%eth0]:443",
        "http://127.0.0.1:36775",
        "https://relay.example.com:8443/derp#sha256:00ff",
        "derp4f.tailscale.com:443",
    ],
)
def test_addresses_are_not_shown(address: str):
    assert without_addresses(f"relay own ({address})") == "relay own (address)"
    assert without_addresses(f"direct {address}") == "direct (address)"


@pytest.mark.parametrize(
    "text",
    [
        "v0.1.0",
        "Linux 6.18.44-1-amd64, x86_64",
        "Python 3.11.7, gevent 26.9.0, pynacl 1.6.2",
        "fra 12.5 ms, ams 14.0 ms",
        "1048576 of 1048576, the same SHA-256",
        "UDP works, mapping endpoint-independent, filtering unknown",
        "a failure: at 12:05",
    ],
)
def test_what_is_no_address_stays(text: str):
    assert without_addresses(text) == text


def test_a_program_s_last_error_says_why_it_ended():
    events = [{"event": "error", "message": "first"}, {"event": "error", "message": "nobody came"}]

    assert (
        why_it_ended("pipe on there", 1, events, "x") == "pipe on there ended with 1: nobody came"
    )
    assert (
        why_it_ended("pipe", 127, [], "a\nsh: not found\n") == "pipe ended with 127: sh: not found"
    )
    assert why_it_ended("pipe", 9, [], "") == "pipe ended with 9: it said nothing"
    assert "Kz0J" not in why_it_ended("pipe", 1, [], TOKENS[0])
