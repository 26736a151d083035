"""Transfers with a peer that holds the token and says what it likes: no lie becomes a file, or hangs."""

import pytest
from conversation import CONTROL_STREAM, Outcome
from test_transfers import FILE, FOLDER, over, pair
from test_transfers_that_go_on import half
from transfer_sides import PIECE, Disk, Receiving, Sending
from world import World, patterned

from derphole.errors import PeerAborted, PeerBrokeProtocol, PeerLeft, PieceMismatch, SizeMismatch
from derphole.speech.messages import Confirm, ConfirmAck, Fin, MessageReader, Resumption, encode
from derphole.speech.transfer_messages import (
    Answer,
    Checked,
    HaveChecked,
    HaveEnd,
    HaveEntries,
    HaveParts,
    Kind,
    Offer,
    Origin,
    Part,
    Pieces,
    Progress,
    Start,
    Totals,
    Verdict,
)

SECONDS = 100  # a link that fell silent is given up after 60
KEY = b"k" * 16
MESSAGES = [
    Fin(5, bytes(16)),
    Confirm(FILE.size, bytes(16)),
    ConfirmAck(),
    Resumption(bytes(16)),
    Offer(Kind.FILE, KEY, b"../../etc/passwd", 1, 1 << 60),
    Totals((1 << 64) - 1, (1 << 64) - 1, 0, 0, True),
    Answer(Verdict.GO),
    Answer(Verdict.LOOKED),
    Answer(Verdict.DECLINED),
    HaveParts((Part(KEY, 1 << 40),)),
    HaveEntries((KEY,)),
    HaveEnd(),
    Start(Origin.HELD),
    Start(Origin.ANEW),
    Pieces((bytes(16),)),
    Progress(1 << 40),
    HaveChecked((Checked(KEY, KEY),)),
]
NAMES = [f"{number}-{type(message).__name__}" for number, message in enumerate(MESSAGES)]


class Talkative:
    """Says one message more, in front of its own with this number."""

    extra = None
    turn = 0
    said = 0

    def say(self, data):
        if self.said == self.turn and self.extra is not None:
            super().say(encode(self.extra))
        self.said += 1
        super().say(data)


class TalkativeSending(Talkative, Sending):
    pass


class TalkativeReceiving(Talkative, Receiving):
    pass


class LyingReceiving(Receiving):
    """Changes its words as a function says."""

    change = staticmethod(lambda message: [message])

    def say(self, data):
        super().say(b"".join(map(encode, changed(data, self.change))))


class LyingSending(Sending):
    """Changes its words and its repairs, as functions say."""

    change = staticmethod(lambda message: [message])
    change_repair = staticmethod(bytes)

    def say(self, data):
        super().say(b"".join(map(encode, changed(data, self.change))))

    def _write(self, stream, data):
        if stream == self.repair_stream:
            data = self.change_repair(data)
        super()._write(stream, data)


def changed(data, change):
    reader = MessageReader()
    reader.feed(data)
    while (message := reader.next_message()) is not None:
        yield from change(message)


def hosts(world):
    return world.issuer(), world.claimer()


def has_written_nothing_wrong(disk, source):
    return all(source.files[path] == content for path, (_, content) in disk.files.items())


@pytest.mark.parametrize("turn", range(6))
@pytest.mark.parametrize("message", MESSAGES, ids=NAMES)
def test_a_sender_that_says_anything_at_any_time_deceives_nobody(message, turn):
    world, disk = World(), half(FOLDER)
    issuer, claimer = hosts(world)
    sender = TalkativeSending(issuer, FOLDER)
    sender.extra, sender.turn = message, turn
    receiver = Receiving(claimer, disk)

    world.drive(lambda: receiver.is_over or sender.is_over, seconds=SECONDS)
    world.run_for(2)

    assert receiver.outcome is not Outcome.RUNNING
    assert has_written_nothing_wrong(disk, FOLDER)
    if receiver.outcome is Outcome.SUCCEEDED:
        assert set(disk.files) == set(FOLDER.files)
    assert sender.outcome is not Outcome.SUCCEEDED or receiver.outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("turn", range(6))
@pytest.mark.parametrize("message", MESSAGES, ids=NAMES)
def test_a_receiver_that_says_anything_at_any_time_deceives_nobody(message, turn):
    world, disk = World(), half(FOLDER)
    issuer, claimer = hosts(world)
    sender = Sending(issuer, FOLDER)
    receiver = TalkativeReceiving(claimer, disk)
    receiver.extra, receiver.turn = message, turn

    world.drive(lambda: sender.is_over or receiver.is_over, seconds=SECONDS)
    world.run_for(2)

    assert sender.outcome is not Outcome.RUNNING
    assert has_written_nothing_wrong(disk, FOLDER)
    assert sender.outcome is not Outcome.SUCCEEDED or receiver.outcome is Outcome.SUCCEEDED


def run_with(sender, receiver):
    sender.host.world.drive(over(sender, receiver), seconds=SECONDS)
    return sender.error, receiver.error


@pytest.mark.parametrize("size", [0, 1, FILE.size - 1, FILE.size + 1, (1 << 64) - 1])
def test_an_offer_of_a_size_that_is_not_true_is_no_success_unless_the_bytes_are_there(size):
    def lie(message):
        if isinstance(message, Offer):
            return [Offer(message.kind, message.source, message.name, 1, size, 0o644, 5)]
        return [message]

    world, disk = World(), Disk()
    issuer, claimer = hosts(world)
    sender, receiver = LyingSending(issuer, FILE), Receiving(claimer, disk)
    sender.change = lie

    world.drive(lambda: receiver.is_over, seconds=SECONDS)

    if size < FILE.size:
        assert isinstance(receiver.error, PeerBrokeProtocol)
        assert disk.files == {}
    assert disk.stored <= FILE.size


@pytest.mark.parametrize("more", [-1, 1])
def test_a_fin_of_another_size_is_no_success(more):
    def lie(message):
        return [Fin(message.size + more, message.digest) if isinstance(message, Fin) else message]

    world, disk = World(), Disk()
    issuer, claimer = hosts(world)
    sender, receiver = LyingSending(issuer, FILE), Receiving(claimer, disk)
    sender.change = lie

    _, error = run_with(sender, receiver)

    assert isinstance(error, SizeMismatch)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: data[:-1] + bytes((data[-1] ^ 1,)), PieceMismatch),
        (lambda data: data + data, PeerBrokeProtocol),
        (lambda data: data[:-1], PeerBrokeProtocol),
        (lambda data: b"\xff" * 4 + data[4:], PeerBrokeProtocol),
        (lambda data: data[:4] + b"\xff" * 4 + data[8:], PeerBrokeProtocol),
    ],
    ids=["other bytes", "again", "cut", "not held", "huge"],
)
def test_repairs_that_never_agree_end_in_a_failure_that_says_so(change, error):
    disk = half(FILE)
    [part] = disk.parts.values()
    part[PIECE + 3] ^= 1
    world = World()
    issuer, claimer = hosts(world)
    sender, receiver = LyingSending(issuer, FILE), Receiving(claimer, disk)
    sender.change_repair = change

    told, failed = run_with(sender, receiver)

    assert isinstance(failed, error)
    assert told is not None
    assert disk.files == {}


def test_a_receiver_that_never_ends_telling_what_it_holds_is_sent_away():
    world = World()
    issuer, claimer = hosts(world)
    sender, receiver = Sending(issuer, FILE), LyingReceiving(claimer, Disk())
    receiver.change = lambda message: [] if isinstance(message, HaveEnd) else [message]
    world.drive(lambda: receiver.proof is not None and receiver.proof.offer is not None)
    keys, number = encode(HaveEntries(tuple(patterned(16, n) for n in range(255)))), 0

    while not sender.is_over:
        if number * 255 <= 1 << 21:
            receiver._write(CONTROL_STREAM, keys * 50)
            number += 50
        world.run_for(0.5)

    assert isinstance(sender.error, PeerBrokeProtocol)
    assert number * 255 < 3 << 20


def test_a_receiver_that_claims_to_have_stored_what_was_not_sent_is_sent_away():
    def lie(message):
        return [Progress(message.stored * 1000) if isinstance(message, Progress) else message]

    world = World()
    issuer, claimer = hosts(world)
    sender, receiver = Sending(issuer, FILE), LyingReceiving(claimer, Disk())
    receiver.change = lie

    told, failed = run_with(sender, receiver)

    assert isinstance(told, PeerBrokeProtocol)
    assert failed is not None


def test_a_receiver_that_closes_politely_has_not_received():
    world, disk = World(), Disk()
    sender, receiver = pair(world, FILE, disk, wire={"rate": 50_000.0})
    world.drive(lambda: disk.stored > 20_000)

    receiver._link.close(world.instant, 16, "done")
    receiver._leave()
    world.drive(lambda: sender.is_over)

    assert isinstance(sender.error, PeerLeft | PeerAborted)


def test_a_receiver_that_lies_about_its_pieces_harms_itself_alone():
    disk = half(FILE)
    world = World()
    issuer, claimer = hosts(world)
    sender, receiver = Sending(issuer, FILE), LyingReceiving(claimer, disk)
    receiver.change = lambda message: (
        [Pieces((bytes(16),) * len(message.digests))] if isinstance(message, Pieces) else [message]
    )

    run_with(sender, receiver)

    assert sender.outcome is receiver.outcome is Outcome.SUCCEEDED
    assert sender.proof.repaired_count == sender.proof.held.claims.count
    assert has_written_nothing_wrong(disk, FILE)
