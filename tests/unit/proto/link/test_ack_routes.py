"""By which path an acknowledgement goes; the simulated world shows what that is good for."""

import pytest

from tunnel.crypto.keys import DerpKey
from tunnel.crypto.packets import MAX_RECEIVE_PATHS
from tunnel.proto.link.ack_routes import AckRoutes
from tunnel.proto.link.path import Paths, RelayPath
from tunnel.proto.machine import RelayEndpoint, UdpEndpoint
from tunnel.proto.paths.direct_path import DirectPath
from tunnel.proto.paths.table import PathTable
from tunnel.proto.rate.relay import RelayController
from tunnel.units import Instant
from tunnel.wire.frames import Ack, Answer, decode_frames

NOW = Instant(100.0)
ROOM = 1000
THEIR_DIRECT = 7  # the peer's id of its direct path


def ignore(name, values):
    pass


@pytest.fixture
def paths():
    relay = RelayPath(
        RelayEndpoint(0, DerpKey(bytes(32))), RelayController(24, is_polite=False), NOW, {0}
    )
    return Paths(relay, PathTable(NOW, lambda size: bytes(size), ignore))


@pytest.fixture
def direct():
    """A direct path that answered its challenge; not active before the table has it."""
    path = DirectPath(1, UdpEndpoint(0, "45.10.20.5", 4000), NOW, True, None, ignore)
    path.answered(NOW, Answer(path.challenge(NOW, b"8 bytes.").token, "45.9.9.9", 1))
    return path


def told(acks, path, now=NOW):
    """Return the peer's paths that are acknowledged by a path of ours now."""
    packed = bytearray()
    acks.add_to(packed, now, path, ROOM)
    frames = decode_frames(packed)
    assert all(isinstance(frame, Ack) for frame in frames)
    return [frame.path for frame in frames]


def test_an_acknowledgement_goes_back_the_way_its_packets_came(paths, direct):
    acks = AckRoutes(paths)
    paths.direct.active = direct

    acks.arrived(NOW, direct, THEIR_DIRECT, 0, 2, True)

    assert acks.next_path(NOW) is direct
    assert told(acks, paths.relay) == []
    assert told(acks, direct) == [THEIR_DIRECT]
    assert acks.next_path(NOW) is None


def test_it_goes_by_the_active_path_when_its_own_is_doubtful(paths, direct):
    acks = AckRoutes(paths)
    acks.arrived(NOW, direct, THEIR_DIRECT, 0, 2, True)

    direct.doubt(NOW)

    assert acks.next_path(NOW) is paths.relay
    assert told(acks, direct) == []
    assert told(acks, paths.relay) == [THEIR_DIRECT]


def test_what_is_told_by_the_relay_is_told_by_the_active_direct_path_too(paths, direct):
    acks = AckRoutes(paths)
    paths.direct.active = direct
    acks.follow_active()

    acks.arrived(NOW, paths.relay, 0, 0, 2, True)

    assert told(acks, paths.relay) == [0]
    assert acks.next_path(NOW) is direct
    assert told(acks, direct) == [0]
    assert acks.next_path(NOW) is None


def test_everything_is_told_once_more_by_a_path_that_becomes_active(paths, direct):
    acks = AckRoutes(paths)
    acks.arrived(NOW, paths.relay, 0, 0, 2, True)
    assert told(acks, paths.relay) == [0]
    assert acks.next_path(NOW) is None

    paths.direct.active = direct
    acks.follow_active()

    assert acks.next_path(NOW) is direct
    assert told(acks, direct) == [0]
    acks.follow_active()
    assert acks.next_path(NOW) is None


def test_the_path_unused_for_longest_is_forgotten_and_never_the_relay(paths, direct):
    acks = AckRoutes(paths)
    acks.arrived(NOW, paths.relay, 0, 0, 2, True)
    for path_id in range(1, MAX_RECEIVE_PATHS):
        acks.arrived(NOW, direct, path_id, 0, 2, True)
    acks.arrived(NOW, direct, 1, 2, 2, True)

    acks.arrived(NOW, direct, MAX_RECEIVE_PATHS, 0, 2, True)

    assert len(acks) == MAX_RECEIVE_PATHS
    assert told(acks, paths.relay) == [0]
    assert told(acks, direct)[:2] == [1, 3]
