"""What a receipt says about paths: the bytes by path, and why a relay was used to the end.

The reason is told in words, no stronger than what is known; the first that is true counts:

    a side asked for it           --force-relay
    the direct path broke         it was there once
    NATs that cannot be punched   as far as STUN answers tell, ours and those that the peer told us
    UDP is blocked                STUN servers were asked and none answered by UDP
    none of these                 no direct path was found in time

Pure.
"""

from dataclasses import dataclass

from derphole.status import Direction, Traffic
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.paths.candidates import CandidateKind
from tunnel.proto.paths.stun_evidence import SeenMapping, StunEvidence, mapping_told
from tunnel.units import Instant, Seconds

# Chosen: what the other side gets to learn its public address and tell it.
TELLING_S: Seconds = 3.0

NOT_IN_TIME = "no direct path was found in time"


@dataclass(frozen=True, slots=True)
class SideEvidence:
    """What is known of the network of one side.

    Args:
        mapping: how its NAT maps.
        is_silent: whether UDP to and from it seems to be blocked.
    """

    mapping: SeenMapping = SeenMapping.UNKNOWN
    is_silent: bool = False


def traffic_of(direction: Direction, machine: PeerLink) -> Traffic:
    """Return what a link carried in one direction."""
    counters = machine.counters
    if direction is Direction.SENT:
        direct, relayed = counters.bytes_sent_direct, counters.bytes_sent_relayed
    else:
        direct, relayed = counters.bytes_received_direct, counters.bytes_received_relayed
    return Traffic(direct, relayed, machine.promotions, counters.stalls)


def reason_relayed(
    machine: PeerLink, evidence: StunEvidence | None, is_forced_here: bool, now: Instant
) -> str | None:
    """Return why a link uses a relay, in words; None when it uses a direct path."""
    if is_forced_here:
        return "--force-relay was given"
    if machine.is_relay_only:
        return "the other side was given --force-relay"
    if machine.direct_path is not None:
        return None
    if machine.promotions:
        return "the direct path was lost"
    if evidence is None:
        return NOT_IN_TIME
    here = SideEvidence(evidence.mapping, evidence.is_silent(now))
    return reason_of(here, _evidence_of_peer(machine, evidence, now))


def reason_of(here: SideEvidence, there: SideEvidence) -> str:
    """Return why no direct path came about, by what is known of both sides."""
    silent = [name for name, side in (("this", here), ("the other", there)) if side.is_silent]
    if len(silent) == 2:
        return "UDP seems to be blocked on both sides: no STUN server answered"
    if silent:
        return f"UDP seems to be blocked on {silent[0]} side: no STUN server answered"
    is_here, is_there = (side.mapping is SeenMapping.BY_DESTINATION for side in (here, there))
    if is_here and is_there:
        return "both NATs are symmetric according to the STUN answers"
    if is_here or is_there:
        side_name = "this" if is_here else "the other"
        return f"{NOT_IN_TIME}; the NAT of {side_name} side is symmetric according to STUN"
    return NOT_IN_TIME


def _evidence_of_peer(machine: PeerLink, evidence: StunEvidence, now: Instant) -> SideEvidence:
    """Judge the other side by the addresses it told; servers that answer us should answer it."""
    told = machine.peer_candidates
    since = machine.candidates_since
    had_time = since is not None and now >= since + TELLING_S
    is_seen_outside = any(candidate.kind != CandidateKind.HOST for candidate in told)
    is_silent = evidence.has_answer and had_time and bool(told) and not is_seen_outside
    return SideEvidence(mapping_told(told), is_silent)
