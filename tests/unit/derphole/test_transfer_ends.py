"""Both ends of a transfer, decision by decision, and with a peer that says whatever it likes."""

import pytest
from xxhash import xxh3_128

from derphole.errors import (
    Declined,
    DigestMismatch,
    PeerAborted,
    PeerBrokeProtocol,
    PeerLeft,
    PieceMismatch,
    TargetExists,
    TimedOut,
    WeBrokeProtocol,
)
from derphole.speech.decisions import (
    Close,
    EndData,
    Fail,
    Flush,
    KeepPlace,
    Over,
    Proved,
    Replaced,
    Say,
    Write,
)
from derphole.speech.endings import Ending
from derphole.speech.messages import Confirm, ConfirmAck, Fin, MessageReader, Resumption, encode
from derphole.speech.stream_proof import CONFIRM_S
from derphole.speech.stream_states import State
from derphole.speech.transfer_decisions import (
    Begin,
    Compare,
    Counted,
    EndRepairs,
    Heard,
    Offered,
    OpenRepairs,
    Piece,
    ReadPieces,
    ReadRepair,
    SendFrom,
    Skip,
    WritePiece,
    WriteRepair,
)
from derphole.speech.transfer_messages import (
    MAX_KEYS_AT_ONCE,
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
    Reason,
    Result,
    Start,
    Totals,
    Verdict,
)
from derphole.transfer.held import MAX_HELD_ENTRIES
from derphole.transfer.offer import file_key
from derphole.transfer.pieces import MAX_PARTS, MAX_PIECES, piece_digest
from derphole.transfer.receiving import PROGRESS_S, ReceivingTransfer
from derphole.transfer.repairs import repair_header
from derphole.transfer.sending import SendingTransfer
from tunnel.errors import ClosedHere, PeerClosed, PeerSilent
from tunnel.units import Instant

PIECE = 16
CONTENT = bytes(range(100))
HELD = 40
REST = CONTENT[HELD:]
FIN = Fin(len(REST), xxh3_128(REST).digest())
OFFER = Offer(Kind.FILE, b"s" * 16, b"name", 1, len(CONTENT), 0o644, 5)
FOLDER = Offer(Kind.FOLDER, b"s" * 16, b"name")
KEY = file_key(OFFER)
OTHER_KEY = b"k" * 16
PART = Part(KEY, HELD)
DIGESTS = tuple(piece_digest(CONTENT[start : min(start + PIECE, HELD)]) for start in (0, 16, 32))
PIECES = [Piece(0, KEY, 0, 16), Piece(1, KEY, 16, 16), Piece(2, KEY, 32, 8)]
EVERY_MESSAGE = [
    FIN,
    Confirm(FIN.size, FIN.digest),
    ConfirmAck(),
    Resumption(bytes(16)),
    OFFER,
    Totals(1, 100),
    Answer(Verdict.GO),
    Answer(Verdict.LOOKED),
    Answer(Verdict.DECLINED),
    HaveParts((PART,)),
    HaveEntries((OTHER_KEY,)),
    HaveEnd(),
    Start(Origin.HELD),
    Start(Origin.ANEW),
    Pieces(DIGESTS),
    Progress(1),
    Result(3, 2),
    HaveChecked((Checked(OTHER_KEY, KEY),)),
]


def at(seconds):
    return Instant(1000.0 + seconds)


def say(machine, *messages, now=0.0):
    return machine.handle_message_bytes(at(now), [b"".join(map(encode, messages))])


def said(decisions):
    reader, out = MessageReader(), []
    for decision in decisions:
        if isinstance(decision, Say):
            reader.feed(decision.data)
    while (message := reader.next_message()) is not None:
        out.append(message)
    return out


def broke(decisions):
    """Return what the other side did against the protocol, in words."""
    [failed] = decisions
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, PeerBrokeProtocol), failed.error
    return failed.error.detail


# -- the sender's end -----------------------------------------------------------------------


def sending(stage="offered", offer=OFFER, parts=(PART,), keys=(OTHER_KEY,)):
    machine = SendingTransfer(at(0), "the receiver", offer, PIECE)
    assert said(machine.begin()) == [offer]
    if stage == "offered":
        return machine
    assert say(machine, Answer(Verdict.GO)) == []
    if stage == "answered":
        return machine
    held = [HaveParts(parts)] if parts else []
    held += [HaveEntries(keys)] if keys else []
    assert say(machine, *held, HaveEnd()) == [Heard()]
    if stage == "heard":
        return machine
    machine.start(Origin.HELD)
    machine.handle_entry(KEY, len(CONTENT))
    if stage == "flowing":
        return machine
    machine.handle_data(at(1), [REST])
    machine.handle_data_ended()
    say(machine, Pieces(DIGESTS))
    for digest in DIGESTS:
        machine.handle_compared(digest)
    assert machine.state is State.FINISHED
    return machine


def test_a_sender_s_run_with_one_piece_that_differs():
    machine = sending("heard")

    assert machine.start(Origin.HELD) == [Say(encode(Start(Origin.HELD))), OpenRepairs()]
    assert machine.handle_entry(KEY, len(CONTENT)) == [SendFrom(HELD)]
    assert machine.handle_data(at(1), [REST]) == [Write([REST])]
    assert machine.handle_data_ended() == [EndData()]
    assert say(machine, Progress(len(REST)), Pieces((DIGESTS[0], bytes(16)))) == [
        Compare(PIECES[0])
    ]
    assert machine.stored == len(REST)
    assert machine.handle_compared(DIGESTS[0]) == [Compare(PIECES[1])]
    assert machine.handle_compared(DIGESTS[1]) == [ReadRepair(PIECES[1])]
    data = CONTENT[16:32]
    assert machine.handle_repair(data) == [WriteRepair((repair_header(1, data) + data,))]
    # Until it is written nothing comes behind it, whatever else is heard.
    assert say(machine, Pieces(DIGESTS[2:])) == []
    assert machine.handle_repaired() == [Compare(PIECES[2])]
    assert machine.handle_compared(DIGESTS[2]) == [EndRepairs(), Say(encode(FIN))]
    assert say(machine, Confirm(FIN.size, FIN.digest)) == [Say(encode(ConfirmAck())), Proved()]
    assert machine.handle_acknowledged() == [Over()]
    assert machine.repaired_count == 1


@pytest.mark.parametrize(
    ("parts", "keys", "asked", "origin", "first"),
    [
        ((), (), Origin.HELD, Origin.NOTHING_HELD, SendFrom(0)),
        ((PART,), (), Origin.CANNOT_SEEK, Origin.CANNOT_SEEK, SendFrom(0)),
        ((PART,), (KEY,), Origin.SOURCE_CHANGED, Origin.SOURCE_CHANGED, SendFrom(0)),
        ((), (KEY,), Origin.HELD, Origin.HELD, Skip()),
        ((), (OTHER_KEY,), Origin.HELD, Origin.HELD, SendFrom(0)),
        ((PART,), (KEY,), Origin.HELD, Origin.HELD, SendFrom(HELD)),
    ],
)
def test_where_a_sender_begins(parts, keys, asked, origin, first):
    machine = sending("heard", parts=parts, keys=keys)

    assert said(machine.start(asked)) == [Start(origin)]
    assert machine.handle_entry(KEY, len(CONTENT))[0] == first


def test_what_was_claimed_of_an_entry_that_is_gone_is_not_waited_for_but_heard():
    machine = sending("heard")
    machine.start(Origin.HELD)

    assert machine.handle_data_ended() == [EndData()]
    assert machine.state is State.FLOWING
    [repairs, fin] = say(machine, Pieces(DIGESTS))
    assert repairs == EndRepairs()
    assert said([fin]) == [Fin(0, xxh3_128(b"").digest())]


@pytest.mark.parametrize("reason", Reason)
def test_an_offer_that_is_declined_is_told_in_words(reason):
    [failed] = say(sending(), Answer(Verdict.DECLINED, reason, "so it is"))

    assert isinstance(failed.error, Declined)
    assert "so it is" in str(failed.error)


def test_an_offer_that_was_only_looked_at_is_no_success_and_no_failure():
    machine = sending()

    assert say(machine, Answer(Verdict.LOOKED)) == [Close(Ending.DONE, "it only looked"), Over()]
    assert machine.state is State.LOOKED
    assert not machine.has_succeeded


ALLOWED_TO_A_RECEIVER = {
    "offered": {6, 7, 8},
    "answered": {9, 10, 11, 17},
    "heard": set(),
    "flowing": {14},
    "finished": {1, 15, 16},
}


@pytest.mark.parametrize("number", range(len(EVERY_MESSAGE)))
@pytest.mark.parametrize("stage", ALLOWED_TO_A_RECEIVER)
def test_a_sender_hears_each_message_in_its_stage_alone(stage, number):
    machine = sending(stage)
    decisions = say(machine, EVERY_MESSAGE[number])

    if number in ALLOWED_TO_A_RECEIVER[stage]:
        fails = [each.error for each in decisions if isinstance(each, Fail)]
        assert not any(isinstance(error, PeerBrokeProtocol) for error in fails)
    else:
        broke(decisions)
        assert machine.state is State.FAILED
        assert say(machine, EVERY_MESSAGE[number]) == []


@pytest.mark.parametrize("stored", [0, len(REST) + 1, 1 << 60])
def test_progress_that_cannot_be_is_refused(stored):
    machine = sending("flowing")
    machine.handle_data(at(1), [REST])

    assert "never sent" in broke(say(machine, Progress(stored)))


def test_progress_never_falls():
    machine = sending("flowing")
    machine.handle_data(at(1), [REST])
    assert say(machine, Progress(10)) == []

    broke(say(machine, Progress(9)))


def test_more_pieces_than_are_held_are_refused():
    assert "more pieces" in broke(say(sending("flowing"), Pieces((*DIGESTS, DIGESTS[0]))))


def test_pieces_of_nothing_are_refused():
    machine = sending("flowing", parts=(), keys=(OTHER_KEY,))

    broke(say(machine, Pieces(DIGESTS)))


def test_more_of_a_file_than_there_is_is_refused():
    machine = sending("heard", parts=(Part(KEY, len(CONTENT) + 1),))
    machine.start(Origin.HELD)

    assert "more of an entry" in broke(machine.handle_entry(KEY, len(CONTENT)))


@pytest.mark.parametrize(
    "parts",
    [
        (PART, PART),
        (Part(KEY, 0),),
        (Part(KEY, PIECE * MAX_PIECES + 1),),
        (Part(KEY, PIECE * MAX_PIECES), Part(OTHER_KEY, 1)),
        (Part(KEY, (1 << 64) - 1),),
    ],
    ids=["twice", "empty", "too large", "too many pieces", "all ones"],
)
def test_parts_that_cannot_be_are_refused(parts):
    broke(say(sending("answered"), HaveParts(parts)))


def test_endless_finished_entries_are_refused_and_held_in_bounded_memory():
    machine = sending("answered")
    said_count, decisions = 0, []
    while not decisions:
        keys = tuple(
            number.to_bytes(16, "little")
            for number in range(said_count, said_count + MAX_KEYS_AT_ONCE)
        )
        decisions = say(machine, *[HaveEntries(keys)] * 16)
        said_count += 16 * MAX_KEYS_AT_ONCE
        assert said_count < 2 * MAX_HELD_ENTRIES
    broke(decisions)


def test_endless_parts_are_refused():
    machine = sending("answered")
    for number in range(MAX_PARTS + 1):
        decisions = say(machine, HaveParts((Part(number.to_bytes(16, "little"), 1),)))
        if decisions:
            break
    assert number == MAX_PARTS
    broke(decisions)


def test_a_confirmation_of_other_bytes_is_no_success():
    [failed] = say(sending("finished"), Confirm(FIN.size, bytes(16)))

    assert isinstance(failed.error, DigestMismatch)


@pytest.mark.parametrize("stage", ALLOWED_TO_A_RECEIVER)
@pytest.mark.parametrize(
    ("end", "error"),
    [
        (PeerSilent(60), TimedOut),
        (PeerClosed(Ending.DONE, ""), PeerLeft),
        (PeerClosed(Ending.OUTPUT_FAILED, "No space left on device"), PeerAborted),
        (PeerClosed(Ending.PROTOCOL_VIOLATION, "x"), WeBrokeProtocol),
    ],
    ids=["silent", "done", "failed", "violation"],
)
def test_every_end_of_the_link_is_a_failure_of_a_sender_that_names_its_cause(stage, end, error):
    [failed] = sending(stage).handle_link_ended(end)

    assert isinstance(failed.error, error)


@pytest.mark.parametrize("stage", ALLOWED_TO_A_RECEIVER)
def test_a_sender_begins_again_with_the_receiver_who_took_over(stage):
    machine = sending(stage)

    assert machine.handle_link_ended(ClosedHere(Ending.REPLACED)) == [Replaced()]
    assert machine.is_replaced


def test_totals_are_told_until_everything_is_sent():
    for stage in ("offered", "answered", "heard", "flowing"):
        assert said(sending(stage).handle_totals(Totals(2, 5))) == [Totals(2, 5)]
    assert sending("finished").handle_totals(Totals(2, 5)) == []


# -- the receiver's end ---------------------------------------------------------------------


def receiving(stage="awaiting", offer=OFFER, parts=(PART,), keys=(OTHER_KEY,), keeps=True):
    machine = ReceivingTransfer(at(0), "the sender", keeps, PIECE)
    if stage == "awaiting":
        return machine
    assert say(machine, offer) == [Offered(offer)]
    if stage == "offered":
        return machine
    machine.go(parts)
    machine.hold(keys)
    machine.end_held()
    if stage == "answered":
        return machine
    say(machine, Start(Origin.HELD if parts or keys else Origin.NOTHING_HELD))
    if stage == "flowing":
        return machine
    machine.handle_data(at(1), [REST])
    machine.handle_data_ended()
    machine.handle_pieces(DIGESTS)
    machine.handle_repairs_ended()
    if stage == "whole":
        assert say(machine, FIN) == [Flush()]
        return machine
    raise AssertionError(stage)


def test_what_was_not_made_is_told_before_the_confirmation():
    for stage in ("awaiting", "offered", "answered", "flowing"):
        assert receiving(stage).tell_result(3, 2) == []
    machine = receiving("whole")
    assert machine.tell_result(0, 0) == []

    assert said(machine.tell_result(3, 2)) == [Result(3, 2)]

    machine.handle_flushed(at(3))
    assert machine.tell_result(3, 2) == []
    sender = sending("finished")
    assert sender.result == Result(0, 0)
    assert say(sender, Result(3, 2)) == []
    assert sender.result == Result(3, 2)
    say(sender, Confirm(FIN.size, FIN.digest))
    assert sender.has_succeeded


def proved():
    machine = receiving("whole")
    machine.handle_flushed(at(3))
    return machine


def test_a_receiver_s_run_with_one_piece_that_comes_again():
    machine = receiving("offered")

    assert said(machine.go([PART])) == [Answer(Verdict.GO), HaveParts((PART,))]
    assert said(machine.hold([OTHER_KEY])) == [HaveEntries((OTHER_KEY,))]
    assert said(machine.end_held()) == [HaveEnd()]
    [_, begin, read] = say(machine, Totals(1, 100, is_final=True), Start(Origin.HELD))
    assert begin == Begin(Origin.HELD)
    assert isinstance(read, ReadPieces)
    assert list(read.pieces) == PIECES
    assert machine.handle_data(at(1), [REST]) == [Write([REST])]
    assert said(machine.handle_stored(at(1))) == [Progress(len(REST))]
    assert said(machine.handle_pieces(DIGESTS)) == [Pieces(DIGESTS)]
    piece = CONTENT[16:32]
    assert machine.handle_repair_data([repair_header(1, piece) + piece]) == [
        WritePiece(KEY, 16, piece)
    ]
    assert machine.handle_data_ended() == []
    assert say(machine, FIN) == []
    assert machine.handle_repairs_ended() == [Flush()]
    assert said(machine.handle_flushed(at(2))) == [Confirm(FIN.size, FIN.digest)]
    assert machine.repaired_count == 1
    assert say(machine, ConfirmAck()) == [Close(Ending.DONE, "done"), Over()]


def test_what_is_held_does_not_count_if_the_sender_begins_anew():
    machine = receiving("answered")

    assert say(machine, Start(Origin.SOURCE_CHANGED)) == [Begin(Origin.SOURCE_CHANGED)]
    assert machine.claims.count == 0
    assert machine.handle_data(at(1), [CONTENT]) == [Write([CONTENT])]
    assert machine.handle_pieces(DIGESTS) == []
    machine.handle_data_ended()
    assert say(machine, Fin(len(CONTENT), xxh3_128(CONTENT).digest())) == [Flush()]


def test_going_on_with_what_nobody_holds_is_refused():
    machine = receiving("answered", parts=(), keys=())

    assert "nothing is" in broke(say(machine, Start(Origin.HELD)))


def test_only_so_many_finished_entries_are_told():
    machine = receiving("offered")
    machine.go()
    machine._held_entries = MAX_HELD_ENTRIES - 300

    keys = [number.to_bytes(16, "little") for number in range(500)]
    told = said(machine.hold(keys))
    assert sum(len(message.keys) for message in told) == 300
    assert machine.hold(keys) == []
    assert said(machine.end_held()) == [HaveEnd()]


def test_finished_files_that_are_compared_count_among_them():
    machine = receiving("offered")
    machine.go()
    machine._held_entries = MAX_HELD_ENTRIES - 200

    files = [Checked(number.to_bytes(16, "little"), KEY) for number in range(300)]
    told = said(machine.hold_checked(files))
    assert [file for message in told for file in message.files] == files[:200]
    assert machine.hold([KEY]) == []


ALLOWED_TO_A_SENDER = {
    "awaiting": {4},
    "offered": {5},
    "answered": {5, 12, 13},
    "flowing": {0, 5},
    "whole": set(),
}


@pytest.mark.parametrize("number", range(len(EVERY_MESSAGE)))
@pytest.mark.parametrize("stage", ALLOWED_TO_A_SENDER)
def test_a_receiver_hears_each_message_in_its_stage_alone(stage, number):
    machine = receiving(stage)
    if stage == "flowing":
        machine.handle_pieces(DIGESTS)
    decisions = say(machine, EVERY_MESSAGE[number])

    if number in ALLOWED_TO_A_SENDER[stage]:
        assert not any(isinstance(each, Fail) for each in decisions)
    else:
        broke(decisions)
        assert machine.state is State.FAILED


@pytest.mark.parametrize("number", [n for n in range(len(EVERY_MESSAGE)) if n != 2])
def test_nonsense_after_the_proof_takes_no_success_away(number):
    machine = proved()

    assert isinstance(say(machine, EVERY_MESSAGE[number])[-1], Over)
    assert machine.has_succeeded
    assert machine.nonsense is not None


def test_more_bytes_than_were_offered_are_not_written():
    machine = receiving("flowing")

    assert "more bytes" in broke(machine.handle_data(at(1), [CONTENT]))


def test_fewer_bytes_than_were_offered_are_what_there_is():
    """A file may become shorter while it is read; its sender says so."""
    machine = receiving("flowing")
    machine.handle_pieces(DIGESTS)
    machine.handle_data(at(1), [REST[:10]])
    machine.handle_data_ended()
    machine.handle_repairs_ended()

    assert say(machine, Fin(10, xxh3_128(REST[:10]).digest())) == [Flush()]


@pytest.mark.parametrize(
    "later",
    [
        Totals(1, 20, 3, 4, True),
        Totals(2, 19, 3, 4, True),
        Totals(2, 20, 2, 4, True),
        Totals(2, 20, 3, 3, True),
        Totals(2, 20, 3, 4, False),
    ],
)
def test_totals_only_grow(later):
    machine = receiving("offered")
    counted = [Counted(), Counted()]
    assert say(machine, Totals(2, 20, 3, 4), Totals(2, 20, 3, 4, True)) == counted

    broke(say(machine, later))


def test_a_fin_before_everything_was_compared_is_refused():
    machine = receiving("flowing")
    machine.handle_pieces(DIGESTS[:2])

    assert "compared" in broke(say(machine, FIN))


def test_repairs_that_end_before_everything_was_compared_are_refused():
    machine = receiving("flowing")
    machine.handle_pieces(DIGESTS[:2])

    assert "compared" in broke(machine.handle_repairs_ended())


@pytest.mark.parametrize(
    "stream",
    [
        repair_header(3, b"x"),
        repair_header(2, bytes(9)),
        repair_header(0, b"") + repair_header(0, b""),
    ],
    ids=["not held", "too large", "again and again"],
)
def test_a_repair_that_may_not_come_is_refused(stream):
    machine = receiving("flowing")

    broke(machine.handle_repair_data([stream]))


def test_a_repair_of_other_bytes_is_a_mismatch():
    machine = receiving("flowing")

    [failed] = machine.handle_repair_data([repair_header(0, b"abc") + b"abd"])
    assert isinstance(failed.error, PieceMismatch)


def test_repairs_cut_within_a_piece_are_refused():
    machine = receiving("flowing")
    machine.handle_pieces(DIGESTS)
    machine.handle_repair_data([repair_header(0, b"abc") + b"ab"])

    broke(machine.handle_repairs_ended())


def test_nothing_is_confirmed_while_repairs_are_missing():
    machine = receiving("flowing")
    machine.handle_data(at(1), [REST])
    machine.handle_data_ended()
    machine.handle_pieces(DIGESTS)

    assert say(machine, FIN) == []
    assert machine.handle_flushed(at(2)) == []
    assert machine.handle_repairs_ended() == [Flush()]


def test_progress_is_told_ten_times_a_second_and_the_last_of_it_later():
    machine = receiving("flowing", parts=())
    told = []
    for number in range(50):
        machine.handle_data(at(number / 100), [bytes(1)])
        told += said(machine.handle_stored(at(number / 100)))
    assert len(told) == 5
    due = machine.next_timeout()
    assert at(0.49) < due < at(0.4 + PROGRESS_S + 0.02)
    machine.handle_data(at(0.495), [bytes(1)])  # it is not stored yet
    assert said(machine.handle_timeout(due)) == [Progress(50)]
    assert machine.next_timeout() is None


# -- what is not wanted ---------------------------------------------------------------------


def declined(now=0.0):
    machine, error = receiving("offered"), TargetExists("/here/name")
    answer = said(machine.decline(at(now), error))
    assert [(each.verdict, each.reason) for each in answer] == [(Verdict.DECLINED, Reason.EXISTS)]
    return machine, Fail(error)


@pytest.mark.parametrize("how", ["acknowledged", "link ended", "reset", "time"])
def test_a_receiver_that_declines_leaves_once_that_is_known(how):
    machine, failed = declined()
    assert machine.next_timeout() == at(CONFIRM_S)
    assert machine.handle_timeout(at(CONFIRM_S - 0.1)) == []
    assert say(machine, Totals(1, 5), OFFER) == []

    decisions = {
        "acknowledged": machine.handle_acknowledged,
        "link ended": lambda: machine.handle_link_ended(PeerClosed(Ending.FAILED, "x")),
        "reset": lambda: machine.handle_reset(at(1)),
        "time": lambda: machine.handle_timeout(at(CONFIRM_S)),
    }[how]()
    assert decisions == [failed]
    assert machine.next_timeout() is None
    assert machine.handle_link_ended(PeerSilent(60)) == []


def test_a_receiver_that_only_looks_writes_nothing_and_does_not_fail():
    machine = receiving("offered")

    assert said(machine.look(at(0))) == [Answer(Verdict.LOOKED)]
    assert machine.handle_acknowledged() == [Close(Ending.DONE, "it only looked"), Over()]
    assert machine.state is State.LOOKED
    assert not machine.has_succeeded


def test_nothing_is_answered_twice():
    machine = receiving("answered")
    assert machine.go() == machine.look(at(0)) == machine.decline(at(0), TargetExists("x")) == []
    machine, _ = declined()
    assert machine.go() == machine.hold([KEY]) == machine.end_held() == machine.look(at(0)) == []


# -- whose place it is ----------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["awaiting", "offered", "answered", "flowing"])
def test_a_receiver_that_keeps_what_came_serves_who_takes_over(stage):
    machine = receiving(stage)
    if stage == "flowing":
        assert not any(isinstance(each, KeepPlace) for each in machine.handle_data(at(1), [b"x"]))

    assert machine.handle_link_ended(ClosedHere(Ending.REPLACED)) == [Replaced()]


def test_a_receiver_whose_output_cannot_be_taken_back_keeps_its_place_from_the_first_byte():
    machine = receiving("flowing", parts=(), keys=(), keeps=False)

    assert machine.handle_data(at(1), [b"x"]) == [KeepPlace(), Write([b"x"])]
    [failed] = machine.handle_link_ended(ClosedHere(Ending.REPLACED))
    assert isinstance(failed.error, PeerLeft)


def test_what_is_whole_is_finished_whatever_becomes_of_the_link():
    machine = receiving("whole")

    assert machine.handle_link_ended(PeerSilent(60)) == []
    assert machine.handle_flushed(at(5))[0] == Proved()
    assert machine.has_succeeded
