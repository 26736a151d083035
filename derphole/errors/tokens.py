"""Tokens that cannot be made or used, before anybody on the other side is asked."""

import datetime

from derphole.errors.base import DerpholeError

LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z, the last one a calendar can show


class ExpiryRefused(DerpholeError):
    """The wanted expiry is in the past or further away than this kind of token may live.

    Args:
        bound: what it must be instead, as in "expiry must be ...".
        next_step: what the person can do.
    """

    code = "expiry-refused"
    says = "expiry must be {bound}"
    next_step = "choose another time with --expires"

    def __init__(self, bound: str, next_step: str | None = None) -> None:
        super().__init__(bound=bound, next_step=next_step)


class TokenError(DerpholeError):
    """The token cannot be used."""


class TokenDamaged(TokenError):
    """The token's characters are not those the other side printed.

    Args:
        detail: what does not fit.
    """

    code = "token-damaged"
    says = "the token is damaged ({detail})"
    next_step = "copy it again from the other side, every character of it"

    def __init__(self, detail: str) -> None:
        super().__init__(detail=detail)


class NotAToken(TokenError):
    """What was given is something else.

    Args:
        detail: what it is, or why it cannot be a token.
        next_step: what the person can do.
    """

    code = "not-a-token"
    says = "this is not a token ({detail})"
    next_step = "use the text that the other side printed"

    def __init__(self, detail: str, next_step: str | None = None) -> None:
        super().__init__(detail=detail, next_step=next_step)


class SeveralTokens(TokenError):
    """More than one token was given at once.

    Args:
        count: how many.
    """

    code = "several-tokens"
    says = "there are {count} tokens in what was given"
    next_step = "give one, the last that the other side printed"

    def __init__(self, count: int) -> None:
        super().__init__(count=count)


class TokenCut(TokenDamaged):
    """The token's end is missing.

    Args:
        present: characters that are there.
        wanted: characters the token should have, None when that cannot be told.
    """

    code = "token-cut"
    says = "the token is cut short ({present}[ of {wanted}] characters)"
    next_step = "copy it again from the other side, to its very end"

    def __init__(self, present: int, wanted: int | None = None) -> None:
        DerpholeError.__init__(self, present=present, wanted=wanted)


class TokenForeign(TokenError):
    """The token was made by another program, or by another version of this one.

    Args:
        maker: the program that made it.
        next_step: what the person can do.
    """

    code = "token-foreign"
    says = "this token was made by {maker}"
    next_step = "install the same version of this program on both machines"

    def __init__(self, maker: str, next_step: str | None = None) -> None:
        super().__init__(maker=maker, next_step=next_step)


class TokenExpired(TokenError):
    """The token's time is over; shows both clocks, since a wrong clock looks the same.

    Args:
        expires_at: Unix seconds, None when unknown.
        our_clock: Unix seconds on this machine.
        issuer_clock: Unix seconds on the issuer, when the issuer told.
    """

    code = "token-expired"
    says = (
        "the token expired[ at {expires_at}] (this machine's clock says {our_clock}"
        "[, the issuer's {issuer_clock}])"
    )
    next_step = "ask the other side for a new token, or correct the clock that is wrong"

    def __init__(
        self, expires_at: float | None, our_clock: float, issuer_clock: float | None = None
    ) -> None:
        super().__init__(
            expires_at=None if expires_at is None else utc_text(expires_at),
            our_clock=utc_text(our_clock),
            issuer_clock=None if issuer_clock is None else utc_text(issuer_clock),
        )


class ServerExpired(TokenError):
    """The time of a server token is over: it can neither be served nor make client tokens.

    Args:
        expires_at: Unix seconds.
    """

    code = "server-token-expired"
    says = "the server token expired at {expires_at}"
    next_step = "give it a later end with `derptun token server --renew FILE`; its clients stay"

    def __init__(self, expires_at: float) -> None:
        super().__init__(expires_at=utc_text(expires_at))


class TokenWrongRole(TokenError):
    """A session, server or client token was given where another kind belongs.

    Args:
        given: the kind that was given, such as "a server token".
        wanted: the kind the command takes.
        used_by: the command that takes what was given.
        next_step: what the person can do, where it is more than using that.
    """

    code = "token-wrong-role"
    says = "this is {given}, but the command takes {wanted}"
    next_step = "use it with `{used_by}`"

    def __init__(self, given: str, wanted: str, used_by: str, next_step: str | None = None) -> None:
        step = None if next_step is None else next_step.format(used_by=used_by)
        super().__init__(given=given, wanted=wanted, used_by=used_by, next_step=step)


class TokenWrongCapability(TokenError):
    """The token is good, but for another command.

    Args:
        made_by: the command that made it.
        used_by: the command that uses such a token.
    """

    code = "token-wrong-capability"
    says = "this token was printed by `{made_by}`"
    next_step = "use it with `{used_by}`"

    def __init__(self, made_by: str, used_by: str) -> None:
        super().__init__(made_by=made_by, used_by=used_by)


class TokenUnclaimed(TokenError):
    """Nobody used the token in its time."""

    code = "token-unclaimed"
    says = "token expired unclaimed"
    next_step = "run the command again for a new token"


def utc_text(unix_s: float) -> str:
    """Render Unix seconds as RFC 3339 in UTC, whole seconds."""
    whole = int(min(max(unix_s, 0), LAST_SECOND))  # a clock of the other side may say anything
    moment = datetime.datetime.fromtimestamp(whole, tz=datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
