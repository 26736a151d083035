"""A client of `share` that floods it with what the protocol allows, and an honest one beside it.

The bounds are three times what holds today, for machines that do much else; figures are recorded.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from desk import Desk
from hostile_claimer import HostileLink
from memory_of import memory_mb, processor_s
from shared_port import SharedPort, await_path, exchange, line_server, shared_port
from stranger import Stranger
from support.processes import record_figure

from tunnel.crypto.packets import OpenedBulk, OpenedGeneral
from tunnel.units import KIB, MIB
from tunnel.wire import frames as wire

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory in /proc"),
]

SECONDS, FULL_SECONDS = 6.0, 60.0
PATIENCE_S = 90.0  # for what has to be sent before a bound means anything
WARM_S = 1.0
HONEST_S = 10.0  # a question and its answer beside a flood, on a machine that does much else
GRANTED = 1 << 40
QUESTION = b"q" * 1000


class Client:
    """A hostile client that has a place at a share, and answers what keeps the link going.

    Attributes:
        received: bytes of streams that came.
        link: its link.
    """

    def __init__(self, stranger: Stranger, token: str) -> None:
        self.received = 0
        self.link = HostileLink(stranger, token)
        self.link.say(wire.StreamData(0, 0, b"", False))
        self._acks_all = True

    def pin_first_bytes(self) -> None:
        """Acknowledge no packet any more that has the first byte of a stream."""
        self._acks_all = False

    def answer(self) -> None:
        """Take what came, and acknowledge it in the newest packets' order."""
        numbers = sorted(
            (self._number(opened) for opened in self.link.opened() if self._is_acked(opened)),
            reverse=True,
        )
        if not numbers:
            return
        ranges: list[tuple[int, int]] = []
        for number in numbers:
            if ranges and ranges[-1][0] == number + 1:
                ranges[-1] = (number, ranges[-1][1])
            else:
                ranges.append((number, number))
        self.link.say(wire.Ack(0, 24, 0, tuple(ranges[: wire.MAX_ACK_RANGES])))

    def _number(self, opened: OpenedGeneral | OpenedBulk) -> int:
        return opened.first if isinstance(opened, OpenedBulk) else opened.number

    def _is_acked(self, opened: OpenedGeneral | OpenedBulk) -> bool:
        if isinstance(opened, OpenedBulk):
            parts = [(opened.offset, len(opened.data))]
        else:
            frames = wire.decode_frames(opened.frames)
            parts = [(f.offset, len(f.data)) for f in frames if isinstance(f, wire.StreamData)]
        self.received += sum(size for _, size in parts)
        return self._acks_all or all(offset or not size for offset, size in parts)


class Honest(threading.Thread):
    """Asks and is answered beside the flood, again and again; knows how long it took at most."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.answers = 0
        self.longest_s = 0.0
        self.failure: BaseException | None = None
        self._port = port
        self._is_over = threading.Event()

    def run(self) -> None:
        try:
            while not self._is_over.is_set():
                began = time.monotonic()
                assert exchange(self._port, QUESTION) == QUESTION
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.answers += 1
                self._is_over.wait(0.1)
        except (AssertionError, OSError) as error:
            self.failure = error

    def finish(self) -> None:
        """Stop after the question that is under way."""
        self._is_over.set()
        self.join(30)
        assert self.failure is None, repr(self.failure)


class Flooded:
    """A share with an honest client, and a hostile one that floods it.

    Attributes:
        units: what the flood has sent, in its own unit.
    """

    def __init__(self, desk: Desk, stranger: Stranger, name: str) -> None:
        self.units = 0
        self.link: SharedPort = shared_port(desk, line_server(desk), "--max-clients=2")
        await_path(self.link, ())
        exchange(self.link.port, QUESTION)
        self.client = Client(stranger, self.link.token)
        self._name = name

    def flood(
        self,
        step: Callable[[], int],
        seconds: float,
        most_mb: float,
        is_enough: Callable[[], bool] = lambda: True,
    ) -> float:
        """Repeat `step`, which tells how many units it sent; returns processor ms of a thousand.

        It takes so many seconds, or as many more up to PATIENCE_S as it takes to be enough.
        """
        before = memory_mb(self.link.share)
        self._repeat(step, WARM_S)
        self.units = 0
        honest = Honest(self.link.port)
        used = processor_s(self.link.share)
        honest.start()
        self._repeat(step, seconds)
        patient_until = time.monotonic() + PATIENCE_S
        while not is_enough() and time.monotonic() < patient_until:
            self._repeat(step, 0.1)
        used = processor_s(self.link.share) - used
        honest.finish()
        grown = memory_mb(self.link.share) - before
        thousand_ms = 1e6 * used / self.units
        what = f"flood of {self.units} {self._name}"
        record_figure(f"{what}: growth of share", f"{grown:.1f} MB", f"<= {most_mb} MB")
        record_figure(f"{what}: its processor time", f"{thousand_ms:.1f} ms a thousand", "see test")
        record_figure(f"{what}: honest answer", f"{honest.longest_s:.2f} s", f"<= {HONEST_S} s")
        assert grown <= most_mb
        assert honest.answers > 2
        assert honest.longest_s <= HONEST_S
        return thousand_ms

    def _repeat(self, step: Callable[[], int], seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            self.units += step()
            self.client.answer()

    def stop(self) -> None:
        """The honest client is served to the end."""
        assert exchange(self.link.port, bytes(MIB)) == bytes(MIB)
        self.link.stop()


@pytest.fixture
def seconds(is_full: bool) -> float:
    return FULL_SECONDS if is_full else SECONDS


@pytest.fixture
def stranger(desk: Desk):
    with Stranger(int(desk.relay_url.rpartition(":")[2])) as stranger:
        yield stranger


@pytest.mark.alongside("computes")
def test_streams_whose_first_bytes_are_never_acknowledged_pin_little(
    desk: Desk, stranger: Stranger, seconds: float
) -> None:
    """Four of them, each with a target that sends without end: 8 MiB of each were kept once.

    Of more the first bytes, which go out again and again, would take all that the link carries.
    """
    flooded = Flooded(desk, stranger, "pinned bytes")
    client = flooded.client
    streams = range(2, 10, 2)
    for stream in streams:
        client.link.say(wire.StreamData(stream, 0, b"flood\n", False))
        client.link.say(wire.Credit(stream, GRANTED, 0))
    client.pin_first_bytes()

    def step() -> int:
        before = client.received
        client.answer()
        return client.received - before + 1

    most = 4 * (8 << 20)
    flooded.flood(step, seconds, most_mb=24, is_enough=lambda: client.received > most)

    assert client.received > most
    flooded.stop()


def test_streams_opened_and_given_up_without_end_cost_little(
    desk: Desk, stranger: Stranger, seconds: float
) -> None:
    flooded = Flooded(desk, stranger, "streams")
    next_stream = 2

    def step() -> int:
        nonlocal next_stream
        streams = range(next_stream, next_stream + 400, 2)
        next_stream += 400
        flooded.client.link.say(
            *(
                frame
                for stream in streams
                for frame in (wire.Reset(stream, 0, 1), wire.Stop(stream, 1))
            )
        )
        return len(streams)

    assert flooded.flood(step, seconds, most_mb=25) <= 150
    flooded.stop()


def test_connections_opened_and_reset_without_end_cost_little(
    desk: Desk, stranger: Stranger, seconds: float
) -> None:
    """Each reaches the target before it is given up."""
    flooded = Flooded(desk, stranger, "connections")
    next_stream = 2

    def step() -> int:
        nonlocal next_stream
        streams = range(next_stream, next_stream + 40, 2)
        next_stream += 40
        for stream in streams:
            flooded.client.link.say(wire.StreamData(stream, 0, b"echo\nhello", False))
        flooded.client.answer()
        for stream in streams:
            flooded.client.link.say(wire.Reset(stream, 10, 1), wire.Stop(stream, 1))
        return len(streams)

    assert flooded.flood(step, seconds, most_mb=25) <= 3000
    flooded.stop()


def test_gaps_without_end_cost_little(desk: Desk, stranger: Stranger, seconds: float) -> None:
    flooded = Flooded(desk, stranger, "gaps")
    client, turn = flooded.client, 0
    streams = range(2, 202, 2)
    for stream in streams:
        client.link.say(wire.StreamData(stream, 0, b"sink\n", False))

    def step() -> int:
        nonlocal turn
        turn += 1
        stream = streams[turn % len(streams)]
        first = 100 + turn % 7
        frames = (wire.StreamData(stream, offset, b"x", False) for offset in range(first, 8000, 8))
        packed = b"".join(map(wire.encode_stream, frames))
        client.link.say_encoded(packed)
        return len(packed) // wire.STREAM_HEADER_SIZE

    assert flooded.flood(step, seconds, most_mb=25) <= 40
    flooded.stop()


def test_credit_recalls_and_returns_without_end_cost_little(
    desk: Desk, stranger: Stranger, seconds: float
) -> None:
    flooded = Flooded(desk, stranger, "credit frames")
    client, limit, recalls = flooded.client, 64 * KIB, 0
    for stream in range(2, 42, 2):
        client.link.say(wire.StreamData(stream, 0, b"echo\n", False))

    def step() -> int:
        nonlocal limit, recalls
        frames: list[wire.Frame] = []
        for _ in range(25):
            limit += 1
            recalls += 1
            for stream in range(2, 42, 2):
                frames.append(wire.Recall(stream, 0, recalls))
                frames.append(wire.Credit(stream, limit, recalls))
                frames.append(wire.Return(stream, limit, 0))
        client.link.say(*frames)
        return len(frames)

    assert flooded.flood(step, seconds, most_mb=25) <= 45
    flooded.stop()
