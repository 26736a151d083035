"""What came of a login to a relay and of a request to a port mapper; what a sign-in page is."""

from urllib.parse import urlsplit

from tunnel.errors import RelayFault
from tunnel.proto.netcheck.nat_behaviour import Filtering, Mapping, NatFindings
from tunnel.proto.portmap.mapping import Failure, MappingProtocol, PortMapping, is_public
from tunnel.units import Seconds
from tunnel.values import frozen
from tunnel.wire.derpmap import RelayNode, RelayRegion
from tunnel.wire.stun import SocketAddress

__all__ = [
    "Filtering",
    "MapperCheck",
    "Mapping",
    "NatFindings",
    "PortMapping",
    "RelayCheck",
    "RelayRegion",
    "SignInPage",
    "SocketAddress",
    "is_public",
    "sign_in_page",
]

# Fixed by RFC 6585: what a network answers that wants one to sign in; few do.
SIGN_IN_STATUS = 511
NO_CONTENT = 204  # tailscale net/captivedetection
PLAIN_HTTP_PORT = 80


@frozen
class RelayCheck:
    """How a login to a region went.

    Args:
        node: the one that was tried last; None when the region has none.
        connected_after_s: until the relay had accepted our key; None when it did not.
        error: why not, in a sentence.
        fault: why not, in a word.
        redirected_to: where what answers in its place sends us.
        round_trip_s: how long its answer to one request took; None when it did not connect us.
        leaf_pin: 16-byte pin of its certificate's key, if the certificate is not publicly trusted.
    """

    node: RelayNode | None
    connected_after_s: Seconds | None
    error: str | None
    fault: RelayFault | None = None
    redirected_to: str | None = None
    round_trip_s: Seconds | None = None
    leaf_pin: bytes | None = None


@frozen
class SignInPage:
    """Something else answers plain HTTP instead of a relay.

    Args:
        address: where it sends us; None when it shows a page at once.
    """

    address: str | None


@frozen
class MapperCheck:
    """What a gateway does when asked for a port by one protocol.

    Args:
        protocol: how it was asked.
        is_found: whether it speaks the protocol at all.
        mapping: what it gave; None without one.
        failure: why there is none.
        is_given_back: whether the gateway confirmed that nothing is mapped any more.
    """

    protocol: MappingProtocol
    is_found: bool
    mapping: PortMapping | None
    failure: Failure | None
    is_given_back: bool = True


def sign_in_page(status: int, location: str | None, host: str, port: int) -> SignInPage | None:
    """Return the sign-in page that an answer points to, None if it may be any server's.

    A page of its own, or a way to another host, instead of the 204 of a relay.  Networks that want
    one to sign in answer for port 80; a page at another port is that of a server.

    Args:
        status: of the answer to `/generate_204`.
        location: where a redirect leads.
        host: who was asked.
        port: at which port.
    """
    if status == SIGN_IN_STATUS:
        return SignInPage(location)
    if location is not None:
        return SignInPage(location) if _leads_away(location, host) else None
    is_page = 200 <= status < 300 and status != NO_CONTENT
    return SignInPage(None) if is_page and port == PLAIN_HTTP_PORT else None


def _leads_away(location: str, host: str) -> bool:
    try:
        wanted = urlsplit(location).hostname
    except ValueError:
        return True
    return wanted is not None and wanted != host.lower().rstrip(".")
