"""Two programs that do not fit: both sides say so within seconds, with both versions, and once."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from desk import Desk, token_of
from faults import Stopwatch
from support.processes import Process

from derphole import PROGRAM

pytestmark = pytest.mark.e2e

DRIVER = Path(__file__).parent / "later_program.py"
OURS, LATER = 1, 2
RELAY_ONLY = 1
SOON_S = 10.0  # with both processes' start; a claim without an answer would take two minutes
PROTOCOLS = (
    f"this side runs {PROGRAM} \\(protocol 1\\), the other side derphole 9.9.9 \\(protocol 2\\)"
)


def later(
    desk: Desk, name: str, version: int, features: int, *arguments: str | Path, **streams: bytes
) -> Process:
    """Start a command of the other program."""
    command: Sequence[str | Path] = [
        sys.executable, DRIVER, str(version), str(features), "--", *arguments,
    ]  # fmt: skip
    return desk.run(name, command, **streams)


def told(process: Process, words: str) -> int:
    return sum(words in line for line in process.lines)


def test_a_claimer_of_a_later_version_is_told_and_so_is_the_listener_which_goes_on(
    desk: Desk,
) -> None:
    listen = desk.listen()
    token = token_of(listen)

    clock = Stopwatch()
    for _ in range(2):
        pipe = later(desk, "later pipe", LATER, RELAY_ONLY, "pipe", token, stdin=b"never read")
        assert pipe.wait() == 1
        pipe.await_line(
            f"this side runs derphole 9.9.9 \\(protocol 2\\), the other side {PROGRAM} "
            "\\(protocol 1\\); update the older one"
        )
    assert clock.seconds < 2 * SOON_S
    listen.await_line("a claim was refused: .*\\(protocol 1\\), the other side an unnamed program "
                      "\\(protocol 2\\); update the older one")  # fmt: skip

    ours = desk.pipe(token, stdin=b"from one that fits")
    assert (ours.wait(), listen.wait()) == (0, 0)
    assert told(listen, "a claim was refused") == 1


def test_a_claimer_is_told_that_the_listener_speaks_a_later_version(desk: Desk) -> None:
    listen = later(desk, "later listen", LATER, RELAY_ONLY, "listen", "--relay", desk.relay_url)
    token = token_of(listen)

    clock = Stopwatch()
    pipe = desk.pipe(token, "--json", stdin=b"never read")
    assert pipe.wait() == 1

    assert clock.seconds < SOON_S
    pipe.await_line(PROTOCOLS)
    events = [json.loads(line) for line in pipe.lines if line.startswith("{")]
    assert events[-1]["code"] == "other-version"
    listen.await_line("a claim was refused: .*update the older one")


@pytest.mark.parametrize("asks", ["claimer", "issuer"])
def test_a_side_that_lacks_what_the_other_needs_is_named_on_both(desk: Desk, asks: str) -> None:
    """The other program knows no --force-relay: ours does not go on as if it did."""
    force = ("--force-relay",)
    here = force if asks == "claimer" else ()
    if asks == "claimer":
        listen = later(desk, "listen", OURS, 0, "listen", "--relay", desk.relay_url)
        pipe = desk.pipe(token_of(listen), *here, stdin=b"never read")
    else:
        listen = desk.listen(*force)
        pipe = later(desk, "pipe", OURS, 0, "pipe", token_of(listen), stdin=b"never read")

    assert pipe.wait() == 1
    asking, lacking = (pipe, listen) if asks == "claimer" else (listen, pipe)
    asking.await_line(
        f"this side runs {PROGRAM}, the other side derphole 9.9.9: this side needs something that "
        "the other side does not have; update the program on the other side"
    )
    lacking.await_line(
        f"this side runs derphole 9.9.9, the other side {PROGRAM}: the other side needs something "
        "that this side does not have; update the program on this side"
    )
