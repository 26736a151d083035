"""The embedded relay: a DERP server with its pages and STUN, a greenlet pair per connection.

    accept loop -> caps -> ClientConnection (tunnel.net.relay_server.connection) -> Relay
    (tunnel.proto)

A failing connection ends only itself.  The accept loop waits for nobody: who must wait does so in
a connection of its own (tunnel.proto.relay_server.connection_caps decides).  Only what the server
cannot do (sockets used up, say) delays the loop, with a doubling back-off.  Larger needs:
Tailscale's derper.
"""

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import gevent
from gevent import socket
from gevent.event import Event

from tunnel.addresses import host_and_port
from tunnel.crypto.keys import KeyPair
from tunnel.net.heap import give_back_freed_memory
from tunnel.net.ifaces import local_addresses
from tunnel.net.relay_server.certificate import (
    CertificateUnusable,
    ServerCertificate,
    load_certificate,
)
from tunnel.net.relay_server.connection import ClientConnection, SharedState
from tunnel.net.relay_server.door import Door, Refused
from tunnel.net.relay_server.limits import MAX_PER_ADDRESS, SPARE_CONNECTIONS, RelayLimits
from tunnel.net.relay_server.stun import StunServer
from tunnel.net.sockets import ListenFailed, open_listener
from tunnel.net.tasks import TaskGroup
from tunnel.proto.relay_server import pages
from tunnel.proto.relay_server.connection_caps import Admitted, Refusal
from tunnel.proto.relay_server.derp_relay import Relay, RoutingLimits
from tunnel.proto.relay_server.pages import Site, node_at, own_map
from tunnel.proto.relay_server.source_network import is_loopback, is_unspecified, plain_address
from tunnel.units import Seconds
from tunnel.values import replace
from tunnel.wire.derpmap import OWN_REGION_ID, STUN_OFF, RelayNode, encode_derp_map

__all__ = [
    "MAX_PER_ADDRESS",
    "OWN_REGION_ID",
    "SPARE_CONNECTIONS",
    "CertificateUnusable",
    "ListenFailed",
    "Refusal",
    "Refused",
    "RelayLimits",
    "RelayServer",
    "RoutingLimits",
    "ServerCertificate",
    "encode_derp_map",
    "host_and_port",
    "is_loopback",
    "is_unspecified",
    "load_certificate",
    "local_addresses",
    "node_at",
    "own_map",
    "plain_address",
]

if TYPE_CHECKING:
    from ssl import SSLContext

# Chosen: as gevent's own server does.
MIN_BACK_OFF_S: Seconds = 0.01
MAX_BACK_OFF_S: Seconds = 1.0
# Chosen: closing those who are refused is quick, so that others behind them wait little.
ACCEPTED_PER_TURN = 16
# Chosen: fewer leave little behind, and others use that again.
ENDED_BEFORE_TRIM = 32
# Chosen: a crowd leaves within that time, and giving memory back takes a few milliseconds.
TRIM_AFTER_S: Seconds = 1.0
# Chosen: for the last queued frames of a server that stops.
DRAIN_S: Seconds = 1.0

_log = logging.getLogger(__name__)


class RelayServer:
    """A relay on one address.

    Args:
        listen: host ("" for all addresses) and port (0 for any).
        keys: the relay's key pair.
        stun: host and port of the STUN server, None for none.
        tls: a server context of `tunnel.net.relay_server.certificate`, None for plain HTTP.
        limits: what is allowed.
        cert_name: what the map says of the certificate: a pin, or "" when any client trusts it.
        public: how everybody reaches it, None for as it listens, or as a request tells.
        report: told of connections that are not served; must not block.
    """

    def __init__(
        self,
        listen: tuple[str, int],
        keys: KeyPair,
        stun: tuple[str, int] | None,
        tls: "SSLContext | None",
        limits: RelayLimits,
        cert_name: str = "",
        public: RelayNode | None = None,
        report: Callable[[Refused], None] = lambda _: None,
    ) -> None:
        self._listen = listen
        self._keys = keys
        self._stun = None if stun is None else StunServer(stun)
        self._tls = tls
        self._limits = limits
        self._cert_name = cert_name
        self._relay = Relay(keys, limits.routing, os.urandom)
        self._tasks = TaskGroup("relay")
        self._listener: socket.socket | None = None
        self._address: tuple[str, int] | None = None
        self._board: SharedState | None = None
        self._public = public
        self._door = Door(limits, report)
        self._connection_of: dict[Admitted, ClientConnection] = {}
        self._ended = 0  # connections, since memory was given back
        self._may_trim = Event()
        self._is_empty = Event()
        self._is_empty.set()

    @property
    def address(self) -> tuple[str, int]:
        """Where the relay listens, once started."""
        assert self._address is not None, "not started"
        return self._address

    @property
    def stun_address(self) -> tuple[str, int] | None:
        """Where STUN is answered, None for nowhere."""
        return None if self._stun is None else self._stun.address

    @property
    def clients(self) -> int:
        """Connections that are logged in."""
        return self._relay.client_count

    @property
    def connections(self) -> int:
        """All connections, including those that are not clients (yet)."""
        return len(self._connection_of)

    @property
    def node(self) -> RelayNode:
        """The relay as a map entry, once started."""
        host, port = self.address
        stun = self.stun_address
        node = RelayNode(
            name=f"{OWN_REGION_ID}a",
            region_id=OWN_REGION_ID,
            host=host,
            cert_name=self._cert_name,
            stun_port=STUN_OFF if stun is None else stun[1],
            use_tls=self._tls is not None,
        )
        if self._public is not None:
            shown = self._public
            node = replace(node, cert_name=shown.cert_name, use_tls=shown.use_tls)
            host, port = shown.host, shown.derp_port
        return pages.node_at(node, host, port)

    def start(self) -> None:
        """Listen and serve in the background; raises `ListenFailed`, and then holds nothing."""
        self._listener = open_listener("relay", *self._listen, socket.SOCK_STREAM)
        self._address = self._listener.getsockname()[:2]
        try:
            if self._stun is not None:
                self._stun.start(self._tasks)
        except BaseException:
            self._listener.close()
            raise
        site = Site(self.node, self._keys.public, is_node_public=self._public is not None)
        self._board = SharedState(self._relay, site, self._limits, self._tls, self._door, {})
        self._tasks.spawn("accept", self._accept, self._listener, self._board)
        self._tasks.spawn("trim", self._trim)

    def wait(self) -> None:
        """Wait until the server was stopped; raises what broke it."""
        self._tasks.join()

    def stop(self) -> None:
        """Take no more connections, write out what is queued for at most `DRAIN_S`, and end."""
        self._tasks.kill()
        if self._listener is not None:
            self._listener.close()
        if self._stun is not None:
            self._stun.close()
        for connection in list(self._connection_of.values()):
            connection.drain()
        self._is_empty.wait(DRAIN_S)
        for connection in list(self._connection_of.values()):
            connection.kill()

    def _accept(self, listener: socket.socket, board: SharedState) -> None:
        back_off_s = MIN_BACK_OFF_S
        taken = 0
        while True:
            try:
                sock, address = listener.accept()
            except OSError as error:
                _log.warning("accepting connections failed: %s", error)
                gevent.sleep(back_off_s)
                back_off_s = min(2 * back_off_s, MAX_BACK_OFF_S)
                continue
            back_off_s = MIN_BACK_OFF_S
            self._admit(board, sock, address)
            taken += 1
            if taken % ACCEPTED_PER_TURN == 0:
                gevent.sleep(0)

    def _admit(self, board: SharedState, sock: socket.socket, address: tuple[str, int]) -> None:
        """Serve a connection, or close it when there are too many."""
        source = plain_address(address[0])
        admitted = self._door.admit(source)
        if admitted is None:
            sock.close()
            return
        if admitted.displaced is not None:
            self._connection_of[admitted.displaced].kill(block=False)

        # Nothing here refers to the connection, so that it is gone as soon as it has ended.
        connection = ClientConnection(
            board, sock, (source, address[1]), admitted, on_end=partial(self._forget, admitted)
        )
        self._connection_of[admitted] = connection
        self._is_empty.clear()
        connection.start()

    def _forget(self, admitted: Admitted) -> None:
        self._door.leave(admitted)
        del self._connection_of[admitted]
        if not self._connection_of:
            self._is_empty.set()
        self._ended += 1
        if self._ended >= max(ENDED_BEFORE_TRIM, len(self._connection_of)):
            self._may_trim.set()

    def _trim(self) -> None:
        """Give the memory of those who left back to the system, once a crowd has."""
        while True:
            self._may_trim.wait()
            gevent.sleep(TRIM_AFTER_S)
            self._may_trim.clear()
            self._ended = 0
            give_back_freed_memory()
