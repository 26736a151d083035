"""What a soak does follows from its seed, and takes in all that it promises."""

from nat_kinds import NatKind
from soak_lib.plan import (
    CROSSING_S,
    OF_ADDRESSES,
    OF_UDP,
    RELAY_GAP_S,
    ConnectionKind,
    Episode,
    Fault,
    FaultKind,
    Talk,
    make_episode,
)

EPISODES = [make_episode(1, number) for number in range(1, 2001)]
CROSSED = [episode for episode in EPISODES if episode.is_crossed]
GIVE_UP_S = 60.0


def test_the_same_seed_and_number_give_the_same_episode():
    assert [make_episode(1, number) for number in range(1, 2001)] == EPISODES


def test_another_seed_gives_other_episodes():
    assert all(make_episode(2, number) != EPISODES[number - 1] for number in range(1, 2001))


def test_every_kind_of_fault_comes_alone_and_crossed():
    alone = {episode.faults[0].kind for episode in EPISODES if not episode.is_crossed}
    crossed = {fault.kind for episode in CROSSED for fault in episode.faults}

    assert alone == crossed == set(FaultKind)


def test_every_two_kinds_cross_that_can():
    pairs = {frozenset(fault.kind for fault in episode.faults) for episode in CROSSED}
    kinds = list(FaultKind)
    wanted = {frozenset((one, other)) for one in kinds for other in kinds if one is not other}

    assert wanted <= pairs


def test_a_crossed_fault_begins_about_when_the_first_heals():
    for episode in CROSSED:
        first, second = episode.faults
        apart_s = min(abs(second.at_s - first.until_s), abs(first.at_s - second.until_s))
        assert apart_s <= max(CROSSING_S, RELAY_GAP_S) + 0.02


def test_a_relay_freezes_only_when_it_is_back():
    for episode in CROSSED:
        kinds = [fault.kind for fault in episode.faults]
        if kinds == [FaultKind.RELAY_KILLED, FaultKind.RELAY_FROZEN]:
            killed, frozen = episode.faults
            assert frozen.at_s >= killed.until_s + RELAY_GAP_S - 0.01


def test_no_host_loses_its_address_twice():
    for episode in CROSSED:
        sides = [fault.side for fault in episode.faults if fault.kind in OF_ADDRESSES]
        assert len(set(sides)) == len(sides)


def test_a_relayed_episode_has_no_fault_of_udp():
    relayed = [episode for episode in EPISODES if episode.is_relayed]

    assert not any(fault.kind in OF_UDP for episode in relayed for fault in episode.faults)


def test_faults_are_over_before_a_link_is_given_up():
    assert all(max(f.until_s for f in episode.faults) < GIVE_UP_S / 2 for episode in EPISODES)


def test_every_direction_side_and_talk_is_there():
    faults = [fault for episode in EPISODES for fault in episode.faults]
    udp = {(f.side, f.ways) for f in faults if f.kind is FaultKind.UDP_GONE}

    assert udp == {(side, ways) for side in "ab" for ways in (("up", "down"), ("up",), ("down",))}
    assert {(episode.talk, episode.issuer) for episode in EPISODES} == {
        (talk, host) for talk in Talk for host in "ab"
    }
    assert {kind for episode in EPISODES for kind in episode.connections} == set(ConnectionKind)


def test_in_every_share_something_moves():
    assert all(set(e.connections) - {ConnectionKind.IDLE} for e in EPISODES)


def test_an_episode_tells_how_to_play_it_again():
    assert make_episode(7, 12).again == "scripts/soak --seed 7 --episode 12"


def test_a_line_tells_commands_path_and_faults():
    faults = (
        Fault(FaultKind.TCP_GONE, 1.0, 2.4, "a", ("up",)),
        Fault(FaultKind.RELAY_KILLED, 3.7, 10.2),
    )
    episode = Episode(
        seed=1,
        number=3,
        talk=Talk.SHARE,
        nats=(NatKind.NONE, NatKind.SYMMETRIC),
        is_relayed=False,
        issuer="b",
        is_brief=False,
        size=0,
        rate_mbit=6,
        write_pace=0,
        read_pace=0,
        connections=(ConnectionKind.UPLOAD, ConnectionKind.BOTH),
        faults=faults,
    )

    assert str(episode) == (
        "share on b, open on a, none to symmetric, 6 Mbit/s, upload, both: "
        "TCP gone (a, up) at 1.0 s for 2.4 s; relay killed at 3.7 s for 10.2 s"
    )
