"""The table of direct paths and the peer's candidates: bounds, and what nobody may make it do."""

import random

import pytest

from tunnel.proto.machine import UdpEndpoint
from tunnel.proto.paths.candidates import CANDIDATE_LIFE_S, MAX_PER_NETWORK, PeerCandidates
from tunnel.proto.paths.direct_path import (
    DOUBT_CEILING_S,
    IDLE_TOGETHER_S,
    KEEPALIVE_S,
    PROBE_TIMES_S,
    RECOVERY_PROBE_S,
    RECOVERY_TOGETHER_S,
    ROUND_PAUSE_S,
    SILENT_S,
    PathState,
)
from tunnel.proto.paths.table import LAST_PATH_ID, MAX_PATHS, NEWCOMERS, PathTable
from tunnel.units import Instant
from tunnel.wire.frames import MAX_CANDIDATES, Answer, Candidate, Challenge

# Python calls the networks for documentation private, so these are others; nothing is sent there.
START = Instant(1000.0)
PEER = Candidate(1, "45.10.20.5", 4000)


class Table:
    """A table with one IPv4 lane, a clock, and what it noted."""

    def __init__(self, lanes=None):
        self.now = START
        self.noted = []
        rng = random.Random(1)
        self.paths = PathTable(
            START, rng.randbytes, lambda name, values: self.noted.append((name, values))
        )
        self.paths.use_lanes(START, lanes or {0: False})

    def offer(self, *candidates):
        self.paths.handle_candidates(self.now, candidates)

    def run_for(self, seconds):
        """Let time pass as a driver does; returns (time, path, frame) of what was sent."""
        end, sent, turns = self.now + seconds, [], 0
        while True:
            turns += 1
            assert turns < 20_000, "a timer stays due"
            self.paths.handle_timeout(self.now)
            for path, frames in self.paths.probes_to_send(self.now):
                sent += [(self.now, path, frame) for frame in frames]
            due = self.paths.next_timeout()
            if due is None or due > end:
                self.now = Instant(end)
                return sent
            self.now = Instant(max(due, self.now))

    def confirm(self, endpoint):
        """Have a path answer its challenge."""
        path = next(path for path in self.paths if path.endpoint == endpoint)
        sent = []
        while not sent:
            sent = [
                frame
                for _, asked, frame in self.run_for(0.0)
                if asked is path and isinstance(frame, Challenge)
            ]
            if not sent:
                self.now = Instant(max(self.now, self.paths.next_timeout()))
        frame = sent[-1]
        assert path.answered(self.now, Answer(frame.token, "192.0.2.9", 9))
        self.paths.choose(self.now)
        return path


def endpoint_of(candidate, lane=0):
    return UdpEndpoint(lane, candidate.ip, candidate.port)


def offers(count, network="47.10"):
    """Return candidates in as many networks."""
    return [Candidate(1, f"{network}.{number}.7", 4000) for number in range(count)]


def test_more_probes_than_a_second_allows_wait_without_a_timer_that_stays_due():
    table = Table(lanes={0: False, 1: False})
    table.offer(*offers(MAX_CANDIDATES))

    sent = [at for at, _, _ in table.run_for(60)]

    assert len(sent) == 2 * MAX_CANDIDATES * len(PROBE_TIMES_S)
    assert sum(at == START for at in sent) == 40
    assert sent[-1] - sent[0] <= len(sent) / 40


@pytest.mark.parametrize("addresses", [MAX_CANDIDATES, 21, 8])
def test_no_second_sees_more_than_forty_probes(addresses):
    table = Table(lanes={0: False, 1: False})
    table.offer(*offers(addresses))
    sent = [at for at, _, _ in table.run_for(0.37)]
    table.offer(*offers(MAX_CANDIDATES, "46.10"))  # and they may come at any time
    sent += [at for at, _, _ in table.run_for(30)]

    for began in sent:
        assert sum(began <= at < began + 1.0 for at in sent) <= 40


def test_an_address_that_never_answers_gets_five_probes_however_often_it_is_offered():
    table = Table()
    sent = 0
    for _ in range(100):
        table.offer(PEER)
        sent += len(table.run_for(ROUND_PAUSE_S / 101))
    assert sent == len(PROBE_TIMES_S)

    table.run_for(1)
    table.offer(PEER)
    assert len(table.run_for(10)) == len(PROBE_TIMES_S)


def test_a_hostile_peer_aims_probes_at_few_addresses_of_a_network_and_in_all():
    table = Table()
    probed = set()
    for number in range(1, 250):
        table.offer(Candidate(1, f"45.10.30.{number}", 53), Candidate(1, f"46.10.{number}.1", 53))
        probed |= {path.endpoint for _, path, _ in table.run_for(1)}

    assert len({e for e in probed if e.ip.startswith("45.10.30.")}) == MAX_PER_NETWORK
    assert len(probed) == MAX_CANDIDATES
    assert any(name == "candidates.refused" for name, _ in table.noted)


def test_a_network_that_the_peer_receives_in_is_its_own():
    table = Table()
    table.offer(PEER)
    table.confirm(endpoint_of(PEER))

    table.offer(*(Candidate(2, PEER.ip, 5000 + number) for number in range(10)))

    assert len(list(table.paths)) == 11


def test_a_private_network_counts_as_the_peer_s_own():
    candidates = PeerCandidates()
    offered = [Candidate(1, f"192.168.1.{number}", 4000) for number in range(1, 11)]

    assert (
        candidates.offer(START, offered, may_be_probed=lambda _: True, is_own=lambda _: False) == 0
    )

    assert len(candidates) == 10


LINK_LOCAL = Candidate(1, "169.254.7.9", 4000)


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.7.9", "169.254.169.254", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "fe80::1", "febf::1", "ff02::1", "::", "::7f00:1",
    ],
)  # fmt: skip
def test_an_address_that_leads_to_no_peer_is_never_probed(ip):
    table = Table(lanes={0: False, 1: True})
    table.offer(Candidate(1, ip, 4000))

    assert table.paths.heard(table.now, UdpEndpoint(int(":" in ip), ip, 4000), 1200) is None
    assert table.run_for(10) == []


def test_a_link_local_address_of_ipv4_is_probed_where_we_have_one_ourselves():
    table = Table(lanes={0: False, 1: True})
    table.paths.allows_link_local = True
    table.offer(LINK_LOCAL, Candidate(1, "fe80::1", 4000))

    assert {path.endpoint.ip for _, path, _ in table.run_for(1)} == {LINK_LOCAL.ip}
    assert table.paths.heard(table.now, UdpEndpoint(0, "169.254.1.1", 4000), 1200) is not None


def test_a_candidate_lives_for_five_minutes_after_its_last_offer():
    candidates = PeerCandidates()
    candidates.offer(START, [PEER], may_be_probed=lambda _: True, is_own=lambda _: False)
    again = Instant(START + CANDIDATE_LIFE_S - 1)
    candidates.offer(again, [PEER], may_be_probed=lambda _: True, is_own=lambda _: False)

    candidates.expire(Instant(again + CANDIDATE_LIFE_S - 1))
    assert len(candidates) == 1
    candidates.expire(Instant(again + CANDIDATE_LIFE_S))
    assert len(candidates) == 0


def test_a_path_that_never_answered_is_forgotten_with_its_candidate():
    table = Table()
    table.offer(PEER)
    table.run_for(CANDIDATE_LIFE_S - 10)
    table.offer(PEER)
    table.run_for(20)
    assert [path.id for path in table.paths] == [1]

    table.run_for(CANDIDATE_LIFE_S)
    table.paths.handle_timeout(table.now)

    assert list(table.paths) == []


def test_addresses_that_appear_by_themselves_are_taken_one_a_second():
    table = Table()
    appeared = 0
    for number in range(1000):
        endpoint = UdpEndpoint(0, "198.51.100.9", 1024 + number)
        appeared += table.paths.heard(table.now, endpoint, 100) is not None
        table.run_for(0.05)

    assert appeared <= NEWCOMERS.burst + NEWCOMERS.rate * 50 + 1
    assert len(list(table.paths)) <= MAX_PATHS


def test_an_address_that_appeared_gets_at_most_three_times_what_came_from_it():
    for size in range(33, 400, 7):
        table = Table()
        path = table.paths.heard(table.now, endpoint_of(PEER), size)
        for _ in range(3):
            path.challenged(table.now, Challenge(bytes(8)))
            table.run_for(1)
        assert path.sent_bytes <= 3 * size


def test_an_address_that_appeared_is_not_vouched_for_by_a_later_offer():
    table = Table()
    path = table.paths.heard(table.now, endpoint_of(PEER), 40)

    table.offer(PEER)
    table.run_for(100)

    assert path.sent_bytes <= 120


def test_when_the_path_ids_are_used_up_there_are_no_new_paths_and_the_old_ones_go_on():
    table = Table()
    table.offer(PEER)
    path = table.confirm(endpoint_of(PEER))
    table.paths._next_id = LAST_PATH_ID
    table.offer(*offers(10))
    assert max(each.id for each in table.paths) == LAST_PATH_ID

    table.offer(*offers(10, network="48.10"))
    assert table.paths.heard(table.now, UdpEndpoint(0, "192.0.2.77", 7), 100) is None

    assert len(list(table.paths)) == 2
    assert table.paths.active is path
    assert ("path.refused", {"ids_left": 0}) in table.noted
    table.run_for(60)
    assert path.state is PathState.DOUBTFUL  # its challenges go on, and come to nothing here
    table.confirm(endpoint_of(PEER))
    assert table.paths.active is path


def test_paths_in_use_are_never_forgotten_for_new_ones():
    table = Table()
    for number in range(MAX_PATHS + 5):
        endpoint = UdpEndpoint(0, f"198.18.{number}.1", 4000)
        if table.paths.heard(table.now, endpoint, 10_000) is None:
            break
        table.confirm(endpoint)
        for path in table.paths:  # all answer, also the one in use, which was asked again
            for token in list(path.challenges):
                path.answered(table.now, Answer(token, "192.0.2.9", 9))
            path.probe_at = None
        table.now = Instant(table.now + 1)

    assert len(list(table.paths)) == MAX_PATHS
    assert all(path.state is PathState.CONFIRMED for path in table.paths)


def test_every_one_of_many_challenges_that_come_at_once_is_answered():
    # A peer with many addresses challenges all of ours, and all arrive from its usual one.
    table = Table()
    path = table.paths.heard(table.now, endpoint_of(PEER), 10_000)
    tokens = [bytes([number]) * 8 for number in range(16)]

    for token in tokens:
        path.challenged(table.now, Challenge(token))

    answered = [frame.token for _, _, frame in table.run_for(0) if isinstance(frame, Answer)]
    assert answered == tokens


def test_an_idle_path_that_dies_is_doubted_at_its_next_challenge():
    table = Table()
    table.offer(PEER)
    path = table.confirm(endpoint_of(PEER))

    sent = table.run_for(60)

    first = min(time for time, _, frame in sent if isinstance(frame, Challenge))
    assert path.state is PathState.DOUBTFUL
    assert path.doubtful_since <= first + 1.01


def test_a_silent_path_in_use_is_challenged_when_the_peer_is_heard_by_another():
    table = Table()
    other = Candidate(1, "46.10.20.5", 4000)
    table.offer(PEER, other)
    active = table.confirm(endpoint_of(PEER))
    table.confirm(endpoint_of(other))
    assert table.paths.active is active
    table.paths.heard(table.now, endpoint_of(PEER), 100)

    table.run_for(SILENT_S - 0.01)
    table.paths.heard(table.now, endpoint_of(other), 100)
    assert table.run_for(0.0) == []

    table.run_for(0.01)
    table.paths.heard(table.now, endpoint_of(other), 100)
    asked_at, (sent,) = table.now, table.run_for(0.0)
    assert sent[1] is active
    assert isinstance(sent[2], Challenge)

    for _ in range(20):  # it is doubted by and by, however often the peer is heard elsewhere
        table.run_for(0.1)
        table.paths.heard(table.now, endpoint_of(other), 100)
    assert active.state is PathState.DOUBTFUL
    assert active.doubtful_since <= asked_at + 1.01
    assert table.paths.choose(table.now).endpoint == endpoint_of(other)


def test_a_path_with_long_round_trips_is_doubted_after_three_seconds_at_most():
    table = Table()
    table.offer(PEER)
    path = table.confirm(endpoint_of(PEER))
    path.rtt_s = 2.0
    assert 3 * path.answer_limit_s > 2 * DOUBT_CEILING_S

    sent = table.run_for(30)

    first = min(time for time, _, frame in sent if isinstance(frame, Challenge))
    assert path.state is PathState.DOUBTFUL
    assert path.doubtful_since == pytest.approx(first + DOUBT_CEILING_S)


def answered_at_once(table, seconds):
    """Let time pass while every challenge is answered at once; returns when challenges left."""
    end, times = table.now + seconds, []
    while table.now < end:
        sent = table.run_for(0.05)
        for _, path, frame in sent:
            if isinstance(frame, Challenge):
                times.append(table.now)
                path.answered(table.now, Answer(frame.token, "45.9.9.9", 1))
    return times


def test_paths_that_are_kept_open_are_asked_together_however_they_began():
    table = Table()
    for number in range(8):
        table.offer(Candidate(1, f"45.10.{number}.5", 4000))
        answered_at_once(table, 2.3)
    answered_at_once(table, 60.0)

    times = answered_at_once(table, 60.0)

    assert len(times) >= 8 * 3  # each is asked every 20 s at the least
    assert len(times) <= 8 * 60 / (KEEPALIVE_S - IDLE_TOGETHER_S) + 8
    assert len(set(times)) <= 8


def test_paths_that_are_lost_are_asked_together_once_all_is_backed_off():
    table = Table()
    for number in range(8):
        table.offer(Candidate(1, f"45.10.{number}.5", 4000))
        answered_at_once(table, 0.4)
    table.run_for(60.0)  # no answer any more
    assert all(path.state is PathState.DOUBTFUL for path in table.paths)

    times = [time for time, _, frame in table.run_for(60.0) if isinstance(frame, Challenge)]

    assert len(times) >= 8 * 60 / RECOVERY_PROBE_S - 8
    assert len(times) <= 8 * 60 / (RECOVERY_PROBE_S - RECOVERY_TOGETHER_S)
    assert len(set(times)) <= 60 / RECOVERY_PROBE_S + 2
