"""`share` and `open`: a port that cannot be opened, a target that does not answer, the end."""

from derphole.errors.base import DerpholeError


class BindFailed(DerpholeError):
    """The port that `open` was asked for cannot be opened.

    Args:
        detail: which address, and what the system says.
        next_step: what the person can do.
    """

    code = "bind"
    says = "{detail} (the token was not used)"
    next_step = "choose another address to listen on"

    def __init__(self, detail: str, next_step: str | None = None) -> None:
        super().__init__(detail=detail, next_step=next_step)


class TargetFailed(DerpholeError):
    """The target of a share could not be connected to.

    Args:
        reset: what the client is told, one of `derphole.speech.resets`.
        reason: in words.
    """

    code = "target"
    says = "the target cannot be reached: {reason}"
    next_step = "check that the service is running and listens there"

    def __init__(self, reset: int, reason: str) -> None:
        super().__init__(reason=reason)
        self.reset = reset
        self.reason = reason


class ShareEnded(DerpholeError):
    """The other side shares no longer.

    Args:
        reason: its reason, in words.
    """

    code = "share-ended"
    says = "the other side has ended the share[ ({reason})], so the port here is closed"
    next_step = "ask there for a new token"

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason=reason)
        self.reason = reason
