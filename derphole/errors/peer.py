"""What the other side did: it refused, left, stopped, broke the protocol, or never came."""

from derphole import PROGRAM
from derphole.errors.base import DerpholeError
from derphole.errors.tokens import utc_text
from tunnel.proto.meeting.owner import VERSION
from tunnel.units import Seconds


class ClaimRefused(DerpholeError):
    """The issuer answered and said no.

    Args:
        reason: the issuer's reason, in words.
    """

    code = "claim-refused"
    says = "the other side refused: {reason}"
    next_step = "ask there for a new token"

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)
        self.reason = reason


class OtherReason(ClaimRefused):
    """The issuer refused for a reason that this version does not know.

    Args:
        verdict: the reason, as a number.
        program: what the issuer's program is called, empty when it does not say.
    """

    says = (
        "the other side refused for reason {verdict}, which this version does not know (this side "
        "runs {our_program}, the other side {program})"
    )
    next_step = "see its messages, or update the older of the two programs"

    def __init__(self, verdict: int, program: str) -> None:
        named = program or "does not say what it runs"
        DerpholeError.__init__(self, verdict=verdict, program=named, our_program=PROGRAM)
        self.reason = f"reason {verdict}"


class NotAwaited(ClaimRefused):
    """We come back to one who does not wait for us any more."""

    code = "not-awaited"
    says = "the other side refused: it no longer waits for this process"

    def __init__(self) -> None:
        DerpholeError.__init__(self)
        self.reason = "it no longer waits for this process"


class AlreadyInUse(ClaimRefused):
    """Another claimer holds the token's place."""

    code = "already-in-use"
    says = "already in use: somebody else uses this token now"
    next_step = "ask the other side for a new token, or wait until that one is done"

    def __init__(self) -> None:
        DerpholeError.__init__(self)
        self.reason = "already in use"


class OtherVersion(DerpholeError):
    """The other side speaks a version that this program does not, or says what it cannot read.

    Args:
        version: of the protocol, as the other side speaks it.
        program: what its program is called, empty when it does not say.
    """

    code = "other-version"
    says = (
        "the two sides do not understand each other: this side runs {our_program} (protocol "
        "{our_version}), the other side {program} (protocol {version})"
    )
    next_step = "update the older one, then start both again"

    def __init__(self, version: int, program: str) -> None:
        super().__init__(
            version=version,
            program=program or "an unnamed program",
            our_version=VERSION,
            our_program=PROGRAM,
        )
        self.version = version


class FeatureMissing(DerpholeError):
    """One side needs what the other does not have.

    Args:
        is_here: whether it is this side that does not have it.
        program: what the other side's program is called, empty when it does not say.
    """

    code = "feature-missing"
    says = (
        "this side runs {our_program}, the other side {program}: {needs} needs something that "
        "{lacks} does not have"
    )
    next_step = "update the program on {lacks}, then start both again"

    def __init__(self, is_here: bool, program: str) -> None:
        here, there = "this side", "the other side"
        needs, lacks = (there, here) if is_here else (here, there)
        named = program or "a program that does not tell its version"
        super().__init__(program=named, our_program=PROGRAM, needs=needs, lacks=lacks)


class PeerLeft(DerpholeError):
    """The other side is gone without a word.

    Args:
        when: what was last known, such as "before confirming everything".
    """

    code = "peer-disconnected"
    says = "the other side disconnected[ {when}]"
    next_step = "check that it is still running, then start both again"

    def __init__(self, when: str | None = None) -> None:
        super().__init__(when=when)


class PeerAborted(DerpholeError):
    """The other side ended the work early and said so.

    Args:
        reason: its reason, in words.
    """

    code = "peer-aborted"
    says = "the other side stopped[: {reason}]"
    next_step = "see its messages"

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason=reason)
        self.reason = reason


class PeerBrokeProtocol(DerpholeError):
    """The other side said what it may not say, so that nothing it says counts any more.

    Args:
        detail: what it said and when, in words that fit both sides.
    """

    code = "protocol"
    says = "the other side broke the protocol ({detail}), so this side ended the run"
    next_step = "run the same version of this program on both sides"

    def __init__(self, detail: str) -> None:
        super().__init__(detail=detail)
        self.detail = detail


class WeBrokeProtocol(DerpholeError):
    """The other side ended the run, since by its account we said what may not be said.

    Args:
        detail: what that was, in its words.
    """

    code = "protocol"
    says = "the other side ended the run, and says that this side broke the protocol[ ({detail})]"
    next_step = "run the same version of this program on both sides"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail=detail)
        self.detail = detail


class TimedOut(DerpholeError):
    """Something awaited did not come.

    Args:
        what: what was awaited, as in "waiting for ...".
        after_s: how long it was awaited.
        next_step: what the person can do, where it is known better.
    """

    code = "timed-out"
    says = "timed out after {after_s} s waiting for {what}"
    next_step = "check that the other side is running and can reach the network"

    def __init__(self, what: str, after_s: Seconds, next_step: str | None = None) -> None:
        super().__init__(what=what, after_s=_seconds_text(after_s), next_step=next_step)
        self.what = what
        self.after_s = after_s


class NobodyThere(TimedOut):
    """The other side did not come, and the relay says that it is not there.

    Args:
        what: what was awaited, as in "waiting for ...".
        after_s: how long it was awaited.
        expired_at: when the token expired, Unix seconds, if it did by this machine's clock.
        next_step: what the person can do, where it is not about a command that printed a token.
    """

    code = "nobody-there"
    says = (
        "timed out after {after_s} s waiting for {what}: the relay says that nobody is there"
        "[, and by this machine's clock the token expired at {expired_at}]"
    )
    next_step = (
        "the command that printed the token has not started or has ended, or the token was used or "
        "has expired: run that command again, and use the token that it prints then"
    )

    def __init__(
        self, what: str, after_s: Seconds, expired_at: float | None, next_step: str | None = None
    ) -> None:
        DerpholeError.__init__(
            self,
            next_step=next_step,
            what=what,
            after_s=_seconds_text(after_s),
            expired_at=None if expired_at is None else utc_text(expired_at),
        )
        self.what = what
        self.after_s = after_s


def _seconds_text(seconds: Seconds) -> str:
    return f"{seconds:.0f}" if seconds >= 1 else f"{seconds:.1g}"
