"""Two sides of a forwarded connection in one process: commands in greenlets, targets, clients."""

import signal
from contextlib import contextmanager, suppress

import gevent
from gevent import socket
from gevent.event import Event

from derphole.errors import Interrupted
from derphole.forwarding.endpoints import TcpEndpoint
from derphole.forwarding.statuses import ForwardingEnded
from tunnel.crypto.keys import KeyPair
from tunnel.net.relay_server.limits import RelayLimits
from tunnel.net.relay_server.server import RelayServer
from tunnel.units import KIB

WAIT_S = 15.0


def relay_server(port):
    keys = KeyPair.from_secret(b"\x29" * 32)
    relay = RelayServer(("127.0.0.1", port), keys, None, None, RelayLimits(), "")
    relay.start()
    return relay


class Told:
    """What one side reports; its text can be awaited."""

    def __init__(self):
        self.statuses = []
        self._changed = Event()

    def __call__(self, status):
        self.statuses.append(status)
        self._changed.set()

    def wait(self, kind, is_wanted=lambda status: True):
        with gevent.Timeout(WAIT_S, AssertionError(f"no {kind.__name__}: {self.statuses}")):
            while True:
                self._changed.clear()
                for status in self.statuses:
                    if isinstance(status, kind) and is_wanted(status):
                        return status
                self._changed.wait()

    def ended(self, count=1):
        """Wait for so many connections to end; returns what was told of them."""
        self.wait(ForwardingEnded, lambda _: len(self.of(ForwardingEnded)) >= count)
        return self.of(ForwardingEnded)

    def of(self, kind):
        return [status for status in self.statuses if isinstance(status, kind)]


class Side:
    """One command, in a greenlet of its own."""

    def __init__(self, run, told):
        self.told = told
        self.greenlet = gevent.spawn(self._run, run)
        self.error = None

    def _run(self, run):
        try:
            run()
        except (Exception, Interrupted) as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def interrupt(self):
        """End it as a signal does; returns when it has ended."""
        gevent.kill(self.greenlet, Interrupted(signal.SIGINT, "SIGINT"))
        self.wait()

    def wait(self):
        self.greenlet.join(timeout=WAIT_S)
        assert self.greenlet.dead
        return self.error


@contextmanager
def serving(serve):
    """Yield the target of a server that runs `serve` for each connection."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    served = []

    def accept():
        while True:
            sock, _ = listener.accept()
            served.append(gevent.spawn(serve, sock))

    acceptor = gevent.spawn(accept)
    try:
        yield TcpEndpoint("127.0.0.1", listener.getsockname()[1])
    finally:
        acceptor.kill()
        listener.close()
        gevent.killall(served)


def echo(sock):
    with suppress(OSError):
        while data := sock.recv(64 * KIB):
            sock.sendall(data)
    sock.close()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def read_to_end(sock):
    data = bytearray()
    while chunk := sock.recv(64 * KIB):
        data += chunk
    return bytes(data)


def ask(port, data):
    with connect(port) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def is_reset(sock):
    """Wait for the end of a connection; tells whether it was a reset."""
    try:
        while sock.recv(64 * KIB):
            pass
    except ConnectionResetError:
        return True
    return False
