"""Arguments and environment become settings, or a sentence that says what is wrong."""

import json
from pathlib import Path

import pytest

from derphole.cli.frame.arguments import Arguments
from derphole.cli.frame.network import network_options, parse_relay
from derphole.config import NetworkOptions, RelayAddress
from derphole.errors import UsageError

HEX = "00112233445566778899aabbccddeeff"


def options(environ=None, **values):
    named = {f"--{name.replace('_', '-')}": value for name, value in values.items()}
    return network_options(Arguments(named, environ or {}))


def test_nothing_given_gives_the_defaults():
    assert options() == NetworkOptions()


def test_the_environment_gives_what_no_option_does():
    environ = {
        "DERPHOLE_DERP_MAP": "https://example.com/map",
        "https_proxy": "http://lower:1",
        "HTTPS_PROXY": "http://upper:1",
        "HTTP_PROXY": "http://upper:2",
        "NO_PROXY": "localhost, .example.com ,",
        "XDG_CACHE_HOME": "/tmp/cache",
    }

    assert options(environ) == NetworkOptions(
        derp_map="https://example.com/map",
        proxy_https="http://lower:1",
        proxy_http="http://upper:2",
        no_proxy=("localhost", ".example.com"),
        cache_dir=Path("/tmp/cache/derphole"),
    )


def test_an_option_wins_over_the_environment():
    environ = {"DERPHOLE_RELAY": "http://env:1", "DERPHOLE_DERP_MAP": "env.json"}

    assert options(environ).relay == RelayAddress("env", 1, tls=False)
    assert options(environ).derp_map is None
    assert options(environ, derp_map="mine.json").derp_map == "mine.json"
    assert options(environ, derp_map="mine.json").relay is None
    assert options(environ, relay="http://mine:2").relay == RelayAddress("mine", 2, tls=False)


def test_the_older_variable_for_a_relay_counts_where_the_newer_one_is_unset():
    environ = {"DERPHOLE_DERP_SERVER": "http://old:1/derp", "DERPHOLE_DERP_MAP": "env.json"}

    assert options(environ).relay == RelayAddress("old", 1, tls=False)
    assert options(environ).derp_map is None
    assert options({**environ, "DERPHOLE_RELAY": ""}).relay.host == "old"
    assert options({**environ, "DERPHOLE_RELAY": "http://new:2"}).relay.host == "new"
    assert options(environ, relay="http://mine:2").relay.host == "mine"
    assert options(environ, derp_map="mine.json").relay is None


def test_the_port_of_a_relay_s_stun_server_is_taken_as_the_relay_prints_it():
    address = parse_relay("relay ready: http://127.0.0.1:3340?stun=5000 (STUN on 127.0.0.1:5000)")

    assert address == RelayAddress("127.0.0.1", 3340, tls=False, stun="5000")
    assert address.url == "http://127.0.0.1:3340?stun=5000"
    assert parse_relay("https://a?stun=off").stun == "off"
    with pytest.raises(UsageError, match="only .stun=PORT may follow"):
        parse_relay("https://a?stun=99x")


@pytest.mark.parametrize("text", ["0", "65536", "-1", "4000/udp", ""])
def test_a_port_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="use a number from 1 to 65535"):
        options(udp_port=text)


def test_a_port_for_direct_paths_is_taken_unless_there_are_to_be_none():
    assert options(udp_port="41641").udp_port == 41641
    with pytest.raises(UsageError, match="--force-relay allows none"):
        options(udp_port="41641", force_relay=True)


def test_map_and_relay_together_are_refused():
    with pytest.raises(UsageError, match="only one of --derp-map or --relay may be set"):
        options(derp_map="a", relay="http://b:1")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://relay.example", RelayAddress("relay.example", 443, True)),
        ("https://Relay.Example:8443/", RelayAddress("relay.example", 8443, True)),
        ("https://relay.example/derp", RelayAddress("relay.example", 443, True)),
        ("http://127.0.0.1:3340", RelayAddress("127.0.0.1", 3340, False)),
        ("http://[::1]:3340", RelayAddress("::1", 3340, False)),
        ("http://my_relay:3340", RelayAddress("my_relay", 3340, False)),
        ("http://[fe80::1%Eth0]:3340", RelayAddress("fe80::1%Eth0", 3340, False)),
        ("http://[fe80::1%25eth0]:3340", RelayAddress("fe80::1%eth0", 3340, False)),
        (f"https://a#sha256:{HEX}", RelayAddress("a", 443, True, f"sha256:{HEX}")),
        (f"https://a#sha256:{HEX * 2}", RelayAddress("a", 443, True, f"sha256:{HEX * 2}")),
        (
            f"https://a#sha256-raw:{HEX.upper() * 2}",
            RelayAddress("a", 443, True, f"sha256-raw:{HEX * 2}"),
        ),
    ],
)
def test_a_relay_address_is_understood(text, address):
    assert parse_relay(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "relay.example",
        "ftp://a",
        "https://",
        "https://a/path",
        "https://a?x=1",
        "https://user@a",
        "https://a:0",
        "https://a:99999",
        "https://a:x",
        "https://[::1",
        "http://[fe80::1]:3340",
        "https://a#md5:00",
        "https://a#sha256:00",
        "https://a#sha256:zz",
        f"https://a#sha256-raw:{HEX}",
        f"http://a#sha256-raw:{HEX * 2}",
        f"http://a#sha256:{HEX}",
    ],
)
def test_another_relay_address_is_refused(text):
    with pytest.raises(UsageError, match="invalid relay"):
        parse_relay(text)


@pytest.mark.parametrize(
    "text",
    [
        "relay ready: http://127.0.0.1:3340 (no STUN)",
        "relay ready: http://127.0.0.1:3340 (STUN on 127.0.0.1:3478)",
        "http://127.0.0.1:3340\n",
        "'http://127.0.0.1:3340'",
        "<http://127.0.0.1:3340>",
        "--relay http://127.0.0.1:3340",
        "export DERPHOLE_RELAY=http://127.0.0.1:3340",
        "http://127.0.0.1:3340, http://127.0.0.1:3340.",
        "HTTP://127.0.0.1:3340",
    ],
)
def test_the_relay_is_found_in_what_was_pasted(text):
    assert parse_relay(text) == RelayAddress("127.0.0.1", 3340, tls=False)
    assert options({"DERPHOLE_RELAY": text}).relay == parse_relay(text)


def test_a_pin_stays_with_the_relay_that_was_pasted():
    line = f"relay ready: https://192.0.2.1:443#sha256:{HEX * 2} (STUN on 192.0.2.1:3478)"

    assert parse_relay(line) == RelayAddress("192.0.2.1", 443, True, f"sha256:{HEX * 2}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("127.0.0.1:3340", "its scheme is missing; write http://127.0.0.1:3340 if .* or https://"),
        ("[::1]:3340", "its scheme is missing; write http://\\[::1\\]:3340 if"),
        ("relay.example", "its scheme is missing; write http://relay.example if"),
        ("'my_relay:80'", "its scheme is missing; write http://my_relay:80 if"),
        ("http://a:1 http://b:2", "there are 2 URLs in it; give one"),
        ("http://127.0.0.1:3340/derpmap", "it is the URL of a relay map, which goes to --derp-map"),
        ("ftp://a", "it must begin with https:// or http://"),
        ("https://", "it must begin with https:// or http://"),
        ("some relay", "it must begin with https:// or http://"),
        ("https://a/path", "nothing may follow the host name and the port"),
    ],
)
def test_every_other_text_for_a_relay_has_its_sentence(text, sentence):
    with pytest.raises(UsageError, match=f"^invalid relay .*: {sentence}"):
        parse_relay(text)


def test_a_token_given_as_a_relay_is_not_repeated():
    with pytest.raises(UsageError, match="what was given as a relay holds a token") as caught:
        parse_relay("token: dhp1_SecretSecret")
    assert "Secret" not in caught.value.sentence


def test_authorities_are_named_by_an_option_and_by_the_variables_of_other_programs(tmp_path):
    file = tmp_path / "company.pem"
    file.write_text("-----BEGIN CERTIFICATE-----")
    named = options({"SSL_CERT_FILE": "/a.pem", "SSL_CERT_DIR": "/certs"}, ca_file=str(file))

    assert (named.ca_file, named.cert_file, named.cert_dir) == (
        file, Path("/a.pem"), Path("/certs"),
    )  # fmt: skip
    with pytest.raises(UsageError, match="holds no PEM certificate"):
        options(ca_file=json.__file__)
    with pytest.raises(UsageError, match="cannot be read: no such file"):
        options(ca_file=str(tmp_path / "missing"))


def test_all_proxy_stands_for_what_has_no_proxy_of_its_own():
    environ = {"ALL_PROXY": "http://all:1", "HTTP_PROXY": "http://plain:2"}
    both = options(environ=environ)

    assert (both.proxy_https, both.proxy_http) == ("http://all:1", "http://plain:2")
    assert options(environ={"all_proxy": "http://all:1"}).proxy_http == "http://all:1"


def test_exceptions_from_proxies_may_be_separated_by_blanks():
    assert options(environ={"no_proxy": "a.example  b,c ,\td"}).no_proxy == (
        "a.example", "b", "c", "d",
    )  # fmt: skip


def test_a_link_local_relay_without_a_zone_is_told_what_is_missing():
    with pytest.raises(
        UsageError, match=r"needs the interface .*, as in http://\[fe80::1%eth0\]:80"
    ):
        parse_relay("http://[FE80::1]")


def test_a_relay_address_is_written_as_people_write_it():
    assert parse_relay("http://[::1]:3340").url == "http://[::1]:3340"
    assert parse_relay(f"https://a#sha256:{HEX}").url == "https://a:443"


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", None), ("5", 5.0), ("2.5", 2.5), ("0.0", None), ("2m", 120.0)]
)
def test_a_timeout_is_seconds(text, seconds):
    assert options(timeout=text).timeout_s == seconds
    assert options(timeout=text).is_patient is (seconds is None)


def test_the_size_of_a_trace_has_units_and_a_least():
    assert options(trace="t").trace_size == 64 << 20
    assert options(trace="t", trace_size="64K").trace_size == 64 << 10
    assert options(trace="t", trace_size="2g").trace_size == 2 << 30
    for text in ("", "0", "63K", "x", "-1", "1T"):
        with pytest.raises(UsageError, match="invalid --trace-size value"):
            options(trace="t", trace_size=text)
    with pytest.raises(UsageError, match="--trace-size requires --trace FILE"):
        options(trace_size="1M")


@pytest.mark.parametrize("text", ["", "-1", "x", "1e9", "nan", "inf"])
def test_another_timeout_is_refused(text):
    with pytest.raises(UsageError, match="invalid --timeout value"):
        options(timeout=text)


@pytest.mark.parametrize("text", ["1", "16", "auto", "AUTO"])
def test_parallel_is_1_to_16_or_auto(text):
    assert options(parallel=text) == options()


@pytest.mark.parametrize("text", ["0", "17", "-1", "x", "", "1.5", "٣"])
def test_another_parallel_is_refused(text):
    with pytest.raises(UsageError, match="parallel must be 1-16 or auto"):
        options(parallel=text)


def test_the_cache_lies_under_the_home_folder():
    assert options({"HOME": "/home/me"}).cache_dir in (
        Path("/home/me/.cache/derphole"),
        Path("/home/me/Library/Caches/derphole"),
    )
    assert options({"HOME": ""}).cache_dir is None
    assert options({"HOME": "/h", "XDG_CACHE_HOME": "relative"}).cache_dir == (
        options({"HOME": "/h"}).cache_dir
    )


def test_trace_and_force_relay():
    settings = options(trace="t.json", force_relay=True)

    assert (settings.trace, settings.force_relay) == (Path("t.json"), True)
    with pytest.raises(UsageError, match="--trace"):
        options(trace="")


def test_a_proxy_password_does_not_show_in_repr():
    assert "secret" not in repr(options({"https_proxy": "http://me:secret@proxy:1"}))
