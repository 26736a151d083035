"""The error tree of the programs: what happened, on which side, and what to do next.

`str(error)` is the sentence a person reads; `code` is the stable word of `--json`; `exit_code` is
the exit status of the process.  `derphole.cli.invocation` alone catches the whole tree.  Text of
the other side may stand in a sentence as it came: `derphole.cli.frame.output` escapes it.
"""

import datetime
from typing import ClassVar

from derphole import PROGRAM
from tunnel.proto.meeting.owner import VERSION

# Fixed by what shells expect: a process ended by signal n reports 128 + n.
SIGNAL_EXIT_BASE = 128

LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z, the last one a calendar can show


class DerpholeError(Exception):
    """The command failed.

    Args:
        sentence: what happened and what to do next.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class UsageError(DerpholeError):
    """The command was called in a way it does not understand.

    Args:
        sentence: what is wrong with the call.
        hint: a second line for people.
        shows_help: whether the help text of the command follows.
    """

    code = "usage"
    exit_code = 2

    def __init__(self, sentence: str, *, hint: str | None = None, shows_help: bool = True) -> None:
        super().__init__(sentence)
        self.hint = hint
        self.shows_help = shows_help


class ExpiryRefused(DerpholeError):
    """The wanted expiry is in the past or further away than this kind of token may live."""

    code = "expiry-refused"


class TokenError(DerpholeError):
    """The token cannot be used."""

    code = "token"


class TokenDamaged(TokenError):
    """The token's characters are not those the other side printed.

    Args:
        detail: what does not fit.
    """

    code = "token-damaged"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"the token is damaged ({detail}); copy it again from the other side, "
            "without leaving out or changing a character"
        )


class TokenCut(TokenDamaged):
    """The token's end is missing.

    Args:
        present: characters that are there.
        wanted: characters the token should have.
    """

    code = "token-cut"

    def __init__(self, present: int, wanted: int | None = None) -> None:
        whole = f"{present} of {wanted} characters" if wanted else f"only {present} characters"
        TokenError.__init__(
            self,
            f"the token is cut short ({whole}); copy it again from the other side, to its very end",
        )


class TokenForeign(TokenError):
    """The token was made by another program, or by another version of this one."""

    code = "token-foreign"

    def __init__(self, maker: str, next_step: str) -> None:
        super().__init__(f"this token was made by {maker}; {next_step}")


class TokenExpired(TokenError):
    """The token's time is over; shows both clocks, since a wrong clock looks the same.

    Args:
        expires_at: Unix seconds, None when unknown.
        our_clock: Unix seconds on this machine.
        issuer_clock: Unix seconds on the issuer, when the issuer told.
    """

    code = "token-expired"

    def __init__(
        self, expires_at: float | None, our_clock: float, issuer_clock: float | None = None
    ) -> None:
        clocks = [f"this machine's clock says {utc_text(our_clock)}"]
        if issuer_clock is not None:
            clocks.append(f"the issuer's {utc_text(issuer_clock)}")
        when = "" if expires_at is None else f" at {utc_text(expires_at)}"
        super().__init__(
            f"the token expired{when} ({', '.join(clocks)}); "
            "ask the other side for a new token, or set the clock that is wrong"
        )


class TokenWrongRole(TokenError):
    """A session, server or client token was given where another kind belongs.

    Args:
        given: the kind that was given, such as "a server token".
        wanted: the kind the command takes.
        next_step: what the person can do.
    """

    code = "token-wrong-role"

    def __init__(self, given: str, wanted: str, next_step: str) -> None:
        super().__init__(f"this is {given}, but the command takes {wanted}; {next_step}")


class TokenWrongCapability(TokenError):
    """The token is good, but for another command.

    Args:
        made_by: the command that made it.
        used_by: the command that uses such a token.
    """

    code = "token-wrong-capability"

    def __init__(self, made_by: str, used_by: str) -> None:
        super().__init__(
            f"this token comes from `{made_by}` and allows that alone; use it with `{used_by}`"
        )


class TokenUnclaimed(TokenError):
    """Nobody used the token in its time."""

    code = "token-unclaimed"

    def __init__(self) -> None:
        super().__init__("token expired unclaimed; run the command again for a new token")


class ClaimRefused(DerpholeError):
    """The issuer answered and said no.

    Args:
        reason: the issuer's reason, in words.
    """

    code = "claim-refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the other side refused: {reason}; ask there for a new token")
        self.reason = reason


class OtherReason(ClaimRefused):
    """The issuer refused for a reason that this version does not know.

    Args:
        verdict: the reason, as a number.
        program: what the issuer's program is called, empty when it does not say.
    """

    def __init__(self, verdict: int, program: str) -> None:
        reason = f"reason {verdict}, unknown to this version"
        DerpholeError.__init__(
            self,
            f"the other side refused: {reason} (this one is {PROGRAM}, the other one "
            f"{program or 'does not say'}); see the messages there, or update the older one",
        )
        self.reason = reason


class NotAwaited(ClaimRefused):
    """We come back to one who does not wait for us any more."""

    code = "not-awaited"

    def __init__(self) -> None:
        super().__init__("it does not wait for this process any more")


class OtherVersion(DerpholeError):
    """The other side speaks a version that this program does not, or says what it cannot read.

    Args:
        version: of the protocol, as the other side speaks it.
        program: what its program is called, empty when it does not say.
    """

    code = "other-version"

    def __init__(self, version: int, program: str) -> None:
        super().__init__(
            "the two sides do not understand each other: this one is "
            f"{PROGRAM} (protocol {VERSION}), the other one {program or 'a program'} "
            f"(protocol {version}); update the older one, then start both again"
        )
        self.version = version


class FeatureMissing(DerpholeError):
    """One side needs what the other does not have.

    Args:
        is_here: whether it is this side that does not have it.
        program: what the other side's program is called, empty when it does not say.
    """

    code = "feature-missing"

    def __init__(self, is_here: bool, program: str) -> None:
        other = program or "a program that does not tell its version"
        needs, lacks = ("the other one", "this one") if is_here else ("this one", "the other one")
        super().__init__(
            f"this side is {PROGRAM}, the other one {other}: {needs} needs something that "
            f"{lacks} does not have; update {lacks}, then start both again"
        )


class AlreadyInUse(ClaimRefused):
    """Another claimer holds the token's place."""

    code = "already-in-use"

    def __init__(self) -> None:
        DerpholeError.__init__(
            self,
            "already in use: somebody else uses this token now; "
            "ask the other side for a new token, or wait until that one is done",
        )
        self.reason = "already in use"


class PeerLeft(DerpholeError):
    """The other side is gone without a word.

    Args:
        detail: what was last known.
    """

    code = "peer-disconnected"

    def __init__(self, detail: str | None = None) -> None:
        known = f" ({detail})" if detail else ""
        super().__init__(
            f"peer disconnected{known}; check that the other side still runs, then start both again"
        )


class PeerAborted(DerpholeError):
    """The other side ended the work early and said so.

    Args:
        reason: its reason, in words.
    """

    code = "peer-aborted"

    def __init__(self, reason: str | None = None) -> None:
        said = f": {reason}" if reason else ""
        super().__init__(f"peer aborted transfer{said}; see the messages on the other side")
        self.reason = reason


class PeerBrokeProtocol(DerpholeError):
    """The other side said what it may not say, so that nothing it says counts any more.

    Args:
        detail: what it said and when, in words that fit both sides.
    """

    code = "protocol"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"the other side broke the protocol ({detail}); this side has ended the run: "
            "run the same version of this program on both sides"
        )
        self.detail = detail


class WeBrokeProtocol(DerpholeError):
    """The other side ended the run, since by its account we said what may not be said.

    Args:
        detail: what that was, in its words.
    """

    code = "protocol"

    def __init__(self, detail: str | None = None) -> None:
        said = f" ({detail})" if detail else ""
        super().__init__(
            f"the other side has ended the run, since this side broke the protocol{said}; "
            "run the same version of this program on both sides"
        )
        self.detail = detail


class TimedOut(DerpholeError):
    """Something awaited did not come.

    Args:
        what: what was awaited, as in "waiting for ...".
        after_s: how long it was awaited, in seconds.
        next_step: what the person can do.
    """

    code = "timed-out"

    def __init__(
        self,
        what: str,
        after_s: float,
        next_step: str = "check that the other side runs and reaches the network",
    ) -> None:
        after = f"{after_s:.0f}" if after_s >= 1 else f"{after_s:.1g}"
        super().__init__(f"timed out after {after} s waiting for {what}; {next_step}")
        self.what = what
        self.after_s = after_s


class TransferError(DerpholeError):
    """The bytes did not arrive as they were sent."""

    code = "transfer"


class DigestMismatch(TransferError):
    """The received bytes are not the bytes that were sent."""

    code = "digest-mismatch"

    def __init__(self, sent: str, received: str) -> None:
        super().__init__(
            f"the digest of the received bytes ({received}) is not the one of the sent bytes "
            f"({sent}); do not use what arrived, and run both commands again"
        )


class SizeMismatch(TransferError):
    """More or fewer bytes were received than were sent."""

    code = "size-mismatch"

    def __init__(self, sent: int, received: int) -> None:
        super().__init__(
            f"{received} bytes were received of {sent} sent; do not use what arrived, "
            "and run both commands again"
        )


class SinkClosed(DerpholeError):
    """Whoever read our standard output stopped reading.

    Args:
        written: bytes it had taken.
    """

    code = "output-closed"

    def __init__(self, written: int) -> None:
        super().__init__(f"standard output was closed after {written} bytes")
        self.written = written


class ReceiverOutputClosed(DerpholeError):
    """Whoever read the receiver's standard output stopped reading."""

    code = "receiver-output-closed"

    def __init__(self) -> None:
        super().__init__("the receiver's output was closed")


class SinkFailed(DerpholeError):
    """What we write to failed.

    Args:
        target: what was written to, such as "standard output".
        reason: the system's words, such as "No space left on device".
        written: bytes written before.
    """

    code = "output-failed"

    def __init__(self, target: str, reason: str, written: int | None = None) -> None:
        after = "" if written is None else f" after {written} bytes"
        super().__init__(
            f"writing to {target} failed{after}: {reason}; what was written is incomplete"
        )
        self.reason = reason


class SourceFailed(DerpholeError):
    """What we read from failed.

    Args:
        source: what was read, such as "standard input".
        reason: the system's words.
    """

    code = "input-failed"

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(
            f"reading from {source} failed: {reason}; the other side was told that the data "
            "is incomplete"
        )
        self.reason = reason


class RelayTrouble(DerpholeError):
    """No relay could be used.

    Args:
        detail: which relay, and what it did.
        next_step: what the person can do.
    """

    code = "relay"

    def __init__(
        self,
        detail: str,
        next_step: str = "check the network, the proxy variables, --relay and --derp-map",
    ) -> None:
        super().__init__(f"no relay could be used: {detail}; {next_step}")
        self.detail = detail


class RelayRefusal(RelayTrouble):
    """Every relay answers what does not pass by itself.

    Args:
        detail: which relay, and what it answered.
        after_s: how long that lasted, in seconds.
    """

    code = "relay-refused"

    def __init__(self, detail: str, after_s: float) -> None:
        super().__init__(
            detail,
            f"that does not pass by itself, and was given up after {after_s:.0f} s "
            "(--timeout 0 tries for ever)",
        )


class InternalError(DerpholeError):
    """The program met a case it has no sentence for: a bug.

    Args:
        kind: the name of the unexpected exception.
        detail: its text.
    """

    code = "internal"

    def __init__(self, kind: str, detail: str) -> None:
        said = f" ({detail})" if detail else ""
        super().__init__(
            f"unexpected {kind}{said}: this is a bug in the program; run the command again with "
            "DERPHOLE_DEBUG=1 and report what it prints together with the output of `version`"
        )


class Interrupted(BaseException):
    """A signal ended the command; not an `Exception`, so that no cleanup code swallows it.

    Args:
        signum: the signal's number.
        name: the signal's name, such as "SIGINT".
    """

    code: ClassVar[str] = "interrupted"

    def __init__(self, signum: int, name: str | None = None) -> None:
        self.signum = signum
        self.sentence = f"interrupted by {name or f'signal {signum}'}"
        super().__init__(self.sentence)

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number."""
        return SIGNAL_EXIT_BASE + self.signum


def utc_text(unix_s: float) -> str:
    """Render Unix seconds as RFC 3339 in UTC, whole seconds."""
    whole = int(min(max(unix_s, 0), LAST_SECOND))  # a clock of the other side may say anything
    moment = datetime.datetime.fromtimestamp(whole, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
