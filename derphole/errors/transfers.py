"""What was offered was not taken, here or on the other side."""

from derphole.errors.base import DerpholeError
from tunnel.units import ByteCount

# What every refusal has in common.
SENT_AGAIN = "then have it sent again, with a new code: the sender has ended"


class NotTaken(DerpholeError):
    """This side does not take what the other one offers."""


class DeclinedHere(NotTaken):
    """The person on this side said no."""

    code = "declined-here"
    says = "what was offered was declined, and nothing was written"
    next_step = "to take it after all, have it sent again: the sender has ended"


class TargetExists(NotTaken):
    """There is something where it should be written.

    Args:
        target: where.
    """

    code = "target-exists"
    says = "{target} exists already, and nothing was written"
    next_step = (
        f"use --overwrite, --rename or --skip, or choose another place with -o; {SENT_AGAIN}"
    )

    def __init__(self, target: str) -> None:
        super().__init__(target=target)


class TargetSkipped(TargetExists):
    """There is a file where it should be written, and the person wants that left alone."""

    code = "target-skipped"
    says = "{target} exists already and was left as it is"
    next_step = f"use --overwrite or --rename to take it all the same; {SENT_AGAIN}"


class SpaceShort(NotTaken):
    """It would not fit.

    Args:
        folder: where.
        free: bytes that are free there.
        needed: bytes that would be needed.
    """

    code = "no-space"
    says = "{folder} has {free} bytes free, but {needed} are needed"
    next_step = (
        f"free some space, choose another place with -o, or use --no-space-check; {SENT_AGAIN}"
    )

    def __init__(self, folder: str, free: ByteCount, needed: ByteCount) -> None:
        super().__init__(folder=folder, free=free, needed=needed)


class OutputUnusable(DerpholeError):
    """Nothing can be written where the person wants it, and nobody was asked for it yet.

    Args:
        target: where.
        reason: the system's words, or ours.
    """

    code = "output-unusable"
    says = "{target} cannot be written: {reason}"
    next_step = "choose another place with -o; the code was not used"

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target=target, reason=reason)


class TargetUnwritable(NotTaken):
    """Nothing can be written there.

    Args:
        target: where.
        reason: the system's words.
    """

    code = "cannot-write"
    says = "{target} cannot be written: {reason}"
    next_step = f"choose another place with -o; {SENT_AGAIN}"

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target=target, reason=reason)
        self.target = target
        self.reason = reason


class KindRefused(NotTaken):
    """What is offered cannot be put where it should be.

    Args:
        what: such as "a folder".
        target: where.
    """

    code = "kind-refused"
    says = "{what} cannot be written to {target}"
    next_step = f"choose a folder with -o; {SENT_AGAIN}"

    def __init__(self, what: str, target: str) -> None:
        super().__init__(what=what, target=target)


class SizeNotWanted(NotTaken):
    """It is larger than the person takes unasked, and there is nobody to ask.

    Args:
        amount: how large it is, as in "3.1GiB".
        limit: up to where nothing is asked.
    """

    code = "size-not-wanted"
    says = "what is offered has {amount}, more than --ask-above {limit}, and nobody can be asked"
    next_step = f"use --yes to take it; {SENT_AGAIN}"

    def __init__(self, amount: str, limit: str) -> None:
        super().__init__(amount=amount, limit=limit)


class PartlyReceived(DerpholeError):
    """Some of what was sent is not here.

    Args:
        count: how many entries.
    """

    code = "partly-received"
    says = "{count} of what was sent could not be written here, as told above; all else is complete"
    next_step = "deal with what was named, then run both commands again"

    def __init__(self, count: int) -> None:
        super().__init__(count=count)


class PartlySent(DerpholeError):
    """Some of what was named was not sent.

    Args:
        count: how many entries.
    """

    code = "partly-sent"
    says = "{count} of what was to be sent could not be, as told above; all else has arrived"
    next_step = "deal with what was told, or use --skip-unreadable to have that count as success"

    def __init__(self, count: int) -> None:
        super().__init__(count=count)


class PartlyTaken(DerpholeError):
    """The other side could not write some of it.

    Args:
        count: how many entries.
    """

    code = "partly-taken"
    says = "the other side could not write {count} of what was sent; all else has arrived"
    next_step = "see its messages"

    def __init__(self, count: int) -> None:
        super().__init__(count=count)


class Declined(DerpholeError):
    """The other side did not take what we offer.

    Args:
        reason: why, in words.
        next_step: what the person can do, where it is known better.
    """

    code = "declined"
    says = "the other side did not take what was offered: {reason}"
    next_step = "see its messages, then start both again"

    def __init__(self, reason: str, next_step: str | None = None) -> None:
        super().__init__(reason=reason, next_step=next_step)
        self.reason = reason
