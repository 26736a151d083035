"""The options of `derphole relay`, and its key file."""

import json
import os
import stat
from pathlib import Path

import pytest

from derphole.cli.commands.relay_options import (
    parse_listen,
    parse_public_url,
    parse_rate,
    parse_stun_port,
    relay_options,
)
from derphole.cli.frame.arguments import Arguments
from derphole.errors import UsageError
from derphole.relay_key import KeyFileUnusable, load_or_make, write_new

SECRET = "22" * 32


def options(**values):
    named = {f"--{name.replace('_', '-')}": value for name, value in values.items()}
    return relay_options(Arguments(named, {}))


def test_without_options_it_is_a_relay_for_this_machine():
    chosen = options()

    assert chosen.listen == ("127.0.0.1", 3340)
    assert (chosen.stun_port, chosen.stun_is_wanted) == (3478, False)
    assert (chosen.certificate, chosen.rate, chosen.key_file) == (None, None, None)


def test_a_named_stun_port_is_wanted_even_if_it_is_the_usual_one():
    assert options(stun_port="3478").stun_is_wanted
    assert options(stun_port="off").stun_port is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        (":3340", ("", 3340)),
        ("[::1]:443", ("::1", 443)),
        ("relay.example:65535", ("relay.example", 65535)),
    ],
)
def test_listen_addresses(text, expected):
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text", ["", "3340", "host", "host:", "::1:80", "h:65536", "http://h:1", "[x]:1"]
)
def test_malformed_listen_addresses_are_usage_errors(text):
    with pytest.raises(UsageError):
        parse_listen(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1), ("2k", 2048), ("3M", 3 << 20), ("1G", 1 << 30)]
)
def test_rates(text, expected):
    assert parse_rate(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1T", "K"])
def test_malformed_rates_are_usage_errors(text):
    with pytest.raises(UsageError):
        parse_rate(text)


@pytest.mark.parametrize("text", ["", "0", "x", "100001"])
def test_malformed_numbers_are_usage_errors_that_name_their_option(text):
    for name in ("max_clients", "max_per_address"):
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} value"):
            options(**{name: text})


def test_a_public_url_is_read_like_a_relays():
    node = parse_public_url("https://relay.example/derp#sha256:" + "ab" * 32)

    assert (node.address, node.use_tls) == ("relay.example:443", True)
    assert node.cert_name == "sha256:" + "ab" * 32
    assert parse_public_url(None) is None


@pytest.mark.parametrize(
    "text", ["", "relay.example", "ftp://r", "https://r/path", "https://r?stun=off", "https://"]
)
def test_malformed_public_urls_are_usage_errors(text):
    with pytest.raises(UsageError, match="--public-url"):
        parse_public_url(text)


@pytest.mark.parametrize("text", ["", "OFF", "-1", "65536", "x"])
def test_malformed_stun_ports_are_usage_errors(text):
    with pytest.raises(UsageError):
        parse_stun_port(text)


def test_certificate_and_key_go_together():
    assert options(tls_cert="a", tls_key="b").certificate == (Path("a"), Path("b"))
    for half in ({"tls_cert": "a"}, {"tls_key": "b"}):
        with pytest.raises(UsageError):
            options(**half)


def test_a_key_file_is_made_for_its_owner_alone_and_read_again(tmp_path):
    path = tmp_path / "relay.json"

    made = load_or_make(path, lambda size: b"\x22" * size)
    assert not path.exists()
    write_new(path, made.keys)
    read = load_or_make(path, lambda size: b"\x33" * size)

    assert made.is_new
    assert not read.is_new
    assert made.keys == read.keys
    assert json.loads(path.read_text()) == {"PrivateKey": f"privkey:{SECRET}"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not read.is_exposed


def test_the_key_file_of_a_derper_is_read(tmp_path):
    path = tmp_path / "derper.json"
    path.write_text('{\n\t"PrivateKey": "privkey:' + SECRET + '"\n}')
    os.chmod(path, 0o644)

    loaded = load_or_make(path, os.urandom)

    # The public key that derper itself shows for this secret.
    assert loaded.keys.public.hex() == (
        "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"
    )
    assert loaded.is_exposed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "not json",
        '{"PrivateKey": 1}',
        '{"PrivateKey": "privkey:22"}',
        '{"PrivateKey": "nodekey:' + SECRET + '"}',
        '{"PrivateKey": "privkey:' + "00" * 32 + '"}',
        "[" * 50_000,
        "x" * 70_000,
    ],
)
def test_other_files_are_refused_without_showing_what_they_hold(tmp_path, text):
    path = tmp_path / "file"
    path.write_text(text)

    with pytest.raises(KeyFileUnusable) as refused:
        load_or_make(path, os.urandom)

    assert "is not a relay key file" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_folders_and_absent_folders_are_refused(tmp_path):
    with pytest.raises(KeyFileUnusable, match="cannot be read"):
        load_or_make(tmp_path, os.urandom)
    keys = load_or_make(tmp_path / "absent" / "file", os.urandom).keys
    with pytest.raises(KeyFileUnusable, match="cannot be written"):
        write_new(tmp_path / "absent" / "file", keys)


def test_a_key_file_that_came_meanwhile_is_never_overwritten(tmp_path):
    path = tmp_path / "relay.json"
    keys = load_or_make(path, os.urandom).keys
    path.write_text("of another relay")

    with pytest.raises(KeyFileUnusable, match="written by another program just now"):
        write_new(path, keys)
    assert path.read_text() == "of another relay"
