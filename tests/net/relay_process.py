"""A relay in a process of its own, for tests of what crowds of strangers cost it."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import gevent
from raw_derp_client import PATIENCE_S, RawClient
from support.processes import PROGRAM, Process, clean_environment

from tunnel.net.relay_server.limits import SPARE_CONNECTIONS

MB = 1e6
VECTORS = Path(__file__).parent.parent / "vectors"
TLS_OPTIONS = ("--tls-cert", VECTORS / "relay_cert.pem", "--tls-key", VECTORS / "relay_key.pem")
POLL_S = 0.02


class RelayProcess:
    """A running relay.

    Args:
        process: `derphole relay`, ready.
        port: where it listens on 127.0.0.1.
        most_connections: that it takes at once.
    """

    def __init__(self, process: Process, port: int, most_connections: int) -> None:
        self.most_connections = most_connections
        self._process = process
        self.address = ("127.0.0.1", port)
        self._own_sockets = self._sockets()

    @property
    def memory_mb(self) -> float:
        """What the process holds of the machine's memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert found, self._process.story
        return int(found[1]) * 1024 / MB

    def most_memory_mb(self, seconds: float) -> float:
        """Watch the process for a while; return the most that it held."""
        ends, most = time.monotonic() + seconds, self.memory_mb
        while time.monotonic() < ends:
            gevent.sleep(POLL_S)
            most = max(most, self.memory_mb)
        return most

    def memory_at_most(self, limit_mb: float, timeout_s: float) -> float:
        """Wait until the process holds no more than that; return what it holds then."""
        deadline = time.monotonic() + timeout_s
        while (held := self.memory_mb) > limit_mb:
            assert time.monotonic() < deadline, f"still {held:.1f} MB of {limit_mb:g}"
            gevent.sleep(POLL_S)
        return held

    @property
    def connections(self) -> int:
        """Connections that the process holds."""
        return self._sockets() - self._own_sockets

    def _sockets(self) -> int:
        folder = Path(f"/proc/{self._process.pid}/fd")
        targets = []
        for link in folder.iterdir():
            with suppress(OSError):  # it was closed meanwhile
                targets.append(str(link.readlink()))
        return sum(target.startswith("socket:") for target in targets)

    def await_connections(self, count: int) -> None:
        """Wait until the process holds that many connections."""
        with gevent.Timeout(PATIENCE_S):
            while self.connections < count:
                gevent.sleep(POLL_S)


@contextmanager
def relay_process(
    folder: Path, *options: str | Path, max_clients: int = 1024
) -> Iterator[RelayProcess]:
    """Start a relay on a free port and end it afterwards."""
    options = ("--max-clients", str(max_clients), *options)
    command = [PROGRAM, "relay", "--listen", "127.0.0.1:0", "--stun-port", "off", *options]
    process = Process("relay", command, folder, clean_environment(folder))
    try:
        port = process.await_line(r"^relay ready: https?://127\.0\.0\.1:(\d+)").group(1)
        yield RelayProcess(process, int(port), max_clients + SPARE_CONNECTIONS)
    finally:
        process.stop()


def seconds_of_a_new_pair(relay: RelayProcess, source: str, *, tls: bool = False) -> float:
    """Connect two clients from an address and pass a packet; return how long all that took."""
    started = time.monotonic()
    pair = [RawClient(relay.address, tls=tls, source=source) for _ in range(2)]
    alice, bob = [client.connect() for client in pair]
    alice.send_packet(bob, b"hello")
    assert bob.packet() == (alice.public, b"hello")
    seconds = time.monotonic() - started
    alice.close()
    bob.close()
    return seconds
