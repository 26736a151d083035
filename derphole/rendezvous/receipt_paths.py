"""What a receipt says about paths: the bytes by path, and why a relay was used to the end.

The reason is told in words, no stronger than what is known; the first that is true counts:

    a side asked for it           --force-relay
    the direct path broke         it was there once
    NATs that cannot be punched   as far as STUN answers tell, ours and those that the peer told us
    UDP is blocked                several STUN servers were asked and none answered, or one that
                                  answers the other side
    no STUN server answered       the only one was asked; it may as well not be there
    none of these                 no direct path was found in time
"""

from derphole.transfer_status import Direction, Traffic
from tunnel.net.endpoint import LinkCounters, PathFacts, SeenMapping, SideEvidence

NOT_IN_TIME = "no direct path was found in time"


def traffic_of(direction: Direction, counters: LinkCounters, promotions: int) -> Traffic:
    """Return what a link carried in one direction."""
    if direction is Direction.SENT:
        direct, relayed = counters.bytes_sent_direct, counters.bytes_sent_relayed
    else:
        direct, relayed = counters.bytes_received_direct, counters.bytes_received_relayed
    return Traffic(direct, relayed, promotions, counters.stalls)


def reason_relayed(facts: PathFacts, is_forced_here: bool) -> str | None:
    """Return why a link uses a relay, in words; None when it uses a direct path."""
    if is_forced_here:
        return "--force-relay was given"
    if facts.is_relay_only:
        return "the other side was given --force-relay"
    if facts.direct is not None:
        return None
    if facts.was_direct:
        return "the direct path was lost"
    return NOT_IN_TIME if facts.here is None else reason_of(facts.here, facts.there)


def reason_of(here: SideEvidence, there: SideEvidence) -> str:
    """Return why no direct path came about, by what is known of both sides."""
    blocked = [name for name, side in (("this", here), ("the other", there)) if side.is_blocked]
    if len(blocked) == 2:
        return "UDP seems to be blocked on both sides: no STUN server answered"
    if blocked:
        return f"UDP seems to be blocked on {blocked[0]} side: no STUN server answered"
    is_here, is_there = (side.mapping is SeenMapping.BY_DESTINATION for side in (here, there))
    if is_here and is_there:
        return "both NATs are symmetric according to the STUN answers"
    if is_here or is_there:
        side_name = "this" if is_here else "the other"
        return f"{NOT_IN_TIME}; the NAT of {side_name} side is symmetric according to STUN"
    if here.is_unanswered:
        return f"{NOT_IN_TIME}; the relay's STUN server did not answer"
    return NOT_IN_TIME
