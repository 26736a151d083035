"""What a person reads when a link ends or a claim is refused."""

import pytest

from derphole import PROGRAM
from derphole.errors import (
    AlreadyInUse,
    ClaimRefused,
    DeclinedHere,
    FeatureMissing,
    KindRefused,
    NotAwaited,
    OtherReason,
    OtherVersion,
    PeerAborted,
    PeerLeft,
    PieceMismatch,
    ReceiverOutputClosed,
    SpaceShort,
    TargetExists,
    TargetUnwritable,
    TimedOut,
    TokenExpired,
    TokenWrongCapability,
)
from derphole.speech.endings import (
    Ending,
    answer_of,
    declined_error,
    ending_error,
    ending_of,
    program_text,
    refusal_error,
)
from derphole.speech.transfer_messages import MAX_ANSWER_TEXT, Answer, Reason, Verdict
from derphole.token.admission import Refusal
from derphole.token.grant import Capability, Grant
from tunnel.errors import ClosedHere, PeerClosed, PeerSilent
from tunnel.proto.link.peer_link import PROTOCOL_VIOLATION
from tunnel.proto.meeting import places
from tunnel.proto.meeting.owner import Refused
from tunnel.units import WallTime

GRANT = Grant(bytes(8), 1_800_000_000, Capability.LISTEN)


def test_the_library_s_codes_are_the_same_here():
    assert Ending.PROTOCOL_VIOLATION == PROTOCOL_VIOLATION
    assert Ending.IN_USE == places.IN_USE
    assert Ending.REPLACED == places.REPLACED
    assert min(Ending.DONE, Ending.FAILED) >= 16


@pytest.mark.parametrize(
    ("end", "error", "words"),
    [
        (PeerSilent(60.2), TimedOut, "60 s waiting for the confirmation"),
        (ClosedHere(16), PeerLeft, "the other side disconnected"),
        (PeerClosed(Ending.IN_USE, "x"), AlreadyInUse, "already in use"),
        (PeerClosed(Ending.OUTPUT_CLOSED, "x"), ReceiverOutputClosed, "receiver's output was closed"),
        (PeerClosed(Ending.REPLACED, "x"), PeerAborted, "another process took over"),
        (PeerClosed(Ending.DONE, ""), PeerLeft, "before confirming everything"),
        (PeerClosed(Ending.FAILED, "it fell over"), PeerAborted, "it fell over"),
        (PeerClosed(9999, ""), PeerAborted, "the other side stopped"),
    ],
)  # fmt: skip
def test_every_end_of_a_link_has_a_sentence(end, error, words):
    raised = ending_error(end, "the confirmation")

    assert type(raised) is error
    assert words in str(raised)


@pytest.mark.parametrize(
    ("verdict", "error", "words"),
    [
        (Refusal.EXPIRED, TokenExpired, "the issuer's 2027-01-15"),
        (Refusal.WRONG_CAPABILITY, TokenWrongCapability, "listen"),
        (Refusal.USED_UP, ClaimRefused, "used already"),
        (Refusal.LEAVING, ClaimRefused, "about to end"),
        (Refusal.REVOKED, ClaimRefused, "revoked"),
        (Refusal.NOT_AWAITED, NotAwaited, "no longer waits for this process"),
        (Refusal.CLAIMER_LACKS, FeatureMissing, "update the program on this side"),
        (
            Refusal.CLAIMER_LACKS,
            FeatureMissing,
            f"this side runs {PROGRAM}, the other side other 2.0",
        ),
        (Refusal.ISSUER_LACKS, FeatureMissing, "update the program on the other side"),
        (200, OtherReason, "reason 200"),
        (200, OtherReason, f"this side runs {PROGRAM}, the other side other 2.0"),
    ],
)
def test_every_refusal_has_a_sentence(verdict, error, words):
    raised = refusal_error(
        Refused(verdict, 1_800_000_020, b"other 2.0"), GRANT, WallTime(1_800_000_010)
    )

    assert type(raised) is error
    assert words in str(raised)


def test_no_two_refusals_read_the_same():
    errors = [refusal_error(Refused(v, 0), GRANT, WallTime(0)) for v in (*Refusal, 77, 78)]

    assert len({str(error) for error in errors}) == len(errors)


@pytest.mark.parametrize(
    ("after_s", "text"), [(0.5, "0.5 s"), (0.04, "0.04 s"), (1.2, "1 s"), (125.0, "125 s")]
)
def test_a_time_out_tells_how_long_it_waited_even_below_a_second(after_s, text):
    assert str(TimedOut("a relay", after_s)).startswith(f"timed out after {text} waiting")


def test_another_version_is_told_with_both_and_the_next_step():
    told = str(OtherVersion(2, "derphole 0.9.0"))

    assert (
        f"this side runs {PROGRAM} (protocol 1), the other side derphole 0.9.0 (protocol 2)" in told
    )
    assert "update the older one" in told
    assert "an unnamed program (protocol 2)" in str(OtherVersion(2, ""))
    assert OtherVersion.code == "other-version"


def test_what_a_program_calls_itself_may_be_any_bytes():
    assert program_text(b"derphole 0.9.0") == "derphole 0.9.0"
    assert len(program_text(b"\xff\x1b[2J")) == 5


@pytest.mark.parametrize(
    ("error", "reason", "words", "step"),
    [
        (DeclinedHere(), Reason.BY_PERSON, "declined", "start both again"),
        (TargetExists("/here/x"), Reason.EXISTS, "of that name", "--rename"),
        (SpaceShort("/here", 1, 2), Reason.NO_SPACE, "not enough space", "free some space"),
        (TargetUnwritable("/here", "Read-only"), Reason.CANNOT_WRITE, "(Read-only)", "place"),
        (KindRefused("a folder", "/here"), Reason.KIND, "cannot be put", "folder there"),
    ],
)
def test_what_is_not_taken_is_told_with_what_to_do_and_without_our_paths(
    error, reason, words, step
):
    answer = answer_of(error)
    told = str(declined_error(answer))

    assert (answer.verdict, answer.reason) == (Verdict.DECLINED, reason)
    assert words in told
    assert step in told
    assert ending_of(error) == (
        Ending.FAILED,
        f"it did not take what was offered: {answer.text}",
    )
    assert "/here" not in told
    assert len(answer.text.encode()) < MAX_ANSWER_TEXT


def test_who_declines_without_a_word_is_told_of_all_the_same():
    assert "does not say why" in str(declined_error(Answer(Verdict.DECLINED)))


def test_a_piece_that_does_not_match_is_a_mismatch_to_the_other_side():
    assert ending_of(PieceMismatch())[0] is Ending.MISMATCH
