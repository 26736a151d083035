"""One who holds the token of a running command and is hostile to it: memory stays bounded."""

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from desk import Desk, token_of
from hostile_claimer import HostileLink
from memory_of import memory_mb
from stranger import Stranger
from support.processes import record_figure

from tunnel.units import KIB
from tunnel.wire import frames as wire

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory in /proc"),
]

SECONDS, FULL_SECONDS = 20.0, 600.0
WARM_LINKS = 8
GROWTH_MB = 20
EVERY_S = 1 / 3.5  # a new link: just what the limit of one grant lets through
STRANGERS = 5  # connections of the hostile one: each may claim once a second
STREAMS, PIECE = 256, bytes(16 * KIB)  # 4 MiB a link, within the floors of the streams
PING_S = 5.0
WORD = b"the honest one goes on\n"


class Rounds:
    """Makes links at a steady pace, and keeps them all from being forgotten."""

    def __init__(self, strangers: list[Stranger], token: str) -> None:
        self.links: list[HostileLink] = []
        self._strangers = strangers
        self._token = token
        self._next_at = time.monotonic()
        self._ping_at = self._next_at + PING_S

    def one(self) -> None:
        """Make a link, stuff it, and ping all those before once in a while."""
        time.sleep(max(0.0, self._next_at - time.monotonic()))
        self._next_at += EVERY_S
        stranger = self._strangers[len(self.links) % STRANGERS]
        link = HostileLink(stranger, self._token)
        for stream in range(STREAMS):
            link.bulk(2 * stream, 0, PIECE)
            if stream % 16 == 15:
                stranger.process()  # no more than a relay's queue holds
        self.links.append(link)
        if time.monotonic() >= self._ping_at:
            self._ping_at += PING_S
            for number, each in enumerate(self.links):
                each.say(wire.Ping())
                if number % 16 == 15:
                    self._strangers[number % STRANGERS].process()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.alongside("computes")
def test_links_that_are_stuffed_and_pinged_for_ever_cost_a_listener_no_memory(
    desk: Desk, is_full: bool
) -> None:
    """Each is refused, since an honest sender has the place, and is kept alive all the same."""
    listen = desk.listen()
    token = token_of(listen)
    honest = desk.pipe(token, stdin=subprocess.PIPE, name="honest")
    honest.feed(WORD)
    listen.await_output(len(WORD))
    sent = len(WORD)
    port = int(desk.relay_url.rpartition(":")[2])
    with ExitStack() as stack:
        strangers = [stack.enter_context(Stranger(port)) for _ in range(STRANGERS)]
        rounds = Rounds(strangers, token)
        for _ in range(WARM_LINKS):
            rounds.one()
        before, began = memory_mb(listen), time.monotonic()

        while time.monotonic() < began + (FULL_SECONDS if is_full else SECONDS):
            rounds.one()
            honest.feed(WORD)
            sent += len(WORD)
            listen.await_output(sent, 2.0)
        grown = memory_mb(listen) - before

    made = len(rounds.links) - WARM_LINKS
    record_figure(f"{made} stuffed links: growth of listen", f"{grown:.1f} MB", f"<= {GROWTH_MB}")
    assert made > SECONDS
    assert grown <= GROWTH_MB
    honest.end_input()
    honest.ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == sent // len(WORD) * WORD
