"""Which destinations go through which proxy."""

import pytest

from tunnel.errors import ProxyUnsupported
from tunnel.net.relay_client.proxy import ProxySettings, parse_proxy_url

SETTINGS = ProxySettings(https="http://secure:3128", http="plain.example:8080")


def test_tls_and_plain_connections_have_a_proxy_each():
    secure = SETTINGS.proxy_for("relay.example", 443, use_tls=True)
    plain = SETTINGS.proxy_for("relay.example", 80, use_tls=False)

    assert secure is not None
    assert secure.address == "secure:3128"
    assert plain is not None
    assert plain.address == "plain.example:8080"


def test_no_settings_mean_no_proxy():
    assert ProxySettings().proxy_for("relay.example", 443, use_tls=True) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_never_goes_through_a_proxy(host):
    assert SETTINGS.proxy_for(host, 443, use_tls=True) is None


@pytest.mark.parametrize(
    ("rules", "host", "is_exempt"),
    [
        ("*", "relay.example", True),
        ("relay.example", "RELAY.example.", True),
        ("example", "relay.example", True),
        (".example", "relay.example", True),
        ("*.example", "relay.example", True),
        ("ample", "relay.example", False),
        ("relay.example:443", "relay.example", True),
        ("relay.example:80", "relay.example", False),
        ("10.0.0.0/8, other", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("[2001:db8::1]:443", "2001:db8::1", True),
        ("[2001:db8::1]:444", "2001:db8::1", False),
        ("relay.example", "10.1.2.3", False),
        (" , ,", "relay.example", False),
    ],
)
def test_exceptions_are_read_as_other_programs_read_them(rules, host, is_exempt):
    settings = ProxySettings(https="http://secure:3128", no_proxy=rules)

    assert (settings.proxy_for(host, 443, use_tls=True) is None) == is_exempt


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("socks5://proxy:1080", "of the kind socks5, which is not supported"),
        ("socks5h://me:secret@proxy", "of the kind socks5h, which is not supported"),
        ("https://me:secret@proxy", "of the kind https, which is not supported"),
        ("http://", "the only kind of proxy supported"),
        ("http://a:b", "the only kind of proxy supported"),
        ("http://[x", "the only kind of proxy supported"),
    ],
)
def test_other_kinds_of_proxy_are_refused_for_good_without_showing_a_password(url, words):
    with pytest.raises(ProxyUnsupported) as caught:
        parse_proxy_url(url)

    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.is_lasting


def test_no_repr_shows_a_password():
    settings = ProxySettings(https="http://me:secret@proxy:1")

    assert "secret" not in repr(settings)
    assert "bWU6" not in repr(settings.proxy_for("relay.example", 443, use_tls=True))
