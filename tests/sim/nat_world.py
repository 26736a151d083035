"""One host with two UDP sockets, a NAT, and STUN servers of RFC 5780, on a simulated clock.

    lane 0, lane 1 --> Nat --wires that lose every n-th datagram--> servers A1, A2 x P1, P2

The servers are written from the RFC and share nothing with the product but the codec.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from udp_network import Address, Nat

from tunnel.proto.netcheck.nat_behaviour import NatCheck, NatFindings
from tunnel.units import Instant
from tunnel.wire import stun
from tunnel.wire.stun import Change

LAN_IP = "10.0.0.2"
LAN_PORTS = (41000, 41001)
DELAY_S = 0.02
MAX_STEPS = 2000
P1, P2 = 3478, 3479


@dataclass
class Server:
    """A STUN server; knobs are fields that tests set.

    Args:
        ip: its address.
        other_ip: its second one, "" for none.
    """

    ip: str
    other_ip: str = ""
    is_silent: bool = False
    told_other: Address | None = None  # what it says in place of its true other address
    ignores_change: bool = False
    refuses_change: bool = False
    answers_from: Address | None = None  # a liar: every answer comes from there
    seen_instead: Address | None = None  # a liar: what it says that it saw
    asked: list[tuple[Address, Address]] = field(default_factory=list)

    @property
    def endpoints(self) -> list[Address]:
        ips = [self.ip, self.other_ip] if self.other_ip else [self.ip]
        return [(ip, port) for ip in ips for port in ((P1, P2) if self.other_ip else (P1,))]

    def answer(self, to: Address, source: Address, data: bytes) -> tuple[Address, bytes] | None:
        """Return the answer to a datagram and the address it leaves from."""
        self.asked.append((to, source))
        request = stun.decode_binding_request(data)
        if self.is_silent:
            return None
        if request.change and (self.refuses_change or not self.other_ip):
            return to, error_response(request.transaction_id, 420)
        ip, port = to
        if request.change and not self.ignores_change:
            if request.change & Change.ADDRESS:
                ip = self.other_ip if ip == self.ip else self.ip
            if request.change & Change.PORT:
                port = P1 + P2 - port
        other = self.told_other
        if other is None and self.other_ip:
            other = (self.other_ip if to[0] == self.ip else self.ip, P1 + P2 - to[1])
        seen = self.seen_instead or source
        answer = stun.encode_binding_response(request.transaction_id, *seen, (ip, port), other)
        return self.answers_from or (ip, port), answer


def error_response(transaction_id: bytes, code: int) -> bytes:
    """Return a Binding error response, with a reason phrase."""
    value = bytes((0, 0, code // 100, code % 100)) + b"Nope"
    attribute = b"\x00\x09" + len(value).to_bytes(2, "big") + value
    header = b"\x01\x11" + len(attribute).to_bytes(2, "big")
    return header + stun.MAGIC_COOKIE + transaction_id + attribute


class NatWorld:
    """Runs one check to its end.

    Args:
        nat: what stands before the host; None for nothing.
        servers: those of the map.
        hairpin: whether the NAT turns packets for itself back.
        lost: tells by its number whether a datagram is lost.
        tries_lost: how many of the first sends of each request are lost.
    """

    def __init__(
        self,
        nat: Nat | None,
        *servers: Server,
        hairpin: bool = False,
        lost: Callable[[int], bool] = lambda number: False,
        tries_lost: int = 0,
    ) -> None:
        self.nat = nat
        self.servers = servers
        self.now = 0.0
        self.sent: list[tuple[int, Address]] = []
        self._hairpin = hairpin
        self._lost = lost
        self._tries_lost = tries_lost
        self._tries: Counter[bytes] = Counter()
        self._numbers = itertools.count()
        self._arrivals: list[tuple[float, int, Callable[[], None]]] = []
        self._server_by_endpoint = {
            endpoint: server for server in servers for endpoint in server.endpoints
        }
        entropy = itertools.count(1)
        self.check = NatCheck(
            Instant(0.0),
            [(server.ip, P1) for server in servers],
            LAN_PORTS,
            [LAN_IP, "127.0.0.1"],
            lambda size: next(entropy).to_bytes(size, "big"),
        )

    def run(self, until_s: float = 60.0) -> NatFindings:
        """Walk the clock from event to event until the check has no more questions."""
        for _ in range(MAX_STEPS):
            for outgoing in self.check.datagrams_to_send(Instant(self.now)):
                self.sent.append((outgoing.lane, outgoing.to))
                self._send((LAN_IP, LAN_PORTS[outgoing.lane]), outgoing.to, outgoing.data)
            due_at = self.check.next_timeout()
            if due_at is None:
                return self.check.findings()
            times = [due_at, *(entry[0] for entry in self._arrivals[:1])]
            self.now = min(times)
            if self.now > until_s:
                return self.check.findings()
            while self._arrivals and self._arrivals[0][0] <= self.now:
                heapq.heappop(self._arrivals)[2]()
        raise AssertionError("the check never settles")

    def deliver(self, source: Address, to: Address, data: bytes) -> None:
        """Bring a datagram of the internet to the NAT, or to the host where there is none."""
        inside = to
        if self.nat is not None:
            found = self.nat.inbound(self.now, source, to[1]) if to[0] == self.nat.ip else None
            if found is None:
                return
            inside = found
        if inside[0] == LAN_IP:
            self.check.handle_datagram(Instant(self.now), LAN_PORTS.index(inside[1]), data, source)

    def _send(self, local: Address, to: Address, data: bytes) -> None:
        source = self.nat.outbound(self.now, local, to) if self.nat else local
        if self.nat is not None and to[0] == self.nat.ip:
            if self._hairpin:
                self._after(lambda: self.deliver(source, to, data))
            return
        server = self._server_by_endpoint.get(to)
        self._tries[data] += 1
        if server is not None and self._tries[data] > self._tries_lost:
            self._after(lambda: self._reach(server, to, source, data))

    def _reach(self, server: Server, to: Address, source: Address, data: bytes) -> None:
        answer = server.answer(to, source, data)
        if answer is not None:
            self._after(lambda: self.deliver(answer[0], source, answer[1]))

    def _after(self, action: Callable[[], None]) -> None:
        number = next(self._numbers)
        if not self._lost(number):
            heapq.heappush(self._arrivals, (self.now + DELAY_S, number, action))
