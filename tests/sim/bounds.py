"""What a machine may hold, whatever was done to it."""

from inside import direct_paths, relay_path
from world import Host

from tunnel.crypto.packets import MAX_RECEIVE_PATHS
from tunnel.proto.link.peer_link import PeerLink
from tunnel.proto.meeting.issuer import MAX_PENDING, MAX_PENDING_OF_GRANT, MAX_RATED_GRANTS, Issuer
from tunnel.proto.meeting.places import MAX_CLOSED, MAX_KNOCKING
from tunnel.proto.paths.direct_path import MAX_ANSWERS, MAX_CHALLENGES
from tunnel.proto.paths.table import MAX_PATHS
from tunnel.proto.streams.credit import FLOOR, POOL
from tunnel.proto.streams.receive_stream import MAX_GAPS
from tunnel.wire.frames import MAX_ACK_RANGES, MAX_CANDIDATES

# Closed links are counted when another claim is accepted: those that were open then may be closed
# since, and two places are the most that a test gives to one that is hostile.
MAX_REMEMBERED = MAX_CLOSED + MAX_PENDING + MAX_KNOCKING + 2
MAX_IN_FLIGHT = 1024  # packets; a window of 2 x rate x RTT never comes near with these payloads


def check_host(host: Host, grants: int = 1, has_direct: bool = False) -> None:
    """See that a host's machine holds no more than its bounds; `grants` were used."""
    machine = host.machine
    links = list(host.links)
    if isinstance(machine, Issuer):
        assert len(machine._pending) <= min(MAX_PENDING, grants * MAX_PENDING_OF_GRANT)
        assert len(machine._claims_of_grant) <= min(MAX_RATED_GRANTS, grants)
        assert len(machine.places.by_index) <= MAX_REMEMBERED
        assert len(machine._answers) <= MAX_PENDING
        links += [entry.link for entry in machine.places.by_index.values()]
    elif machine is not None and machine.link is not None:
        links.append(machine.link)
    if machine is not None:
        assert not machine._events
    for link in links:
        check_link(link)
        if has_direct:
            check_paths(link)
        else:
            check_no_paths(link)


def check_paths(link: PeerLink) -> None:
    """See that what a link knows of direct paths is bounded."""
    acks, table = link._acks, direct_paths(link)
    assert len(list(table)) <= MAX_PATHS
    assert len(table._candidates) <= MAX_CANDIDATES
    assert len(link._control._pings) <= 1 + MAX_PATHS
    assert len(acks) <= MAX_RECEIVE_PATHS
    assert len(acks._return_by_path) <= MAX_RECEIVE_PATHS
    assert len(link._opener._windows) <= MAX_RECEIVE_PATHS
    for path in table:
        assert len(path.challenges) <= MAX_CHALLENGES
        assert len(path.answers_due) <= MAX_ANSWERS
        assert len(path.ledger._records) <= MAX_IN_FLIGHT


def check_no_paths(link: PeerLink) -> None:
    """See that a link that never left the relay holds nothing of direct paths."""
    assert len(link._control._pings) <= 1
    assert len(link._acks) <= 1
    assert len(link._acks._return_by_path) <= 1
    assert not list(direct_paths(link))  # a relay makes no direct path
    assert not len(direct_paths(link)._candidates)
    assert len(link._opener._windows) <= 1


def check_link(link: PeerLink) -> None:
    """See that a link of a conversation, which has two streams, holds no more than its bounds."""
    streams, opener = link.streams, link._opener
    assert len(streams._streams) <= 2
    assert len(streams._due) <= 6
    assert len(streams._turns) <= 2
    assert len(streams._events) <= 6
    assert len(link._events) <= 4
    assert len(link._control._frames) <= 2
    assert len(opener._key_by_phase) <= 2
    assert len(relay_path(link).ledger._records) <= MAX_IN_FLIGHT
    for acks in link._acks._state_by_path.values():
        assert len(acks._received) <= MAX_ACK_RANGES
    for window in opener._windows.values():
        assert window._seen.bit_length() <= 8192
    held = 0
    for stream in streams._streams.values():
        assert len(stream.receive._later) <= MAX_GAPS
        held += stream.receive.highest - stream.receive.read_offset
    assert held <= POOL + 2 * FLOOR
