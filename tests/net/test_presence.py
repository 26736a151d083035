"""Whether something listens is found out, and whoever listens does not notice."""

import errno
import os
import select
import sys
import time
from contextlib import closing, contextmanager
from ipaddress import ip_address

import gevent
import pytest
from gevent import socket

from derphole.forwarding.bind import BindFailed, bound
from derphole.forwarding.dial import DIAL_S, Dialler
from derphole.forwarding.endpoints import TcpEndpoint, UnixEndpoint, parse_bind, parse_target
from derphole.forwarding.presence import addresses_here, expected_failure, has_listener, is_held
from tunnel.net.ifaces import local_addresses
from tunnel.net.sockets import STAGGER_S

pytestmark = pytest.mark.net

NOBODY = 65534
HEAD = "  sl  local_address rem_address   st tx_queue\n"
has_tables = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the tables of sockets are Linux's"
)


def listening(ip, *, is_dual=False):
    """Return a listener of plain sockets at an address, at any port."""
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
        if ":" in ip:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_dual)
        sock.bind((ip, 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    sock.listen()
    return closing(sock)


def listening_at(path, kind=socket.SOCK_STREAM):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    if kind != socket.SOCK_DGRAM:
        sock.listen()
    return closing(sock)


def has_noticed(listener):
    """Whether a connection waits to be accepted."""
    return bool(select.select([listener.fileno()], [], [], 0.05)[0])


def port_of(listener):
    return listener.getsockname()[1]


def own_ip():
    """An address of this machine that is not of the loopback."""
    for each in local_addresses():
        if not each.is_loopback and not each.is_link_local and ":" not in each.ip:
            return each.ip
    pytest.skip("this machine has no address but the loopback's")


@pytest.mark.parametrize(
    ("ip", "target"),
    [
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("127.9.9.9", "127.9.9.9"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "localhost"),
        ("::1", "::1"),
        ("::", "::1"),
        ("::", "::"),
    ],
)
@has_tables
def test_a_listener_is_seen_and_does_not_notice(ip, target):
    with listening(ip) as listener:
        assert expected_failure(TcpEndpoint(target, port_of(listener))) is None
        assert has_listener(addresses_here(target), port_of(listener)) is True
        assert not has_noticed(listener)


@has_tables
def test_a_listener_of_both_families_is_seen_by_ipv4():
    with listening("::", is_dual=True) as listener:
        for target in ("127.0.0.1", "::ffff:127.0.0.1"):
            assert has_listener(addresses_here(target), port_of(listener)) is True


@has_tables
def test_a_listener_at_an_address_of_an_interface_is_seen_there_alone():
    ip = own_ip()
    with listening(ip) as listener:
        assert has_listener(addresses_here(ip), port_of(listener)) is True
        assert has_listener(addresses_here("localhost"), port_of(listener)) is False


@pytest.mark.parametrize("target", ["localhost", "127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"])
@has_tables
def test_a_port_without_a_listener_is_a_refusal(target):
    with listening("127.0.0.1") as listener:
        port = port_of(listener)
    with closing(socket.socket()) as held:  # bound, and listening to nobody
        held.bind(("127.0.0.1", port))

        failure = expected_failure(TcpEndpoint(target, port))

    assert isinstance(failure, ConnectionRefusedError)
    assert failure.errno == errno.ECONNREFUSED


@pytest.mark.parametrize(
    "host", ["db.example.com", "192.0.2.1", "2001:db8::1", "no-such-host.invalid"]
)
def test_of_another_machine_nothing_is_said(host):
    assert addresses_here(host) == ()
    assert expected_failure(TcpEndpoint(host, 1)) is None


def test_the_zone_of_an_address_does_not_matter():
    assert addresses_here("::1%lo") == (ip_address("::1"),)


def test_where_there_are_no_tables_nothing_is_said(tmp_path):
    assert has_listener(addresses_here("localhost"), 1, tmp_path) is None


@pytest.mark.parametrize("name", ["tcp", "tcp6"])
def test_of_a_table_that_cannot_be_read_nothing_is_said(tmp_path, name):
    for table in ("tcp", "tcp6"):
        (tmp_path / table).write_text(HEAD)
    assert has_listener(addresses_here("localhost"), 1, tmp_path) is False

    (tmp_path / name).write_bytes(b"\xff\x00 what another system writes\n")
    assert has_listener(addresses_here("localhost"), 1, tmp_path) is None

    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert has_listener(addresses_here("localhost"), 1, tmp_path) is None


def test_a_machine_without_ipv6_has_one_table(tmp_path):
    loopback = "0100007F" if sys.byteorder == "little" else "7F000001"
    (tmp_path / "tcp").write_text(f"{HEAD}   0: {loopback}:0050 00000000:0000 0A 0:0\n")

    assert has_listener(addresses_here("localhost"), 80, tmp_path) is True
    assert has_listener(addresses_here("localhost"), 81, tmp_path) is False


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_held_socket_file_is_seen_and_its_program_does_not_notice(tmp_path, kind):
    path = tmp_path / "held.sock"
    with listening_at(path, kind) as listener:
        assert is_held(str(path))
        assert expected_failure(UnixEndpoint(str(path))) is None
        assert not has_noticed(listener)

    assert not is_held(str(path))
    assert isinstance(expected_failure(UnixEndpoint(str(path))), ConnectionRefusedError)


def test_a_socket_file_that_does_not_exist_is_named_so(tmp_path):
    failure = expected_failure(UnixEndpoint(str(tmp_path / "none.sock")))

    assert isinstance(failure, FileNotFoundError)


@contextmanager
def without_rights():
    """Be nobody for a while: root may use every file."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_socket_file_of_somebody_else_is_named_so(tmp_path):
    path = tmp_path / "other.sock"
    with listening_at(path) as listener:
        path.chmod(0o400)

        with without_rights():
            failure = expected_failure(UnixEndpoint(str(path)))

        assert isinstance(failure, PermissionError)
        assert not has_noticed(listener)


def test_a_bind_that_is_taken_is_refused_and_its_program_does_not_notice(tmp_path):
    path = tmp_path / "taken.sock"
    with listening_at(path) as listener:
        with pytest.raises(BindFailed, match="another program"), bound(parse_bind(f"unix:{path}")):
            raise AssertionError("it was bound")
        assert not has_noticed(listener)


def test_localhost_is_dialled_by_one_connection_however_late_this_process_is():
    with listening("::", is_dual=True) as listener:
        dialled = gevent.spawn(Dialler(parse_target(f"{port_of(listener)}")).dial)
        for _ in range(3):
            gevent.sleep(0)  # the first connection is on its way
        time.sleep(2 * STAGGER_S)  # the whole process stands still, as on a machine that is busy

        with closing(dialled.get(timeout=DIAL_S)):
            listener.accept()[0].close()
            assert not has_noticed(listener)
