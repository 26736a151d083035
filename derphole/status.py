"""What a conversation tells the person while it runs: frozen values, and their two renderings.

A conversation gets a `Report` and hands it statuses; it never prints.  `sentence` gives the line
for people, `as_event` the name and the keys of a `--json` event (keys are only ever added).  Pure;
which level shows what is decided in `derphole.cli.frame.output`, and so is the escaping of text
that came from the other side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from tunnel.units import GIB, KIB, MIB, ByteCount, Seconds

JsonValue = str | int | float | bool | None


class State(StrEnum):
    """The state words of `--verbose`."""

    WAITING_FOR_CLAIM = "waiting-for-claim"
    CLAIMED = "claimed"
    PROBING_DIRECT = "probing-direct"
    CONNECTED_RELAY = "connected-relay"
    CONNECTED_DIRECT = "connected-direct"
    STREAM_COMPLETE = "stream-complete"


class Direction(StrEnum):
    """Which way the bytes of a receipt went, seen from us."""

    SENT = "sent"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True, repr=False)
class TokenIssued:
    """The token to hand to the other side."""

    text: str

    def __repr__(self) -> str:
        return f"<TokenIssued of {len(self.text)} characters>"


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The conversation reached a state."""

    word: State


@dataclass(frozen=True, slots=True, repr=False)
class Instruction:
    """A line that people need to go on, such as the command for the other machine; often secret."""

    text: str

    def __repr__(self) -> str:
        return f"<Instruction of {len(self.text)} characters>"


@dataclass(frozen=True, slots=True)
class Listening:
    """A local address is bound; shown at every level."""

    address: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something has not come yet, and nothing is wrong so far.

    Args:
        what: what is awaited, as in "waiting for ...".
        for_s: how long so far.
        limit_s: when we give up, counted from the start; None for never.
    """

    what: str
    for_s: Seconds
    limit_s: Seconds | None


@dataclass(frozen=True, slots=True)
class Stalled:
    """Nothing was heard from the other side although something is unanswered.

    Args:
        what: what is unanswered.
        for_s: how long nothing was heard.
        limit_s: the silence after which the link is given up.
    """

    what: str
    for_s: Seconds
    limit_s: Seconds


@dataclass(frozen=True, slots=True)
class Resumed:
    """The other side is heard again after a stall of `after_s` seconds."""

    after_s: Seconds


@dataclass(frozen=True, slots=True)
class PathTaken:
    """Traffic takes another path.

    Args:
        description: the path in words, such as "relay fra (203.0.113.5:443)".
        is_direct: whether it goes past every relay.
    """

    description: str
    is_direct: bool


@dataclass(frozen=True, slots=True)
class RelayDown:
    """A relay misbehaves or is away; the conversation goes on."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth knowing."""

    text: str


@dataclass(frozen=True, slots=True)
class Caution:
    """Something the person should change."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer is, counted by what the receiver confirmed.

    Args:
        done: confirmed bytes.
        total: all bytes, None when unknown.
        elapsed_s: since the first byte.
        rate: bytes per second, smoothed.
    """

    done: ByteCount
    total: ByteCount | None
    elapsed_s: Seconds = 0.0
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof at the end of a transfer.

    Args:
        direction: which way the bytes went.
        size: bytes.
        seconds: from the first byte to the confirmation.
        path: the path at the end, in words.
        reason_relayed: why that is a relay; None when it is not.
        digest: XXH3-128 of the bytes, hexadecimal.
        traffic: what went over which path.
    """

    direction: Direction
    size: ByteCount
    seconds: Seconds
    path: str
    reason_relayed: str | None
    digest: str
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class ForwardingEnded:
    """A forwarded connection is over.

    Args:
        number: of the connection in this run, from 1; None for one that found no place.
        peer: whose it is, in words.
        sent: bytes from here to the other side of the link.
        received: bytes from there.
        seconds: from its beginning.
        reason: why it ended, in words.
        code: of its reset; None when both ways ended cleanly.
    """

    number: int | None
    peer: str
    sent: ByteCount
    received: ByteCount
    seconds: Seconds
    reason: str
    code: int | None


Status = (
    TokenIssued
    | StateChanged
    | Instruction
    | Listening
    | Waiting
    | Stalled
    | Resumed
    | PathTaken
    | RelayDown
    | Notice
    | Caution
    | Progress
    | Receipt
    | ForwardingEnded
)
Report = Callable[[Status], None]


def sentence(status: Status) -> str | None:
    """Return the line a person reads, None for statuses that are drawn otherwise."""
    match status:
        case TokenIssued(text) | Instruction(text) | Notice(text):
            return text
        case StateChanged(word):
            return word.value
        case Listening(address):
            return f"listening on {address}"
        case Waiting(what, for_s, limit_s):
            return f"waiting for {what} ({_waited(for_s, limit_s)})"
        case Stalled(what, for_s, limit_s):
            return (
                f"nothing heard from the other side for {for_s:.0f} s while {what}; "
                f"giving up after {limit_s:.0f} s"
            )
        case Resumed(after_s):
            return f"the other side is back after {after_s:.0f} s"
        case PathTaken(description, is_direct):
            return f"path={'direct' if is_direct else 'relay'} via={description}"
        case RelayDown(text):
            return f"relay trouble: {text}"
        case Caution(text):
            return f"warning: {text}"
        case Progress():
            return None
        case Receipt():
            return _receipt_sentence(status)
        case ForwardingEnded():
            return _connection_sentence(status)
        case _:
            assert_never(status)


def as_event(status: Status) -> tuple[str, dict[str, JsonValue]]:
    """Return the name and the keys of a status's `--json` event."""
    match status:
        case TokenIssued(text):
            return "token", {"token": text}
        case StateChanged(word):
            return "state", {"state": word.value}
        case PathTaken(description, is_direct):
            return "path", {"path": description, "direct": is_direct}
        case Receipt():
            return "receipt", _receipt_keys(status)
        case ForwardingEnded():
            return "connection", _connection_keys(status)
        case Progress(done, total, elapsed_s, rate):
            return "progress", {
                "done": done,
                "total": total,
                "elapsed_s": round(elapsed_s, 3),
                "bytes_per_second": round(rate),
            }
        case _:
            return _spoken_event(status)


def _spoken_event(
    status: Instruction | Listening | Waiting | Stalled | Resumed | RelayDown | Notice | Caution,
) -> tuple[str, dict[str, JsonValue]]:
    """Return the event of a status that is mostly its sentence."""
    match status:
        case Instruction(text):
            return "instruction", {"message": text}
        case Listening(address):
            return "listening", {"address": address}
        case Waiting(what, for_s, limit_s):
            return "waiting", {"what": what, "for_s": round(for_s, 3), "limit_s": limit_s}
        case Stalled(what, for_s, limit_s):
            return "stalled", {"what": what, "for_s": round(for_s, 3), "limit_s": limit_s}
        case Resumed(after_s):
            return "resumed", {"after_s": round(after_s, 3)}
        case RelayDown(text):
            return "relay-trouble", {"message": text}
        case Notice(text):
            return "notice", {"message": text}
        case Caution(text):
            return "warning", {"message": text}
        case _:
            assert_never(status)


def size_text(size: ByteCount) -> str:
    """Render a size as 5B, 12.3MiB, 1.0TiB: whole bytes, else one decimal, base 1024."""
    if size < KIB:
        return f"{size}B"
    for unit, name in ((KIB, "KiB"), (MIB, "MiB"), (GIB, "GiB")):
        if round(size / unit, 1) < KIB:
            return f"{size / unit:.1f}{name}"
    return f"{size / (GIB << 10):.1f}TiB"


def _waited(for_s: Seconds, limit_s: Seconds | None) -> str:
    limit = "" if limit_s is None else f" of at most {limit_s:.0f} s"
    return f"{for_s:.0f} s{limit}"


def _receipt_sentence(receipt: Receipt) -> str:
    rate = receipt.size / receipt.seconds if receipt.seconds > 0 else 0.0
    relayed = f" (relayed: {receipt.reason_relayed})" if receipt.reason_relayed else ""
    return (
        f"{receipt.direction.value} {size_text(receipt.size)} in {receipt.seconds:.1f} s, "
        f"{size_text(round(rate))}/s, by {receipt.path}{relayed}, "
        f"{_traffic_sentence(receipt.traffic)}, digest {receipt.digest}"
    )


def _traffic_sentence(traffic: Traffic) -> str:
    promotions = "1 promotion" if traffic.promotions == 1 else f"{traffic.promotions} promotions"
    stalls = "1 stall" if traffic.stalls == 1 else f"{traffic.stalls} stalls"
    by_path = f"{size_text(traffic.direct)} direct and {size_text(traffic.relayed)} relayed"
    return f"{by_path}, {promotions}, {stalls}"


def _receipt_keys(receipt: Receipt) -> dict[str, JsonValue]:
    return {
        "direction": receipt.direction.value,
        "bytes": receipt.size,
        "seconds": round(receipt.seconds, 6),
        "path": receipt.path,
        "reason_relayed": receipt.reason_relayed,
        "digest": receipt.digest,
        "digest_kind": "xxh3-128",
        "bytes_direct": receipt.traffic.direct,
        "bytes_relayed": receipt.traffic.relayed,
        "promotions": receipt.traffic.promotions,
        "stalls": receipt.traffic.stalls,
    }


def _connection_sentence(ended: ForwardingEnded) -> str:
    number = "" if ended.number is None else f" {ended.number}"
    return (
        f"connection{number} of {ended.peer}: sent {size_text(ended.sent)}, "
        f"received {size_text(ended.received)} in {ended.seconds:.1f} s, {ended.reason}"
    )


def _connection_keys(ended: ForwardingEnded) -> dict[str, JsonValue]:
    return {
        "connection": ended.number,
        "peer": ended.peer,
        "sent": ended.sent,
        "received": ended.received,
        "seconds": round(ended.seconds, 6),
        "reason": ended.reason,
        "code": ended.code,
    }
