"""What tests of the lab need beside the lab: skips with a reason, and reading of ping and sockets."""

import re
import select
import shutil
import socket
import time
from collections.abc import Callable

import pytest
from namespaces import LabError, Namespace

# Packages of Debian by the program that tests start.
PACKAGES = {
    "miniupnpd": "miniupnpd and miniupnpd-nftables",
    "natpmpc": "natpmpc",
    "turnserver": "coturn",
    "turnutils_natdiscovery": "coturn",
    "iperf3": "iperf3",
}
WAIT_S = 10.0
QUIET_S = 0.3  # a busy machine may pause for so long
POLL_S = 0.02


def require(condition: object, reason: str) -> None:
    """Skip the test with the reason if the condition is false.

    Under DERPHOLE_REQUIRE_ALL=1, as in CI, tests/conftest.py makes every skip a failure.
    """
    if not condition:
        pytest.skip(reason)


def require_program(name: str) -> None:
    """Skip the test if a program that it starts is not installed."""
    require(shutil.which(name), f"needs {name}: apt-get install {PACKAGES[name]}")


def can_ping(namespace: Namespace, address: str, limit_s: float = 5) -> bool:
    """Tell whether one echo comes back in time."""
    try:
        namespace.run("ping", "-c1", f"-W{limit_s:g}", address)
    except LabError:
        return False
    return True


def tcp_socket(namespace: Namespace, like: str = "") -> socket.socket:
    """Return a TCP socket in a namespace, of the family of an address."""
    family = socket.AF_INET6 if ":" in like else socket.AF_INET
    with namespace.entered():
        return socket.socket(family, socket.SOCK_STREAM)


def connects(namespace: Namespace, address: str, port: int) -> bool:
    """Tell whether a TCP connection can be made within some seconds."""
    with tcp_socket(namespace, address) as tcp:
        tcp.settimeout(5)
        return tcp.connect_ex((address, port)) == 0


def tcp_listener(namespace: Namespace, address: str) -> socket.socket:
    """Return a TCP socket that listens in a namespace; who connects is taken by the kernel."""
    tcp = tcp_socket(namespace, address)
    tcp.bind((address, 0))
    tcp.listen()
    return tcp


def drain(udp: socket.socket, quiet_s: float = QUIET_S) -> list[bytes]:
    """Read datagrams until none has come for a while."""
    found = []
    while select.select([udp], [], [], quiet_s)[0]:
        found.append(udp.recv(2048))
    return found


def received(udp: socket.socket, limit_s: float = WAIT_S) -> tuple[bytes, tuple[str, int]] | None:
    """Return the next datagram with its source; None when none comes in time."""
    if not select.select([udp], [], [], limit_s)[0]:
        return None
    data, source = udp.recvfrom(2048)
    return data, source[:2]


def round_trip_ms(namespace: Namespace, address: str) -> float:
    """Return the least round-trip time of ten pings."""
    text = namespace.run("ping", "-c10", "-i0.02", "-q", address)
    found = re.search(r"rtt min/avg/max/mdev = ([0-9.]+)/", text)
    assert found, text
    return float(found[1])


def await_gone(is_there: Callable[[], bool], what: str) -> None:
    """Poll until a function tells no more that something is there."""
    deadline = time.monotonic() + WAIT_S
    while is_there():
        assert time.monotonic() < deadline, f"after {WAIT_S:g} s {what} is still there"
        time.sleep(POLL_S)
