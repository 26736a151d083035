"""PathFacts: what a link knows of why it uses a relay, for somebody who puts it into words."""

from tunnel.proto.link.parameters import LinkCounters
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.paths.candidates import CandidateKind
from tunnel.proto.paths.stun_evidence import SeenMapping, StunEvidence, mapping_told
from tunnel.units import ByteCount, Instant, Seconds
from tunnel.values import frozen

__all__ = [
    "DirectFigures",
    "LinkCounters",
    "PathFacts",
    "SeenMapping",
    "SideEvidence",
    "facts_of",
    "figures_of",
]

# Chosen: what the other side gets to learn its public address and tell it.
TELLING_S: Seconds = 3.0


@frozen
class SideEvidence:
    """What is known of the network of one side.

    Args:
        mapping: how its NAT maps.
        is_unanswered: whether it asked STUN servers, and none answered.
        is_blocked: whether UDP to and from it seems to be blocked: several did not answer, or one
            did not that answers us.
    """

    mapping: SeenMapping = SeenMapping.UNKNOWN
    is_unanswered: bool = False
    is_blocked: bool = False


@frozen
class PathFacts:
    """What is known of a link's path.

    Args:
        direct: the direct path in use; None on a relay.
        was_direct: whether there was one before.
        is_relay_only: whether a side asked for the relay.
        here: what is known of our network; None where no STUN server could be asked.
        there: what is known of the other side's.
    """

    direct: UdpEndpoint | None
    was_direct: bool
    is_relay_only: bool
    here: SideEvidence | None
    there: SideEvidence


@frozen
class DirectFigures:
    """How a direct path is.

    Args:
        address: where it leads.
        datagram_size: the largest that is sent, bytes.
        rate: the most bytes per second of ours that it lately delivered; None without any.
        rtt_s: the round-trip time; None before the first sample.
        loss: the share of packets that were lost, 0 to 1; None while none has been acknowledged.
    """

    address: str
    datagram_size: ByteCount
    rate: float | None
    rtt_s: Seconds | None
    loss: float | None


def figures_of(link: PeerLink) -> DirectFigures | None:
    """Return how the direct path in use is, or was at the end; None on a relay."""
    path = link.direct_paths.active
    if path is None:
        return None
    rtt, known = path.ledger.rtt, path.acked_packets + path.lost_packets
    return DirectFigures(
        path.endpoint.address,
        path.packet_size,
        path.controller.delivered_rate,
        rtt.smoothed_s if rtt.has_sample else path.rtt_s,
        path.lost_packets / known if known else None,
    )


def facts_of(link: PeerLink, evidence: StunEvidence | None, now: Instant) -> PathFacts:
    """Return what is known at `now`; `evidence` is what STUN servers told us, if any were asked."""
    here = there = None
    if evidence is not None:
        is_silent = evidence.is_silent(now)
        here = SideEvidence(evidence.mapping, is_silent, is_silent and evidence.asked_several)
        there = _evidence_of_peer(link, evidence, now)
    return PathFacts(
        link.direct_path, link.promotions > 0, link.is_relay_only, here, there or SideEvidence()
    )


def _evidence_of_peer(link: PeerLink, evidence: StunEvidence, now: Instant) -> SideEvidence:
    """Judge the other side by the addresses it told; servers that answer us should answer it."""
    told = link.peer_candidates
    since = link.candidates_since
    had_time = since is not None and now >= since + TELLING_S
    is_seen_outside = any(candidate.kind != CandidateKind.HOST for candidate in told)
    is_silent = evidence.has_answer and had_time and bool(told) and not is_seen_outside
    return SideEvidence(mapping_told(told), is_silent, is_silent)
