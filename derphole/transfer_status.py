"""What a person is told of a transfer: how far it is, its receipt, and what is missing of it.

See `derphole.status` for what a status is.  Pure.
"""

from collections.abc import Mapping
from enum import StrEnum

from derphole.status import JsonValue, Level, Status, size_text
from tunnel.units import ByteCount, Seconds
from tunnel.values import frozen


class Direction(StrEnum):
    """Which way the bytes of a receipt went, seen from us."""

    SENT = "sent"
    RECEIVED = "received"


@frozen
class Progress(Status):
    """How far a transfer is, counted by what the receiver has.

    Args:
        done: bytes that the receiver has.
        total: all bytes, None when unknown.
        elapsed_s: since the two sides met.
        rate: bytes per second, smoothed.
        still_s: since a byte was last seen to move.
        path: the path they take, in words.
    """

    event = "progress"
    done: ByteCount
    total: ByteCount | None
    elapsed_s: Seconds = 0.0
    rate: float = 0.0
    still_s: Seconds = 0.0
    path: str = ""

    @property
    def sentence(self) -> str:
        """How far, how long, how fast and by which path; a terminal shows a bar in its place."""
        of_all = ""
        if self.total is not None:
            percent = 100 * self.done // self.total if self.total else 100
            of_all = f" of {size_text(self.total)} ({min(99, percent)}%)"
        by_path = f", by {self.path}" if self.path else ""
        return (
            f"{size_text(self.done)}{of_all} in {self.elapsed_s:.0f} s, "
            f"{size_text(round(self.rate))}/s{by_path}"
        )

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Every figure."""
        return {
            "done": self.done,
            "total": self.total,
            "elapsed_s": round(self.elapsed_s, 3),
            "bytes_per_second": round(self.rate),
            "still_s": round(self.still_s, 3),
            "path": self.path,
        }


@frozen
class Traffic:
    """What a link carried in the direction of a transfer, packet headers and repeats included.

    Args:
        direct: bytes by direct paths.
        relayed: bytes by relays.
        promotions: how often traffic moved from a relay to a direct path.
        stalls: how often nothing was heard for seconds although something was unanswered.
    """

    direct: ByteCount
    relayed: ByteCount
    promotions: int
    stalls: int

    def __str__(self) -> str:
        promotions = "1 promotion" if self.promotions == 1 else f"{self.promotions} promotions"
        stalls = "1 stall" if self.stalls == 1 else f"{self.stalls} stalls"
        by_path = f"{size_text(self.direct)} direct and {size_text(self.relayed)} relayed"
        return f"{by_path} with headers and repeats, {promotions}, {stalls}"


@frozen
class Receipt(Status):
    """The proof at the end of a transfer.

    Args:
        direction: which way the bytes went.
        size: bytes.
        seconds: from the first byte until the last one was kept (received), or until we knew of
            that (sent), so that the two sides differ by what the news took.
        path: the path at the end, in words.
        reason_relayed: why that is a relay; None when it is not.
        digest: XXH3-128 of the bytes, hexadecimal.
        traffic: what went over which path.
    """

    event = "receipt"
    direction: Direction
    size: ByteCount
    seconds: Seconds
    path: str
    reason_relayed: str | None
    digest: str
    traffic: Traffic

    @property
    def sentence(self) -> str:
        """How much, how fast, and by which path."""
        rate = self.size / self.seconds if self.seconds > 0 else 0.0
        relayed = f" (relayed: {self.reason_relayed})" if self.reason_relayed else ""
        when = "confirmed after" if self.direction is Direction.SENT else "complete after"
        return (
            f"{self.direction.value} {size_text(self.size)}, {when} {self.seconds:.1f} s, "
            f"{size_text(round(rate))}/s, by {self.path}{relayed}"
        )

    @property
    def details(self) -> str:
        """What went over which path, as this side counts it, and the digest."""
        return f"{self.direction.value} {self.traffic}; XXH3-128 {self.digest}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """Every figure."""
        return {
            "direction": self.direction.value,
            "bytes": self.size,
            "seconds": round(self.seconds, 6),
            "path": self.path,
            "reason_relayed": self.reason_relayed,
            "digest": self.digest,
            "digest_kind": "xxh3-128",
            "bytes_direct": self.traffic.direct,
            "bytes_relayed": self.traffic.relayed,
            "promotions": self.traffic.promotions,
            "stalls": self.traffic.stalls,
        }


@frozen
class Incomplete(Status):
    """A transfer ended before its last byte; why is told by the error behind it.

    Args:
        direction: which way the bytes went.
        done: received ones that were written, or sent ones that the other side has.
        total: all bytes, None when unknown.
        untouched: the file that is as it was before; None where half a stream was written.
    """

    event = "incomplete"
    level = Level.QUIET
    direction: Direction
    done: ByteCount
    total: ByteCount | None
    untouched: str | None = None

    @property
    def sentence(self) -> str:
        """How much of how much, and what is left of it."""
        of_all = "" if self.total is None else f" of {self.total}"
        noun = "byte" if (self.done if self.total is None else self.total) == 1 else "bytes"
        has = "reached the other side" if self.direction is Direction.SENT else "came"
        left = f"; {self.untouched} is as it was before" if self.untouched is not None else ""
        return f"incomplete: {self.done}{of_all} {noun} {has}{left}"

    @property
    def keys(self) -> Mapping[str, JsonValue]:
        """The same."""
        return {
            "direction": self.direction.value,
            "bytes": self.done,
            "total": self.total,
            "untouched": self.untouched,
            "message": self.sentence,
        }
