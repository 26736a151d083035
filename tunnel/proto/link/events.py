"""What a link tells its owner."""

from tunnel.proto.datagrams.incoming import DatagramArrived
from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.streams.table import StreamEvent
from tunnel.units import Seconds
from tunnel.values import frozen


@frozen
class LinkStalled:
    """Something has been unanswered for `silent_s`; the link is given up in `give_up_in_s`."""

    silent_s: Seconds
    give_up_in_s: Seconds


@frozen
class LinkResumed:
    """The other side is heard again after `silent_s`."""

    silent_s: Seconds


@frozen
class LinkClosed:
    """The link is over.

    Args:
        code: of the close frame; PROTOCOL_VIOLATION when a side broke the rules.
        text: a sentence from the other side, untrusted; empty otherwise.
        is_by_peer: whether the other side closed it.
    """

    code: int
    text: str
    is_by_peer: bool


@frozen
class LinkGivenUp:
    """Nothing was heard for `silent_s`; whether the peer lives is unknown."""

    silent_s: Seconds


@frozen
class PathChanged:
    """Data takes another path now: a direct one, or the relay when `endpoint` is None."""

    endpoint: UdpEndpoint | None


@frozen
class AddressSeen:
    """The other side saw packets of ours come from this address: a reflexive candidate."""

    lane: int
    ip: str
    port: int


@frozen
class PeerOffered:
    """The other side told where it may be reached; the link knows the addresses."""


@frozen
class PathAnswered:
    """A direct path was answered for the first time, `rtt_s` after it was probed."""

    endpoint: UdpEndpoint
    rtt_s: Seconds


LinkEvent = (
    StreamEvent
    | DatagramArrived
    | LinkStalled
    | LinkResumed
    | LinkClosed
    | LinkGivenUp
    | PathChanged
    | AddressSeen
    | PeerOffered
    | PathAnswered
)
