"""A reflector in the public namespace, and what it tells of a NAT: mapping, filtering, punching.

The reflector has four sockets, two addresses with two ports each.  A question is a list of their
numbers, one byte each; every socket that is named answers, in that order, with the source that the
question was seen to come from:

    0  address 1, port 1      1  address 1, port 2
    2  address 2, port 1      3  address 2, port 2

The socket that was asked is named last: its answer passes every NAT, and frames keep their order,
so what was not there before it was filtered and needs no waiting for.  This is RFC 5780 with our
own datagrams, so that it can be compared with a real STUN server.  Must not know rules.
"""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from namespaces import LabError, Namespace
from nat_kinds import Filtering, Mapping

Endpoint = tuple[str, int]

# Chosen.
PORTS = (7001, 7002)
SAME, OTHER_PORT, OTHER_ADDRESS, OTHER_BOTH = range(4)
ANSWER_LIMIT_S = 3.0
RETRY_S = 0.5  # a busy machine may take that long; the lab itself answers in 1 ms
POLL_S = 0.1
MAX_DATAGRAM = 2048
# Hole punching: both sides send so often, one of them later, until both were heard.
PUNCH_EVERY_S = 0.02
PUNCH_ROUNDS = 12
PUNCH_LATE_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Observed:
    """What a reflector saw of a NAT."""

    mapping: Mapping
    filtering: Filtering
    keeps_port: bool
    public_address: str


class Reflector:
    """Answers in a thread of this process; `close` ends it."""

    def __init__(self, namespace: Namespace, addresses: tuple[str, str]) -> None:
        pairs = [(address, port) for address in addresses for port in PORTS]
        self.endpoints: list[Endpoint] = pairs
        self._sockets = [namespace.udp_socket(*pair) for pair in pairs]
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reflector", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the sockets."""
        self._is_closed.set()
        self._thread.join()
        for udp in self._sockets:
            udp.close()

    def _run(self) -> None:
        while not self._is_closed.is_set():
            for udp in select.select(self._sockets, [], [], POLL_S)[0]:
                self._answer(udp)

    def _answer(self, udp: socket.socket) -> None:
        try:
            question, source = udp.recvfrom(MAX_DATAGRAM)
        except ConnectionError:  # ICMP told of a closed port
            return
        for number in question:
            if number < len(self._sockets):
                self._sockets[number].sendto(f"{source[0]} {source[1]}".encode(), source)


@contextmanager
def reflecting(namespace: Namespace, addresses: tuple[str, str]) -> Iterator[Reflector]:
    """Run a reflector for the length of a with statement."""
    reflector = Reflector(namespace, addresses)
    try:
        yield reflector
    finally:
        reflector.close()


# -- asking ----------------------------------------------------------------------------------


def ask(udp: socket.socket, reflector: Reflector, asked: int, *others: int) -> dict[int, Endpoint]:
    """Ask one socket and let others answer first; return the source that each answer tells.

    Raises `LabError` when not even the asked socket's answer comes.
    """
    question = bytes((*others, asked))
    numbers = {endpoint: number for number, endpoint in enumerate(reflector.endpoints)}
    answers: dict[int, Endpoint] = {}
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while asked not in answers:
        if time.monotonic() > deadline:
            raise LabError(f"no answer from {reflector.endpoints[asked]}")
        udp.sendto(question, reflector.endpoints[asked])
        while asked not in answers and select.select([udp], [], [], RETRY_S)[0]:
            text, source = udp.recvfrom(MAX_DATAGRAM)
            if source[:2] in numbers:
                host, port = text.decode().split()
                answers[numbers[source[:2]]] = (host, int(port))
    return answers


def can_ask(namespace: Namespace, reflector: Reflector, limit_s: float) -> bool:
    """Tell whether UDP gets to the reflector and back at all."""
    with namespace.udp_socket("::" if ":" in reflector.endpoints[0][0] else "") as udp:
        udp.sendto(bytes([SAME]), reflector.endpoints[SAME])
        return bool(select.select([udp], [], [], limit_s)[0])


def observe(namespace: Namespace, reflector: Reflector, address: str = "") -> Observed:
    """Find out what stands between a namespace and the internet."""
    wildcard = "::" if ":" in reflector.endpoints[0][0] else ""
    with namespace.udp_socket(address or wildcard) as udp:
        port = udp.getsockname()[1]
        seen = [ask(udp, reflector, number)[number] for number in range(4)]
    with namespace.udp_socket(address or wildcard) as udp:
        heard = ask(udp, reflector, SAME, OTHER_BOTH, OTHER_ADDRESS, OTHER_PORT)
    return Observed(_mapping(seen), _filtering(set(heard)), seen[SAME][1] == port, seen[SAME][0])


def _mapping(seen: list[Endpoint]) -> Mapping:
    if len(set(seen)) == 1:
        return Mapping.ENDPOINT_INDEPENDENT
    if seen[SAME] == seen[OTHER_PORT] and seen[OTHER_ADDRESS] == seen[OTHER_BOTH]:
        return Mapping.ADDRESS_DEPENDENT
    return Mapping.ADDRESS_AND_PORT_DEPENDENT


def _filtering(heard: set[int]) -> Filtering:
    if {OTHER_ADDRESS, OTHER_BOTH} <= heard:
        return Filtering.ENDPOINT_INDEPENDENT
    if OTHER_PORT in heard:
        return Filtering.ADDRESS_DEPENDENT
    return Filtering.ADDRESS_AND_PORT_DEPENDENT


# -- hole punching ---------------------------------------------------------------------------


class Puncher:
    """One side: sends to the signalled address of the other, and to every source it hears."""

    def __init__(self, namespace: Namespace, reflector: Reflector, wildcard: str) -> None:
        self.udp = namespace.udp_socket(wildcard)
        self.udp.setblocking(False)
        self.public = ask(self.udp, reflector, SAME)[SAME]
        self.targets: list[Endpoint] = []
        self.was_heard = False  # the other side said that it hears us

    def send(self) -> None:
        """Send to every target whether we have heard anything from it."""
        for number, target in enumerate(self.targets):
            text = b"hello" if number == 0 and len(self.targets) == 1 else b"heard"
            self.udp.sendto(text, target)

    def take(self) -> None:
        """Read everything that has come."""
        while True:
            try:
                text, source = self.udp.recvfrom(MAX_DATAGRAM)
            except (BlockingIOError, ConnectionError):
                return
            if text not in (b"hello", b"heard"):
                continue  # a late answer of the reflector
            if source[:2] not in self.targets[1:]:
                self.targets.append(source[:2])
            self.was_heard = self.was_heard or text == b"heard"


def punch(one: Namespace, other: Namespace, reflector: Reflector) -> float | None:
    """Punch holes between two namespaces; return the seconds until both heard, None for never.

    Each side knows of the other what the reflector saw of it, and no local address.
    """
    wildcard = "::" if ":" in reflector.endpoints[0][0] else ""
    sides = [Puncher(one, reflector, wildcard)]
    try:
        sides.append(Puncher(other, reflector, wildcard))
        sides[0].targets.append(sides[1].public)
        sides[1].targets.append(sides[0].public)
        return _exchange(sides)
    finally:
        for side in sides:
            side.udp.close()


def _exchange(sides: list[Puncher]) -> float | None:
    began = time.monotonic()
    for number in range(PUNCH_ROUNDS):
        sides[0].send()
        if number >= PUNCH_LATE_ROUNDS:
            sides[1].send()
        round_end = time.monotonic() + PUNCH_EVERY_S
        while (left_s := round_end - time.monotonic()) > 0:
            select.select([side.udp for side in sides], [], [], left_s)
            for side in sides:
                side.take()
            if all(side.was_heard for side in sides):
                return time.monotonic() - began
    return None
