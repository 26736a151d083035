"""One transfer by `listen` and `pipe` from end to end, and what must be true of it."""

import time
from dataclasses import dataclass

from hosts_lib.end import TOKEN_EVENT, End, Program
from hosts_lib.flow import Flow
from hosts_lib.report import Row, rate_text, seconds_text
from hosts_lib.trouble import Trouble

# Chosen.
DIRECT_LIMIT_S = 10.0
END_LIMIT_S = 60.0
SLOWEST = 200_000  # bytes a second that a transfer is waited for
DIRECT_EVENT = r'"event": "state".*"state": "connected-direct"'
RELAY_EVENT = r'"event": "state".*"state": "connected-relay"'
PAYLOAD, TOKEN = "payload", "token"


@dataclass(frozen=True, slots=True)
class Wish:
    """How something is moved.

    Args:
        size: bytes.
        relay: the URL of a relay; empty for the relays of the public map.
        is_relayed: whether both sides stay on the relay.
        is_gated: whether the second half waits, until both sides are direct where they may be.
    """

    size: int
    relay: str = ""
    is_relayed: bool = False
    is_gated: bool = False

    @property
    def relay_options(self) -> list[str]:
        """Options of whoever makes a token."""
        return ["--relay", self.relay] if self.relay else []

    @property
    def path_options(self) -> list[str]:
        """Options of both sides."""
        return ["--force-relay"] if self.is_relayed else []

    @property
    def limit_s(self) -> float:
        """How long the bytes are waited for."""
        return END_LIMIT_S + self.size / SLOWEST


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer that is over.

    Args:
        sent, received: size and SHA-256 at either side.
        flows: what the sender and the receiver told of their paths.
        link_s: from the sender's start to its link.
        rate_size, rate_s: the bytes by which the goodput is reckoned, and how long they took.
    """

    sent: str
    received: str
    flows: tuple[Flow, Flow]
    link_s: float
    rate_size: int
    rate_s: float


def move(sender: End, receiver: End, wish: Wish) -> Moved:
    """Move random bytes from one end to the other; raises `Trouble`."""
    sent = sender.do("payload", PAYLOAD, wish.size).strip()
    listen = receiver.start(
        "listen",
        *("listen", "--json", "--no-code", *wish.relay_options, *wish.path_options),
        *("-o", receiver.received),
    )
    token = listen.await_event(TOKEN_EVENT, "printed a token")
    receiver.note_sockets()
    sender.do("put", TOKEN, stdin=token.encode())
    pipe, began = _start_pipe(sender, wish), time.monotonic()
    pipe.await_event(RELAY_EVENT, "met the other side", END_LIMIT_S)
    link_s = time.monotonic() - began
    let_go_at = None
    if wish.is_gated and not wish.is_relayed:
        pipe.has_told(DIRECT_EVENT, DIRECT_LIMIT_S)
        listen.has_told(DIRECT_EVENT, DIRECT_LIMIT_S)
    sender.note_sockets()
    receiver.note_sockets()
    if wish.is_gated:
        let_go_at = time.monotonic()
        pipe.let_go()
    pipe.finish(wish.limit_s)
    ended_at = time.monotonic()
    listen.finish(END_LIMIT_S)
    received = receiver.do("take").strip()
    sender.do("forget", PAYLOAD, TOKEN)
    receipt = listen.flow.receipt
    if not receipt:
        raise Trouble(f"{listen.who} ended with 0 and no receipt")
    rate_size, rate_s = int(str(receipt["bytes"])), float(str(receipt["seconds"]))
    if let_go_at is not None:
        rate_size, rate_s = wish.size - wish.size // 2, ended_at - let_go_at
    return Moved(sent, received, (pipe.flow, listen.flow), link_s, rate_size, rate_s)


def _start_pipe(sender: End, wish: Wish) -> Program:
    words = ["pipe", "--json", *wish.path_options, "--token-file", sender.path(TOKEN)]
    if wish.is_gated:
        return sender.start_fed("pipe", PAYLOAD, wish.size // 2, *words)
    return sender.start("pipe", *words, sender.path(PAYLOAD))


def transfer_rows(what: str, moved: Moved, wish: Wish) -> list[Row]:
    """Return what is told of a transfer, and what must be true of it."""
    sent_size, _, sent_digest = moved.sent.partition(" ")
    size, _, digest = moved.received.partition(" ")
    is_exact = moved.sent == moved.received and int(sent_size) == wish.size
    same = "the same SHA-256" if digest == sent_digest else "another SHA-256"
    rows = [
        Row(f"{what}: bytes", f"{size} of {sent_size}, {same}", "exact", is_exact),
        *path_rows(what, moved.flows, wish),
    ]
    if wish.is_relayed:
        by_direct = [int(str(flow.receipt.get("bytes_direct", 0))) for flow in moved.flows]
        seen = f"{max(by_direct)} bytes on direct paths"
        rows.append(Row(f"{what}: kept on the relay", seen, "0", not any(by_direct)))
    rows.append(Row(f"{what}: goodput", rate_text(moved.rate_size, moved.rate_s)))
    return rows


def path_rows(what: str, flows: tuple[Flow, Flow], wish: Wish) -> list[Row]:
    """Return what both sides told of their paths, and what must be true of it."""
    told = " / ".join(flow.told for flow in flows)
    if wish.is_relayed:
        is_kept = all(flow.words == ("relay",) for flow in flows)
        return [Row(f"{what}: path on both sides", told, "relay", is_kept)]
    is_promoted = all(flow.is_promoted for flow in flows)
    afters = [flow.direct_after_s for flow in flows]
    is_soon = all(after is not None and after <= DIRECT_LIMIT_S for after in afters)
    returns = max(flow.returns for flow in flows)
    return [
        Row(f"{what}: path on both sides", told, "relay then direct", is_promoted),
        Row(
            f"{what}: direct after",
            " / ".join(seconds_text(after) for after in afters),
            f"{DIRECT_LIMIT_S:g} s",
            is_soon,
        ),
        Row(f"{what}: back to the relay", f"{returns} times", "0 times", returns == 0),
    ]
