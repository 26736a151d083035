"""How to log in: what the other side said never becomes an option, another command or a setting."""

import shlex

import pytest

from derphole.speech.access_messages import Access, AccessVerdict
from derphole.ssh.login import Login, checked_hosts, checked_keys, first_with, login_of
from derphole.ssh.public_key import PublicKey

BLOB = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)
KEY = PublicKey("ssh-ed25519", BLOB)
HOST_KEY = f"{KEY.type} {KEY.text}"
STORED = AccessVerdict.STORED


def access(**changes: object) -> Access:
    fields = {"user": "me", "port": 2222, "hosts": ("desk", "192.0.2.1"), "host_keys": (HOST_KEY,)}
    return Access(STORED, "", **{**fields, **changes})


def test_everything_is_printed_in_the_order_in_which_it_is_used():
    login = login_of(access(), "192.0.2.1", "/home/my files/id")

    assert login is not None
    assert login.lines("derphole") == [
        "Log in with:",
        "    ssh -p 2222 -i '/home/my files/id' me@192.0.2.1",
        "For ~/.ssh/known_hosts:",
        f"    [192.0.2.1]:2222 {HOST_KEY}",
        "For ~/.ssh/config:",
        "    Host derphole-desk",
        "        HostName 192.0.2.1",
        "        User me",
        "        Port 2222",
        '        IdentityFile "/home/my files/id"',
    ]


def test_the_usual_port_and_an_unknown_key_are_not_named():
    login = login_of(access(port=22, host_keys=()), None, None)

    assert login == Login("me", "desk", 22, "derphole-desk", None, (), is_reached=False)
    login = login_of(access(port=22, host_keys=()), "desk", None)
    assert login is not None
    assert login.lines("derphole")[:2] == ["Log in with:", "    ssh me@desk"]
    assert login.block == ["Host derphole-desk", "    HostName desk", "    User me"]
    assert login_of(access(port=22), None, None).known_hosts == [f"desk {HOST_KEY}"]


def test_what_is_not_reached_is_reached_by_a_tunnel():
    login = login_of(access(), None, "/id")

    assert login is not None
    assert login.lines("npx -y derphole")[:8] == [
        "A tunnel reaches it.  On the other machine, run:",
        "    npx -y derphole derptun serve --tcp 127.0.0.1:2222",
        "On this one, with the token that it prints:",
        "    npx -y derphole derptun open TOKEN --listen 127.0.0.1:2222",
        "While both run, log in with:",
        "    ssh -p 2222 -i /id -o 'HostKeyAlias=[desk]:2222' me@127.0.0.1",
        "Where the machine can be reached, without a tunnel:",
        "    ssh -p 2222 -i /id me@desk",
    ]


@pytest.mark.parametrize(
    "user", ["", "-oProxyCommand=x", "me\nProxyCommand x", "a b", "me;x", "$(x)", "x" * 65, "é"]
)
def test_a_user_that_would_be_something_else_is_not_used(user: str):
    assert login_of(access(user=user), None, None) is None


@pytest.mark.parametrize("user", ["me", "_apt", "first.last", "DOMAIN_me", "machine$", "9lives"])
def test_users_as_systems_have_them_are_used(user: str):
    login = login_of(access(user=user), None, None)

    assert login is not None
    assert shlex.split(login.command)[-1] == f"{user}@desk"


@pytest.mark.parametrize(
    "host",
    ["", "-x", "a b", "a\nb", "x" * 300, "*", "a;b", "host.", ".host", "fe80::1%eth0", "a/b", "@"],
)
def test_a_host_that_would_be_something_else_is_left_out(host: str):
    said = access(hosts=(host, "good.example"))

    assert checked_hosts(said) == ["good.example"]
    login = login_of(said, None, None)
    assert login is not None
    assert login.host == "good.example"
    assert login.alias == "derphole-good"
    assert login_of(access(hosts=(host,)), None, None) is None


def test_host_keys_that_are_none_are_left_out():
    said = access(host_keys=("x\n* cert-authority", HOST_KEY + " comment", f'from="*" {HOST_KEY}'))

    assert checked_keys(said) == (HOST_KEY,)


def test_a_host_with_another_key_is_another_machine():
    hosts, keys = ["desk", "192.0.2.1", "192.0.2.2"], [HOST_KEY]

    assert first_with(hosts, {"desk": ["ssh-rsa x"], "192.0.2.2": [HOST_KEY]}, keys) == "192.0.2.2"
    assert first_with(hosts, {"desk": ["ssh-rsa x"]}, keys) is None
    assert first_with(hosts, {}, keys) is None


def test_a_name_that_the_person_uses_is_not_taken():
    login = login_of(access(hosts=("github.com", "127.0.0.1")), "127.0.0.1", None)

    assert login is not None
    assert login.block[:2] == ["Host derphole-github", "    HostName 127.0.0.1"]
    assert login_of(access(hosts=("fd00::1",)), None, None).alias == "derphole-fd00--1"


@pytest.mark.parametrize("path", ["/a%b", '/a"b', "/a'b", "/a\\b", "/a\nb"])
def test_a_file_that_ssh_would_read_as_another_is_not_named_in_the_config(path: str):
    login = login_of(access(), None, path)

    assert login is not None
    assert not any("IdentityFile" in line for line in login.block)
    assert shlex.split(login.command)[-2] == path
