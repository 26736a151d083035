"""Tally: what is counted of a stream at each of its ends, and whether the two agree.  Pure."""

from collections.abc import Sequence

from xxhash import xxh3_128

from derphole.errors import DigestMismatch, SizeMismatch, TransferError
from derphole.speech.messages import Buffer, Confirm, Fin
from tunnel.units import ByteCount, Instant, Seconds


class Tally:
    """Size, digest and duration of a stream.

    Args:
        now: when it began, unless a byte begins it later.
    """

    def __init__(self, now: Instant) -> None:
        self.size: ByteCount = 0
        self._started_at = self._ended_at = now
        self._digest = xxh3_128()

    def add(self, now: Instant, chunks: Sequence[Buffer]) -> None:
        """Count the next bytes."""
        if not self.size:
            self._started_at = now
        for chunk in chunks:
            self.size += len(chunk)
            self._digest.update(chunk)

    def end(self, now: Instant) -> None:
        """Note when the proof came."""
        self._ended_at = now

    @property
    def digest(self) -> bytes:
        """XXH3-128 of everything so far, big-endian."""
        return self._digest.digest()

    @property
    def seconds(self) -> Seconds:
        """From the first byte to the proof."""
        return self._ended_at - self._started_at


def mismatch(sent: Fin, written: Confirm) -> TransferError | None:
    """Return in what the written bytes are not those that were sent; None if they are."""
    if written.size != sent.size:
        return SizeMismatch(sent.size, written.size)
    if written.digest != sent.digest:
        return DigestMismatch(sent.digest.hex(), written.digest.hex())
    return None
