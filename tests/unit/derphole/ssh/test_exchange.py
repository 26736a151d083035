"""Both ends of a key that is handed over, decision by decision, and with a peer that says anything."""

import pytest
from support.ssh_keys import ed25519_line

from derphole.errors import PeerAborted, PeerBrokeProtocol, PeerLeft, TimedOut, WeBrokeProtocol
from derphole.speech.access_messages import LETS_IN, Access, AccessKey, AccessVerdict
from derphole.speech.decisions import Close, Fail, KeepPlace, KeyOffered, Over, Replaced, Say
from derphole.speech.endings import Ending
from derphole.speech.messages import (
    Confirm,
    ConfirmAck,
    Fin,
    MessageReader,
    Resumption,
    Total,
    encode,
)
from derphole.speech.stream_proof import CONFIRM_S, HEAR_WHY_S
from derphole.speech.stream_states import State
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
    Result,
    Start,
    Totals,
    Verdict,
)
from derphole.ssh.exchange import KEY_S, GivingKey, TakingKey
from tunnel.errors import ClosedHere, PeerClosed, PeerSilent
from tunnel.units import Instant

LINE = ed25519_line(1)
STORED = Access(AccessVerdict.STORED, "", "me", 22, ("host",), ("key",))
DECLINED = Access(AccessVerdict.DECLINED, "it was declined there")
SIXTEEN = b"k" * 16
EVERY_MESSAGE = [
    AccessKey(LINE),
    STORED,
    Fin(1, SIXTEEN),
    Confirm(1, SIXTEEN),
    ConfirmAck(),
    Resumption(SIXTEEN),
    Total(1),
    Offer(Kind.FILE, SIXTEEN, b"name", 1, 1, 0o644, 5),
    Totals(1, 100),
    Answer(Verdict.GO),
    HaveParts((Part(SIXTEEN, 1),)),
    HaveEntries((SIXTEEN,)),
    HaveChecked((Checked(SIXTEEN, SIXTEEN),)),
    HaveEnd(),
    Start(Origin.HELD),
    Pieces((SIXTEEN,)),
    Progress(1),
    Result(3, 2),
]
LEFT = [Close(Ending.DONE, "done"), Over()]


def at(seconds: float) -> Instant:
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


def giving(stage="offered"):
    machine = GivingKey(at(0), "an answer", LINE)
    assert said(machine.begin()) == [AccessKey(LINE)]
    if stage == "given up":
        machine.handle_reset(at(0))
    elif stage == "over":
        say(machine, STORED)
    return machine


def taking(stage="awaiting"):
    machine = TakingKey(at(0), "the other side's key")
    if stage == "awaiting":
        return machine
    assert say(machine, AccessKey(LINE)) == [KeyOffered(LINE)]
    if stage == "given up":
        machine.handle_reset(at(0))
    if stage in ("offered", "given up"):
        return machine
    assert machine.keep_place() == [KeepPlace()]
    if stage == "keeping":
        return machine
    assert said(machine.answer(at(0), STORED)) == [STORED]
    if stage == "over":
        machine.handle_acknowledged()
    return machine


# -- who wants to be let in ---------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(EVERY_MESSAGE)))
def test_who_gives_a_key_hears_the_answer_alone(number):
    machine = giving()

    decisions = say(machine, EVERY_MESSAGE[number])

    if EVERY_MESSAGE[number] is STORED:
        assert decisions == LEFT
        assert machine.access == STORED
        assert machine.has_succeeded
    else:
        assert "in answer to KEY" in broke(decisions)
        assert machine.state is State.FAILED
        assert machine.access is None
        assert say(machine, STORED) == []


@pytest.mark.parametrize("verdict", AccessVerdict)
def test_every_answer_ends_the_run_and_is_kept(verdict):
    machine = giving()

    assert say(machine, Access(verdict, "why")) == LEFT
    assert machine.access == Access(verdict, "why")


def test_what_comes_behind_an_answer_is_not_read():
    machine = giving()

    assert say(machine, DECLINED, STORED, Fin(1, SIXTEEN)) == LEFT
    assert machine.handle_message_bytes(at(1), [b"\xff" * 99]) == []
    assert machine.access == DECLINED


def test_an_answer_may_come_byte_by_byte():
    machine = giving()
    data = encode(STORED)

    for byte in data[:-1]:
        assert machine.handle_message_bytes(at(0), [bytes([byte])]) == []
    assert machine.handle_message_bytes(at(0), [data[-1:]]) == LEFT


@pytest.mark.parametrize("data", [b"\x20\xff\xff", b"\x21\x01\x00\x01", b"\x20\x02\x00\xff\xff"])
def test_bytes_that_are_no_message_end_the_run_of_both(data):
    for machine in (giving(), taking()):
        broke(machine.handle_message_bytes(at(0), [data]))
    keeping = taking("keeping")
    assert keeping.handle_message_bytes(at(0), [data]) == []
    assert keeping.nonsense is not None


def test_messages_that_end_before_the_answer_end_the_run():
    assert "in answer to KEY" in broke(giving().handle_messages_ended())
    assert giving("over").handle_messages_ended() == []


ENDS = pytest.mark.parametrize(
    ("end", "error"),
    [
        (PeerSilent(60), TimedOut),
        (PeerClosed(Ending.DONE, ""), PeerLeft),
        (PeerClosed(Ending.FAILED, "it failed"), PeerAborted),
        (PeerClosed(Ending.REPLACED, ""), PeerAborted),
        (PeerClosed(Ending.PROTOCOL_VIOLATION, "x"), WeBrokeProtocol),
        (ClosedHere(Ending.PROTOCOL_VIOLATION), PeerBrokeProtocol),
        (ClosedHere(Ending.INTERRUPTED), PeerLeft),
    ],
    ids=["silent", "done", "failed", "replaced", "violation", "packets", "here"],
)


@ENDS
@pytest.mark.parametrize("stage", ["offered", "given up"])
def test_every_end_of_the_link_is_a_failure_of_who_gives_that_names_its_cause(stage, end, error):
    machine = giving(stage)

    [failed] = machine.handle_link_ended(end)

    assert isinstance(failed.error, error)
    assert failed.error.__cause__ is end
    assert machine.handle_link_ended(end) == []
    assert not machine.is_replaced


def test_an_answer_stands_whatever_becomes_of_the_link():
    machine = giving("over")

    assert machine.handle_link_ended(PeerSilent(60)) == []
    assert machine.handle_reset(at(1)) == []
    assert machine.handle_timeout(at(99)) == []
    assert machine.access == STORED
    assert machine.next_timeout() is None


@pytest.mark.parametrize("make", [giving, taking], ids=["giving", "taking"])
def test_a_stream_that_is_given_up_has_a_moment_to_say_why(make):
    machine = make("offered")

    assert machine.handle_reset(at(5)) == []
    assert machine.state is State.GIVEN_UP
    assert machine.next_timeout() == at(5 + HEAR_WHY_S)
    assert machine.handle_timeout(at(5 + HEAR_WHY_S - 0.1)) == []
    assert machine.handle_reset(at(5.1)) == []
    assert say(machine, STORED, AccessKey(LINE)) == []
    [failed] = machine.handle_timeout(at(5 + HEAR_WHY_S))
    assert isinstance(failed.error, PeerAborted)


# -- who lets in --------------------------------------------------------------------------------


def test_a_run_of_who_lets_in():
    machine = taking()

    assert say(machine, AccessKey(LINE)) == [KeyOffered(LINE)]
    assert machine.next_timeout() is None  # a person may think for as long as it takes
    assert machine.keep_place() == [KeepPlace()]
    assert not machine.lets_in
    [answer] = machine.answer(at(2), STORED)
    assert said([answer]) == [STORED]
    assert machine.lets_in
    assert machine.handle_acknowledged() == LEFT
    assert machine.is_acknowledged
    assert machine.has_succeeded


ALLOWED = {"awaiting": {0}, "offered": set()}


@pytest.mark.parametrize("number", range(len(EVERY_MESSAGE)))
@pytest.mark.parametrize("stage", ALLOWED)
def test_who_takes_a_key_hears_each_message_in_its_stage_alone(stage, number):
    machine = taking(stage)

    decisions = say(machine, EVERY_MESSAGE[number])

    if number in ALLOWED[stage]:
        assert decisions == [KeyOffered(LINE)]
        return
    assert ("while KEY was awaited" if stage == "awaiting" else "after KEY") in broke(decisions)
    assert machine.keep_place() == []
    assert machine.answer(at(1), STORED) == []
    assert machine.access is None


def test_a_second_key_is_never_offered():
    machine = taking()

    [offered, failed] = say(machine, AccessKey(LINE), AccessKey(ed25519_line(2)))

    assert offered == KeyOffered(LINE)
    assert "KEY was sent after KEY" in broke([failed])


@pytest.mark.parametrize("number", range(len(EVERY_MESSAGE)))
@pytest.mark.parametrize("stage", ["leaving", "over"])
def test_behind_the_answer_nothing_is_read(stage, number):
    machine = taking(stage)

    assert say(machine, EVERY_MESSAGE[number]) == []
    assert machine.handle_messages_ended() == []
    assert machine.lets_in


@pytest.mark.parametrize("verdict", AccessVerdict)
def test_only_a_key_that_is_kept_lets_in(verdict):
    machine = taking("offered")
    machine.answer(at(0), Access(verdict))

    assert machine.lets_in == (verdict in LETS_IN)
    assert machine.lets_in == (verdict in (AccessVerdict.STORED, AccessVerdict.PRESENT))


@ENDS
@pytest.mark.parametrize("stage", ["awaiting", "offered", "given up"])
def test_every_end_of_the_link_is_a_failure_of_who_takes_that_names_its_cause(stage, end, error):
    machine = taking(stage)

    decisions = machine.handle_link_ended(end)

    if end.args == PeerClosed(Ending.REPLACED, "").args:
        assert decisions == [Replaced()]
        assert machine.is_replaced
        return
    [failed] = decisions
    assert isinstance(failed.error, error)
    assert machine.answer(at(1), STORED) == []


@pytest.mark.parametrize("stage", ["awaiting", "offered"])
def test_who_took_over_is_served_as_long_as_nothing_was_kept(stage):
    machine = taking(stage)

    assert machine.handle_link_ended(ClosedHere(Ending.REPLACED)) == [Replaced()]
    assert machine.is_replaced
    assert machine.answer(at(1), STORED) == machine.keep_place() == []
    assert machine.handle_timeout(at(99)) == machine.handle_acknowledged() == []


@pytest.mark.parametrize("stage", ["awaiting", "offered"])
def test_messages_that_end_before_the_answer_end_the_run_of_who_takes(stage):
    broke(taking(stage).handle_messages_ended())


@pytest.mark.parametrize(
    "happen",
    [
        lambda machine: machine.handle_link_ended(PeerClosed(Ending.INTERRUPTED, "")),
        lambda machine: machine.handle_link_ended(PeerClosed(Ending.DONE, "")),
        lambda machine: machine.handle_link_ended(PeerSilent(60)),
        lambda machine: machine.handle_link_ended(ClosedHere(Ending.REPLACED)),
        lambda machine: machine.handle_reset(at(1)),
        lambda machine: machine.handle_messages_ended(),
        lambda machine: say(machine, AccessKey(LINE)),
        lambda machine: say(machine, Fin(1, SIXTEEN), STORED),
    ],
    ids=["closed", "done", "silent", "here", "reset", "ended", "key", "fin"],
)
def test_while_a_key_is_kept_nothing_ends_the_run_before_somebody_is_told(happen):
    machine = taking("keeping")

    assert happen(machine) == []
    assert machine.next_timeout() is None
    assert say(machine, AccessKey(LINE)) == []
    assert not machine.is_replaced

    [close, over] = machine.answer(at(2), STORED)
    code = Ending.DONE if machine.nonsense is None else Ending.PROTOCOL_VIOLATION
    assert (close.code, over) == (code, Over())
    assert machine.lets_in
    assert machine.has_succeeded
    assert not machine.is_acknowledged


@pytest.mark.parametrize("how", ["acknowledged", "closed", "silent", "reset", "time"])
def test_who_let_in_leaves_once_that_is_known_or_cannot_be(how):
    machine = taking("leaving")
    assert machine.next_timeout() == at(CONFIRM_S)
    assert machine.handle_timeout(at(CONFIRM_S - 0.1)) == []

    decisions = {
        "acknowledged": machine.handle_acknowledged,
        "closed": lambda: machine.handle_link_ended(PeerClosed(Ending.DONE, "done")),
        "silent": lambda: machine.handle_link_ended(PeerSilent(60)),
        "reset": lambda: machine.handle_reset(at(1)),
        "time": lambda: machine.handle_timeout(at(CONFIRM_S)),
    }[how]()

    assert decisions == LEFT
    assert machine.is_acknowledged == (how in ("acknowledged", "closed"))
    assert machine.lets_in
    assert machine.next_timeout() is None
    assert machine.handle_acknowledged() == machine.handle_link_ended(PeerSilent(1)) == []
    assert machine.handle_reset(at(3)) == machine.handle_timeout(at(99)) == []


@pytest.mark.parametrize("code", [Ending.FAILED, Ending.REPLACED, Ending.INTERRUPTED])
def test_another_end_of_the_link_does_not_say_that_the_answer_arrived(code):
    machine = taking("leaving")

    assert machine.handle_link_ended(PeerClosed(code, "")) == LEFT
    assert not machine.is_acknowledged


def test_nothing_is_answered_before_a_key_came_and_nothing_twice():
    machine = taking("awaiting")
    assert machine.answer(at(0), STORED) == machine.keep_place() == []
    assert machine.handle_acknowledged() == []
    machine = taking("leaving")
    assert machine.answer(at(1), DECLINED) == machine.keep_place() == []
    assert machine.access == STORED


# -- both, with each other ----------------------------------------------------------------------


@pytest.mark.parametrize("access", [STORED, DECLINED])
def test_both_ends_understand_each_other(access):
    giver, taker = GivingKey(at(0), "an answer", LINE), taking()

    [offer] = giver.begin()
    assert taker.handle_message_bytes(at(1), [offer.data]) == [KeyOffered(LINE)]
    [answer] = taker.answer(at(2), access)
    [close, _] = giver.handle_message_bytes(at(3), [answer.data])
    assert taker.handle_link_ended(PeerClosed(close.code, close.text)) == LEFT

    assert giver.access == taker.access == access
    assert taker.is_acknowledged


def test_whoever_sends_no_key_keeps_nobody_else_out():
    machine = taking()
    due = machine.next_timeout()
    assert due is not None
    assert machine.handle_timeout(Instant(due - 0.01)) == []

    decisions = machine.handle_timeout(due)

    assert due == at(0) + KEY_S
    assert decisions == [Close(Ending.TIMED_OUT, "no key came"), Replaced()]
    assert machine.is_replaced
    assert not machine.key_came


def test_a_person_has_all_the_time_to_decide_about_a_key():
    machine = taking("offered")

    assert machine.key_came
    assert machine.next_timeout() is None
