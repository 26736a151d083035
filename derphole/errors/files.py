"""Files and folders that cannot be sent, or cannot be written."""

from derphole.errors.base import DerpholeError


class SourceUnusable(DerpholeError):
    """Something that was named cannot be sent.

    Args:
        path: as it was given.
        reason: why, as a clause: "there is no such file".
    """

    code = "source"
    says = "cannot send {path}: {reason}"
    next_step = "nothing was sent; correct the command line, or the permissions"

    def __init__(self, path: str, reason: str, next_step: str | None = None) -> None:
        super().__init__(path=path, reason=reason, next_step=next_step)


class PartialUnusable(DerpholeError):
    """What an earlier run left cannot be continued.

    Args:
        path: of the temporary file.
        reason: why, as a clause.
        next_step: what to do, where removing it is not the thing.
    """

    code = "partial"
    says = "cannot continue {path}: {reason}"
    next_step = "remove it, and run the command again"

    def __init__(self, path: str, reason: str, next_step: str | None = None) -> None:
        super().__init__(path=path, reason=reason, next_step=next_step)
