"""Floods at an issuer: it stays reachable for the true claimer, and holds no more than before.

20 000 junk claims and 20 000 junk packets a flood, from strangers (whom an honest relay names by
their own keys) and, worse, under the names of those who take part; and good claims without end, of
one who has the token.
"""

import gc
import tracemalloc

import pytest
from bounds import check_host
from conversation import Outcome, Receiver, Sender
from world import HEADER, SECRET, World, patterned

from tunnel.crypto.aead import BY_ID, AeadId
from tunnel.crypto.keys import DerpKey, KeyPair, NoiseKey
from tunnel.crypto.packets import PacketSealer
from tunnel.proto.meeting.handshake import Meeting, OutgoingClaim
from tunnel.proto.meeting.issuer import CLAIMS_OF_CLAIMER, CLAIMS_OF_GRANT, MAX_PENDING_OF_GRANT
from tunnel.wire import frames as wire
from tunnel.wire import packet as layout
from tunnel.wire.handshake import CLAIM_SIZE, MAGIC, ClaimPayload, Kind

PIECES = 40_000  # half of them claims, half packets
CUT_PIECES = 8_000
FLOOD_S = 20.0
GOOD_A_S = 200  # claims with a good MAC
BATCH = 50  # pieces of junk that arrive at one instant; a relay's queue would hold 32
FLAT = 64 << 10  # bytes that memory may differ by


class Flood:
    """Junk at the first relay's fastest: the issuer is handed all of it, nothing is queued away.

    Args:
        world: with an issuer as its first host.
        known: DERP keys of those who take part, whose names a hostile relay may use.
        pieces: of junk in all.
    """

    def __init__(self, world, known=(), pieces=PIECES):
        self.world = world
        self.issuer = world.hosts[0]
        self.delivered = 0
        self._pieces = pieces
        self._known = list(known)
        self._stranger = KeyPair.from_secret(b"\x55" * 32)
        self._wrong_macs = [self._claim(number) for number in range(8)]
        self._sealer = PacketSealer(BY_ID[AeadId.CHACHA20_POLY1305], bytes(32), 0)
        batches = pieces // BATCH
        for number in range(batches):
            world.at(world.now + number * FLOOD_S / batches, self._send_batch)

    @property
    def is_over(self):
        return self.delivered >= self._pieces

    def _send_batch(self):
        for i in range(BATCH):
            junk = self._junk_claim() if i % 2 else self._junk_packet()
            source = self.world.rng.choice([self._stranger.public, *self._known])
            self.issuer.receive(0, source, junk)
            self.delivered += 1

    def _claim(self, number):
        """Make a claim as one who saw the token without its secret: everything but the MAC."""
        meeting = Meeting(
            NoiseKey(self.world._static.public),
            DerpKey(self.world._issuer_derp.public),
            DerpKey(self._stranger.public),
        )
        payload = ClaimPayload(0, bytes(16), number, 3, 24)
        ephemeral = KeyPair.from_secret(self.world.rng.randbytes(32))
        return OutgoingClaim(meeting, HEADER, b"x" * 16, payload, ephemeral).message

    def _junk_claim(self):
        rng = self.world.rng
        if rng.random() < 0.3:
            return rng.choice(self._wrong_macs)
        return MAGIC + bytes((Kind.CLAIM, 1)) + rng.randbytes(CLAIM_SIZE - 8)

    def _junk_packet(self):
        """Make a packet, for a link of the issuer if it has any, under a key that is not its."""
        rng = self.world.rng
        indexes = list(self.issuer.machine.places.by_index) or [1]
        number = rng.choice((0, 1, 1000, rng.getrandbits(60)))
        kind = rng.choice((layout.GENERAL, layout.BULK))
        head = layout.encode_general_header(rng.choice((0, 1, 255)), 0, rng.choice(indexes), number)
        body = wire.encode(wire.Close(16, "done")) + rng.randbytes(rng.choice((0, 15, 16, 200)))
        return bytes((kind,)) + head[1:] + body


def memory():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_waiting_issuer_stays_reachable_through_forty_thousand_pieces_of_junk():
    world = World(1)
    receiver = Receiver(world.issuer())
    flood = Flood(world)
    world._note = lambda name, values: None
    world.run_for(FLOOD_S / 4)
    payload = patterned(100_000)

    sender = Sender(world.claimer(), payload)
    started_at = world.now
    world.drive(lambda: sender.outcome is not Outcome.RUNNING)

    assert world.now - started_at < 2.0
    assert not flood.is_over
    assert sender.outcome is receiver.outcome is Outcome.SUCCEEDED
    assert bytes(receiver.written) == payload


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("has_link", [False, True], ids=["waiting", "transferring"])
def test_a_flood_of_junk_leaves_an_issuer_as_it_was(has_link, is_full):
    world = World(2)
    issuer = world.issuer()
    claimer = world.claimer() if has_link else None
    world.run_for(1)
    known = [claimer.key.public] if claimer else []
    flood = Flood(world, known, PIECES if is_full else CUT_PIECES)
    world.run_for(0.1)  # everything that is made once is made
    world.trace.clear()
    assert len(issuer.machine.places.by_index) == has_link
    tracemalloc.start()
    try:
        before = memory()
        while not flood.is_over:
            world.run_for(1)
            world.trace.clear()
        after = memory()
    finally:
        tracemalloc.stop()

    assert after - before < FLAT
    check_host(issuer, grants=1)
    assert len(issuer.machine.places.by_index) == has_link
    assert not issuer.machine._claims_of_grant or has_link
    assert not issuer.is_over
    true = claimer or world.claimer()
    world.drive(lambda: true.link is not None, seconds=1)
    stream = true.send_all(patterned(300_000))
    world.drive(lambda: stream in issuer.ended, seconds=5)
    assert issuer.received[stream] == patterned(300_000)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_transfer_through_a_flood_of_junk_is_exact_and_undisturbed():
    world = World(3)
    receiver = Receiver(world.issuer())
    payload = patterned(10_000_000)
    sender = Sender(world.claimer(rate=1e6), payload)
    world.drive(lambda: len(receiver.written) > 1000)
    flood = Flood(world, [sender.host.key.public])

    world.drive(lambda: flood.is_over and receiver.is_over and sender.is_over)

    assert sender.outcome is receiver.outcome is Outcome.SUCCEEDED
    assert bytes(receiver.written) == payload
    assert receiver.host.links[0].counters.packets_dropped > PIECES / 8
    assert sender.host.link.counters.packets_lost == 0
    check_host(receiver.host)


class GoodFlood:
    """Claims with a good MAC, each a new one, at 200 a second; what is answered is counted.

    Args:
        world: with an issuer as its first host.
        keys: the connections that claim, in any order.
        seconds: how long.
    """

    def __init__(self, world, keys, seconds):
        self.world = world
        self.issuer = world.hosts[0]
        self.sent = 0
        self.answered = 0
        self._keys = keys
        world.watch = self._count
        for number in range(int(seconds * GOOD_A_S)):
            world.at(world.now + number / GOOD_A_S, self._claim)

    def _claim(self):
        key = self.world.rng.choice(self._keys)
        self.sent += 1
        meeting = Meeting(
            NoiseKey(self.world._static.public),
            DerpKey(self.world._issuer_derp.public),
            DerpKey(key.public),
        )
        payload = ClaimPayload(0, self.world.rng.randbytes(16), 7, 3, 24)
        ephemeral = KeyPair.from_secret(self.world.rng.randbytes(32))
        message = OutgoingClaim(meeting, HEADER, SECRET, payload, ephemeral).message
        self.issuer.receive(0, key.public, message)

    def _count(self, host, packet):
        is_answer = bytes(packet.data[:6]) == MAGIC and packet.data[6] == Kind.DECISION
        is_to_flood = packet.to.key in {key.public for key in self._keys}
        self.answered += host is self.issuer and is_answer and is_to_flood


@pytest.mark.timeout(120)
def test_one_connection_that_claims_without_end_leaves_the_place_to_another_with_the_same_token():
    world = World(6)
    issuer = world.issuer()
    flood = GoodFlood(world, [KeyPair.from_secret(b"\x66" * 32)], seconds=10)
    world.run_for(5)

    true = world.claimer()
    started_at = world.now
    world.drive(lambda: true.link is not None, seconds=2)
    assert world.now - started_at < 1.0
    world.run_for(10)

    assert flood.sent == 10 * GOOD_A_S
    burst, rate = CLAIMS_OF_CLAIMER.burst, CLAIMS_OF_CLAIMER.rate
    assert burst <= flood.answered <= burst + 10 * rate + 1
    check_host(issuer)
    assert not true.is_over


@pytest.mark.timeout(120)
def test_good_claims_from_everywhere_are_answered_four_times_a_second_and_kept_by_eights():
    world = World(7)
    issuer = world.issuer()
    keys = [KeyPair.from_secret(bytes((number,)) * 32) for number in range(1, 201)]
    tracemalloc.start()
    try:
        GoodFlood(world, keys, seconds=4)
        world.run_for(4)  # everything that is made once is made
        flood = GoodFlood(world, keys, seconds=8)
        world.trace.clear()
        before = memory()
        world.run_for(8)
        world.trace.clear()
        after = memory()
    finally:
        tracemalloc.stop()

    assert flood.sent == 8 * GOOD_A_S
    assert flood.answered <= CLAIMS_OF_GRANT.burst + 8 * CLAIMS_OF_GRANT.rate + 1
    assert after - before < FLAT
    assert len(issuer.machine._pending) == MAX_PENDING_OF_GRANT
    assert len(issuer.machine.places.by_index) == MAX_PENDING_OF_GRANT
    assert not issuer.machine.links
    true = world.claimer()
    world.drive(lambda: true.link is not None, seconds=2)


def test_one_who_may_claim_and_claims_without_end_takes_nothing_from_another_grant():
    """A token's holder may be hostile to its issuer: the limits of one grant are its own."""
    world = World(4)
    other = b"another grant".ljust(64, b"\0")
    world.gate.secrets[other] = b"o" * 16
    issuer = world.issuer(places=2)
    meeting = Meeting(
        NoiseKey(world._static.public), DerpKey(world._issuer_derp.public), DerpKey(bytes(32))
    )

    def claim():
        """Claim as 40 claimers a second, each a new one."""
        key = KeyPair.from_secret(world.rng.randbytes(32))
        own = Meeting(meeting.issuer_noise, meeting.issuer_derp, DerpKey(key.public))
        payload = ClaimPayload(0, world.rng.randbytes(16), 7, 3, 24)
        ephemeral = KeyPair.from_secret(world.rng.randbytes(32))
        message = OutgoingClaim(own, other, b"o" * 16, payload, ephemeral).message
        issuer.receive(0, key.public, message)

    for number in range(400):
        world.at(world.now + number / 40, claim)
    world.run_for(5)

    true = world.claimer()
    world.drive(lambda: true.link is not None, seconds=1)
    stream = true.send_all(patterned(100_000))
    world.drive(lambda: stream in issuer.ended, seconds=2)

    world.run_for(10)
    check_host(issuer, grants=2)
    assert not true.is_over
