"""Dialling relays that are real, wrong, distrusted, proxied or away: each cause has its sentence."""

import ssl
import subprocess
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import gevent
import pytest
from fake_proxy import proxying
from fake_relays import WAIT_S, Certificate, FakeConnection, make_certificate, running
from gevent import socket

from derphole.errors import TargetFailed
from derphole.forwarding.dial import Dialler, connect_in_turn
from derphole.forwarding.endpoints import TcpEndpoint
from derphole.speech.resets import ResetCode
from tunnel.errors import (
    HostUnreachable,
    ProxyLoginRefused,
    ProxyUnsupported,
    RelayDistrusted,
    RelayError,
    RelayFault,
    RelayKeyRefused,
    RelayNameUnknown,
    RelayNotDerp,
    RelayNotListening,
    RelayRedirected,
    RelayRefused,
    RelayUnreachable,
)
from tunnel.net.names import EAI_NODATA, lookup_reason
from tunnel.net.pins import public_key_pin
from tunnel.net.relay_client import tls
from tunnel.net.relay_client.dial import Dialling, DialOptions
from tunnel.net.relay_client.proxy import ProxySettings
from tunnel.net.relay_client.tls import Authorities
from tunnel.proto.relay_client.patience import DialLimits
from tunnel.wire.derpmap import FAMILY_OFF, RelayNode

pytestmark = pytest.mark.net

SYN_SENT = "02"  # a state in /proc/net/tcp

NAME = "relay.test"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"), alt="DNS:relay.test,IP:127.0.0.1")


def greet(connection: FakeConnection) -> None:
    connection.upgrade()
    connection.greet()
    connection.wait_for_end()


def dial(node, options=None):
    stream = Dialling(node, options or DialOptions()).relay()
    stream.socket.close()
    return stream


def failure_of(node, options=None) -> RelayError:
    with pytest.raises(RelayError) as caught:
        dial(node, options)
    return caught.value


def test_bytes_that_come_with_the_upgrade_are_kept():
    def all_at_once(connection: FakeConnection) -> None:
        connection.read_request()
        connection.socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\nDERP bytes")
        connection.wait_for_end()

    with running(all_at_once) as server:
        assert dial(server.node()).rest == b"DERP bytes"


def test_the_request_asks_for_derp_at_the_right_host():
    seen = []

    def note(connection: FakeConnection) -> None:
        seen.append(connection.read_request())
        connection.socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    with running(note, "::1") as server:
        dial(server.node())

        assert seen[0].startswith(b"GET /derp HTTP/1.1\r\n")
        assert b"\r\nHost: [::1]:%d\r\n" % server.port in seen[0]
        assert b"\r\nUpgrade: DERP\r\n" in seen[0]


def test_another_web_server_is_no_derp_server():
    def not_found(connection: FakeConnection) -> None:
        connection.read_request()
        body = b"<h1>no such \x1b[31mpage</h1>"
        connection.socket.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 26\r\n\r\n" + body)
        connection.wait_for_end()

    with running(not_found) as server:
        error = failure_of(server.node())

    assert isinstance(error, RelayRefused)
    assert str(error) == (
        "is not a DERP server: it answered HTTP 404 Not Found (<h1>no such ?[31mpage</h1>)"
    )


def test_a_server_of_another_protocol_is_no_derp_server():
    def ssh(connection: FakeConnection) -> None:
        connection.socket.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    with running(ssh) as server:
        error = failure_of(server.node())

    assert str(error) == "is not a DERP server: it does not speak HTTP (SSH-2.0-OpenSSH_9.6)"


def test_a_server_that_hangs_up_at_once_is_said_to():
    def hang_up(connection: FakeConnection) -> None:
        connection.read_request()

    with running(hang_up) as server:
        assert str(failure_of(server.node())) == "closed the connection without an answer"


def test_a_port_where_nothing_listens_is_said_to_refuse():
    with running(greet) as server:
        server.close()
        error = failure_of(server.node())

    assert isinstance(error, RelayUnreachable)
    assert "the connection was refused" in str(error)


@pytest.mark.parametrize("host", ["no-such-relay.invalid", "a..b", "a" * 64 + ".invalid"])
def test_a_name_that_does_not_exist_is_said_not_to(host):
    error = failure_of(RelayNode("x", 900, host))

    assert "its name was not found" in str(error) or "no name server answers" in str(error)


@pytest.mark.parametrize("host", ["no-such-target.invalid", "a..b"])
def test_the_target_of_a_share_is_not_told_by_an_error_of_relays(host):
    with pytest.raises(TargetFailed) as failed:
        Dialler(TcpEndpoint(host, 9), 5.0).dial()

    assert isinstance(failed.value.__cause__, HostUnreachable)
    assert not isinstance(failed.value.__cause__, RelayError)
    assert failed.value.reason.startswith("its name ")  # the caller names the target
    assert failed.value.reset is ResetCode.UNREACHABLE


@contextmanager
def listening(host, port=0, *, is_silent=False):
    """Yield a listener; a silent one has a full queue, so that nothing answers."""
    with ExitStack() as opened:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = opened.enter_context(socket.socket(family))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0 if is_silent else 10)
        for _ in range(3 if is_silent else 0):
            filler = opened.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener


def asked(port):
    """Return how many sockets of this machine wait for an answer of that port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == SYN_SENT for row in rows)


def test_the_addresses_of_a_target_are_tried_one_after_the_other():
    with listening("127.0.0.1", is_silent=True) as first:
        port = first.getsockname()[1]
        with listening("127.0.0.2", port, is_silent=True):
            before, most = asked(port), 0
            silent = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2")]
            dialled = gevent.spawn(pytest.raises, TimeoutError, connect_in_turn, silent, port, 1)
            while not dialled.dead:
                most = max(most, asked(port) - before)
                gevent.sleep(0.02)
            dialled.get()

        with listening("127.0.0.3", port) as third:
            third_one = (socket.AF_INET, "127.0.0.3")
            sock, address = connect_in_turn([silent[0], third_one], port, 0.6)
            third.accept()[0].close()
            sock.close()

    assert most == 1
    assert address == third_one


def test_the_address_that_answered_is_tried_first_the_next_time():
    with listening("::1") as second:
        port = second.getsockname()[1]
        dialler = Dialler(TcpEndpoint("localhost", port))
        dialler.dial().close()
        second.accept()[0].close()

        with listening("127.0.0.1", port):  # it comes first otherwise
            dialler.dial().close()
            second.accept()[0].close()


def test_both_families_off_leave_no_address():
    node = RelayNode("x", 900, "relay.invalid", ipv4=FAMILY_OFF, ipv6=FAMILY_OFF)

    assert "no usable address" in str(failure_of(node))


def test_a_dead_ipv6_address_does_not_hold_ipv4_up():
    with running(greet) as server:
        assert dial(server.node(host=NAME, ipv6="::1")).is_loopback


def test_a_socket_that_does_not_accept_costs_the_node_timeout_only():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    held = [socket.socket() for _ in range(4)]
    try:
        for sock in held:  # fills the backlog, so that the kernel drops further handshakes
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        node = RelayNode("x", 900, "127.0.0.1", derp_port=port, use_tls=False)

        error = failure_of(node, DialOptions(limits=DialLimits(node_s=0.2)))

        assert str(error) == "did not answer within 0.2 s"
    finally:
        for sock in (*held, listener):
            sock.close()


# ---- TLS ----


def test_a_publicly_trusted_certificate_needs_no_pin(certificate):
    options = DialOptions(authorities=Authorities(certificate.cert_file))
    with running(greet, certificate=certificate) as server:
        assert dial(server.node(), options).leaf_pin is None
        assert dial(server.node(host=NAME), options).leaf_pin is None


def company_certificate(folder):
    """Make an authority and a certificate that it signs; return its file and the certificate."""
    authority = make_certificate(folder, "company")
    cert, key, request = (folder / f"relay.{end}" for end in ("crt", "key", "csr"))
    extension = folder / "relay.ext"
    extension.write_text("subjectAltName=DNS:relay.test,IP:127.0.0.1")
    openssl = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl += ["-nodes", "-subj", "/CN=relay", "-keyout", key, "-out", request]
    subprocess.run(openssl, check=True, capture_output=True, timeout=30)
    openssl = ["openssl", "x509", "-req", "-in", request, "-CA", authority.cert_file]
    openssl += [
        "-CAkey",
        authority.key_file,
        "-CAcreateserial",
        "-extfile",
        extension,
        "-days",
        "2",
    ]
    subprocess.run([*openssl, "-out", cert], check=True, capture_output=True, timeout=30)
    return authority.cert_file, Certificate(cert, key, ssl.PEM_cert_to_DER_cert(cert.read_text()))


def test_a_company_s_authority_is_followed_wherever_it_is_named(tmp_path):
    file, certificate = company_certificate(tmp_path)
    folder = tmp_path / "by-hash"
    folder.mkdir()
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(file)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    (folder / f"{name}.0").write_bytes(file.read_bytes())
    with running(greet, certificate=certificate) as server:
        for authorities in (
            Authorities(ca_file=file),
            Authorities(cert_file=file),
            Authorities(cert_dir=folder),
            Authorities(cert_file=tmp_path / "missing", cert_dir=folder),
        ):
            assert dial(server.node(), DialOptions(authorities=authorities)).leaf_pin is None
        error = failure_of(server.node())

    assert "unable to get local issuer certificate (--ca-file FILE names an authority" in str(error)


def test_the_system_s_authorities_count_where_certifi_does_not_know_the_issuer(
    tmp_path, monkeypatch
):
    file, certificate = company_certificate(tmp_path)
    paths = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(tls, "SYSTEM_BUNDLES", (str(tmp_path / "missing"), str(file)))
    tls._make_context.cache_clear()
    try:
        with running(greet, certificate=certificate) as server:
            assert dial(server.node()).leaf_pin is None
    finally:
        tls._make_context.cache_clear()


def test_a_trusted_certificate_of_another_name_is_refused(certificate):
    options = DialOptions(authorities=Authorities(certificate.cert_file))
    with running(greet, certificate=certificate) as server:
        error = failure_of(server.node(host="other.test"), options)

    assert isinstance(error, RelayRefused)
    assert "cannot be trusted: Hostname mismatch" in str(error)


def test_a_self_signed_certificate_is_refused_without_a_pin(certificate):
    with running(greet, certificate=certificate) as server:
        error = failure_of(server.node())

    assert "has a certificate that cannot be trusted: self-signed" in str(error)


def test_a_certificate_name_of_its_own_is_checked_in_place_of_the_host(certificate):
    options = DialOptions(authorities=Authorities(certificate.cert_file))
    with running(greet, certificate=certificate) as server:
        fronted = dial(server.node(host="front.test", cert_name=NAME), options)
        error = failure_of(server.node(host="front.test", cert_name="third.test"), options)
        untrusted = failure_of(server.node(host="front.test", cert_name=NAME))

    assert fronted.leaf_pin == public_key_pin(certificate.der)[:16]
    assert str(error).startswith("has a certificate that is not valid for third.test; if it is ")
    assert "self-signed" in str(untrusted)


@pytest.mark.parametrize("size", [16, 17, 32])
def test_a_pin_of_the_key_or_of_the_certificate_stands_for_trust(certificate, size):
    pins = [public_key_pin(certificate.der), sha256(certificate.der).digest()]
    with running(greet, certificate=certificate) as server:
        for pin in pins:
            stream = dial(server.node(cert_name="sha256:" + pin[:size].hex()))

            assert stream.leaf_pin == pins[0][:16]


@pytest.mark.parametrize("name", ["sha256:" + "00" * 16, "sha256-raw:" + "00" * 32, "sha256-raw:"])
def test_another_certificate_than_the_pinned_one_is_refused(certificate, name):
    with running(greet, certificate=certificate) as server:
        error = failure_of(server.node(cert_name=name))

    assert isinstance(error, RelayRefused)
    assert "has a certificate that does not match its pin" in str(error)


def test_tests_may_switch_verification_off(certificate):
    with running(greet, certificate=certificate) as server:
        stream = dial(server.node(insecure_for_tests=True))

    assert stream.leaf_pin == public_key_pin(certificate.der)[:16]


def test_a_relay_without_tls_is_told_from_one_with():
    def answer_in_plain(connection: FakeConnection) -> None:
        connection.socket.recv(100)
        connection.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.socket.recv(100)

    with running(answer_in_plain) as server:
        error = failure_of(server.node(use_tls=True))

    assert "does not speak TLS" in str(error)


def test_a_relay_that_does_not_know_its_name_is_not_said_to_speak_no_tls():
    def alert(connection: FakeConnection) -> None:
        connection.socket.recv(4096)
        connection.socket.sendall(b"\x15\x03\x03\x00\x02\x02\x50")  # fatal, internal error
        connection.socket.recv(100)

    with running(alert) as server:
        error = failure_of(server.node(use_tls=True))

    assert error.fault is RelayFault.BROKEN
    assert "broke off the TLS handshake" in str(error)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            b"301 Moved\r\nLocation: https://b.test/",
            RelayRedirected,
            "redirects us to https://b.test/",
        ),
        (b"301 Moved", RelayNotDerp, "is not a DERP server: it answered HTTP 301"),
        (b"404 Not Found", RelayNotDerp, "is not a DERP server: it answered HTTP 404"),
        (b"429 Too Many Requests", RelayRefused, "does not accept us now: it answered HTTP 429"),
        (b"503 Service Unavailable", RelayRefused, "does not accept us now: it answered HTTP 503"),
    ],
)
def test_an_answer_to_the_upgrade_is_told_as_what_it_is(answer, kind, words):
    def serve(connection: FakeConnection) -> None:
        connection.read_request()
        connection.socket.sendall(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n")
        connection.wait_for_end()

    with running(serve) as server:
        error = failure_of(server.node())

    assert type(error) is kind
    assert words in str(error)
    assert not error.is_lasting


def test_what_does_not_pass_by_itself_is_marked_and_keeps_what_it_knows_under_its_name():
    lasting = {kind for kind in all_kinds(RelayError) if kind.is_lasting}
    seen = RelayDistrusted("has a certificate", b"p" * 32).about("relay r.test:443")

    assert lasting == {RelayDistrusted, ProxyUnsupported, RelayKeyRefused, ProxyLoginRefused}
    assert (str(seen), seen.seen_pin) == ("relay r.test:443 has a certificate", b"p" * 32)
    moved = RelayRedirected("sends us away", "https://b.test/").about("relay r.test:443")
    assert (str(moved), moved.location) == ("relay r.test:443 sends us away", "https://b.test/")


def all_kinds(kind):
    return {kind}.union(*(all_kinds(each) for each in kind.__subclasses__()))


def name_failure(number):
    return lookup_reason(socket.gaierror(number, "Some words of the system"))


def test_what_came_of_asking_for_a_name_is_told_and_no_more():
    assert name_failure(socket.EAI_NONAME) == "its name was not found"
    assert "no name server answers" in name_failure(socket.EAI_AGAIN)
    assert name_failure(socket.EAI_FAIL) == (
        "its name could not be looked up (some words of the system)"
    )
    assert lookup_reason(OSError(24, "Too many open files")) == (
        "its name could not be looked up (Too many open files)"
    )
    if EAI_NODATA != socket.EAI_NONAME:
        assert name_failure(EAI_NODATA) == "its name was found, but has no address"


def test_a_relay_that_hangs_up_in_the_tls_handshake_is_said_to():
    with running(lambda connection: connection.socket.recv(1)) as server:
        error = failure_of(server.node(use_tls=True))

    assert "closed the connection during the TLS handshake" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 49\r\n\r\n"
        b"The plain HTTP request was sent to an HTTPS port\n",
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
    ],
)
def test_a_server_that_wants_tls_is_named(answer):
    def serve(connection: FakeConnection) -> None:
        connection.read_request()
        connection.socket.sendall(answer)

    with running(serve) as server:
        error = failure_of(server.node())

    assert type(error) is RelayNotDerp
    assert "its URL begins with https://, not with http://" in str(error)


def test_a_server_that_answers_tls_with_http_is_named():
    def serve(connection: FakeConnection) -> None:
        connection.socket.recv(1)
        connection.socket.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with running(serve) as server:
        error = failure_of(server.node(use_tls=True))

    assert type(error) is RelayNotDerp
    assert "its URL begins with http://, not with https://" in str(error)


def test_where_no_relay_is_is_marked():
    misdirected = {kind for kind in all_kinds(RelayError) if kind.is_misdirected}

    assert misdirected == {RelayNameUnknown, RelayNotListening, RelayNotDerp, RelayRedirected}


# ---- proxies ----


def test_a_proxy_is_asked_by_name_and_carries_tls(certificate):
    options = {"authorities": Authorities(certificate.cert_file)}
    with running(greet, certificate=certificate) as server, proxying({NAME: server.port}) as proxy:
        settings = ProxySettings(https=f"http://127.0.0.1:{proxy.port}")
        stream = dial(server.node(host=NAME), DialOptions(proxy=settings, **options))

        assert not stream.is_loopback
        assert proxy.requests == [f"CONNECT {NAME}:{server.port}"]


def test_a_relay_without_tls_goes_through_the_http_proxy_with_a_password():
    with running(greet) as server, proxying({NAME: server.port}, "me:p@ss") as proxy:
        settings = ProxySettings(http=f"http://me:p%40ss@127.0.0.1:{proxy.port}")

        dial(server.node(host=NAME), DialOptions(proxy=settings))


def test_a_wrong_password_for_the_proxy_is_said_to_be_wrong():
    with running(greet) as server, proxying({NAME: server.port}, "me:right") as proxy:
        settings = ProxySettings(http=f"http://me:wrong@127.0.0.1:{proxy.port}")
        error = failure_of(server.node(host=NAME), DialOptions(proxy=settings))

    assert isinstance(error, RelayRefused)
    assert f"through the proxy 127.0.0.1:{proxy.port}: it wants another user name" in str(error)
    assert "wrong" not in str(error)


def test_a_proxy_that_says_no_is_quoted():
    with proxying({}) as proxy:
        settings = ProxySettings(https=f"http://127.0.0.1:{proxy.port}")
        error = failure_of(RelayNode("x", 1, NAME), DialOptions(proxy=settings))

    assert str(error).endswith(f"the proxy 127.0.0.1:{proxy.port}: it answered 502 Bad Gateway")


def test_a_proxy_that_is_away_is_blamed_and_not_passed_by():
    with running(greet) as server, proxying({}) as proxy:
        proxy.close()
        settings = ProxySettings(http=f"http://127.0.0.1:{proxy.port}")
        error = failure_of(server.node(host=NAME), DialOptions(proxy=settings))

        assert server.connections == 0
    assert f"through the proxy 127.0.0.1:{proxy.port}: the connection was refused" in str(error)


def test_a_proxy_that_hangs_up_is_blamed():
    with running(lambda connection: connection.read_request()) as not_a_proxy:
        settings = ProxySettings(https=f"http://127.0.0.1:{not_a_proxy.port}")
        error = failure_of(RelayNode("x", 1, NAME), DialOptions(proxy=settings))

    assert "it closed the connection without an answer" in str(error)


def test_a_dial_that_takes_too_long_leaves_no_socket_behind():
    closed = []

    def hang(connection: FakeConnection) -> None:
        connection.read_request()
        closed.append(connection.socket.recv(1))

    with running(hang) as server:
        with pytest.raises(RelayUnreachable):
            Dialling(server.node(), DialOptions(), DialLimits(0.1, 0.1)).relay()

        with gevent.Timeout(WAIT_S):
            while not closed:
                gevent.sleep(0.001)
        assert closed == [b""]
