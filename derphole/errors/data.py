"""The bytes themselves: they could not be read or written, or are not those that were sent."""

from derphole.errors.base import DerpholeError
from tunnel.units import ByteCount


class TransferError(DerpholeError):
    """The bytes did not arrive as they were sent."""


class DigestMismatch(TransferError):
    """The received bytes are not the bytes that were sent."""

    code = "digest-mismatch"
    says = "the received data does not match what was sent (digest {received}, expected {sent})"
    next_step = "discard it and run both commands again"

    def __init__(self, sent: str, received: str) -> None:
        super().__init__(sent=sent, received=received)


class SizeMismatch(TransferError):
    """More or fewer bytes were received than were sent."""

    code = "size-mismatch"
    says = "{received} bytes were received, but {sent} were sent"
    next_step = "discard what was received and run both commands again"

    def __init__(self, sent: ByteCount, received: ByteCount) -> None:
        super().__init__(sent=sent, received=received)


class PieceMismatch(TransferError):
    """What was sent again is not what was announced."""

    code = "piece-mismatch"
    says = "a part that was sent again does not match what was announced of it"
    next_step = "run both commands again: they go on with what has arrived"


class SinkClosed(DerpholeError):
    """Whoever read our output stopped reading.

    Args:
        written: bytes it had taken.
        target: what was written to.
    """

    code = "output-closed"
    says = "{target} was closed after {written} bytes"
    next_step = "find out why the program that read it stopped"

    def __init__(self, written: ByteCount, target: str = "standard output") -> None:
        super().__init__(written=written, target=target)
        self.written = written


class OutputExists(DerpholeError):
    """The file that is to be written is there already.

    Args:
        path: its name, as it was given.
    """

    code = "output-exists"
    says = "{path} exists already, and was left as it is"
    next_step = "name another file, or replace it with --overwrite"

    def __init__(self, path: str) -> None:
        super().__init__(path=path)


class ReceiverOutputClosed(DerpholeError):
    """Whoever read the receiver's standard output stopped reading."""

    code = "receiver-output-closed"
    says = "the receiver's output was closed"
    next_step = "find out why the program that read it on the other machine stopped"


class SinkFailed(DerpholeError):
    """What we write to failed.

    Args:
        target: what was written to, such as "standard output".
        reason: the system's words, such as "No space left on device".
        written: bytes written before.
    """

    code = "output-failed"
    says = "writing to {target} failed[ after {written} bytes]: {reason}"
    next_step = "what was written is incomplete: discard it, and run the command again"

    def __init__(self, target: str, reason: str, written: ByteCount | None = None) -> None:
        super().__init__(target=target, reason=reason, written=written)
        self.reason = reason


class SourceFailed(DerpholeError):
    """What we read from failed.

    Args:
        source: what was read, such as "standard input".
        reason: the system's words.
    """

    code = "input-failed"
    says = (
        "reading from {source} failed: {reason}, and the other side was told that the data is "
        "incomplete"
    )
    next_step = "run both commands again with input that can be read"

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source=source, reason=reason)
        self.reason = reason
