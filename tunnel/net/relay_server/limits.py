"""What an embedded relay server allows: connections, deadlines and routing, as one value."""

from dataclasses import field

from tunnel.proto.relay_server.connection_caps import AcceptRates
from tunnel.proto.relay_server.derp_relay import RoutingLimits
from tunnel.units import Seconds
from tunnel.values import frozen

# Chosen: connections beyond the logged-in clients: pages, logins under way.
SPARE_CONNECTIONS = 256
# Chosen: a classroom or an office behind one address; more is for the operator to say.
MAX_PER_ADDRESS = 64


@frozen
class RelayLimits:
    """Bounds of one server; times in seconds.

    Args:
        routing: clients, queues and rate.
        max_per_address: connections from one source address (IPv6: one /64), loopback excepted:
            who is on this machine, or comes through its reverse proxy, counts only in the total.
        is_behind_proxy: what a reverse proxy on this machine or in a private network tells of who
            it connects, is believed: connections count for those.
        accept: connections begun with per second, of each network and in all; more wait their
            turn for a while, or are closed.
        handshake_timeout_s: for TLS.
        head_timeout_s: for the HTTP request head.
        login_timeout_s: from the upgrade to the client's login.
        write_timeout_s: for a connection to take anything at all of what waits for it.
        quiet_s: a client that sends nothing for so long gives its large buffer back.
    """

    routing: RoutingLimits = field(default_factory=RoutingLimits)
    max_per_address: int = MAX_PER_ADDRESS
    is_behind_proxy: bool = False
    accept: AcceptRates = field(default_factory=AcceptRates)
    handshake_timeout_s: Seconds = 10.0
    head_timeout_s: Seconds = 10.0
    login_timeout_s: Seconds = 10.0
    write_timeout_s: Seconds = 10.0
    quiet_s: Seconds = 5.0

    @property
    def max_connections(self) -> int:
        """All connections at once, logged in or not."""
        return self.routing.max_clients + SPARE_CONNECTIONS
