"""The states that `--verbose` shows come in one order for each command: a table."""

import re

import pytest
from desk import Desk, token_of
from shared_port import await_path, opened_port, shared_port
from support.processes import Process, free_port

from derphole.status import State

pytestmark = pytest.mark.e2e

# By command; what is in brackets comes only with a direct path.  `listening` and `token` are other
# lines that have their place.
ORDER = {
    "listen": "waiting-for-claim token connected-relay [connected-direct] stream-complete",
    "pipe": "probing-direct connected-relay [connected-direct] stream-complete",
    "share": "waiting-for-claim token claimed connected-relay [connected-direct]",
    "open": "probing-direct connected-relay [connected-direct] listening",
}
FORCED = ("--force-relay",)
# On a machine that pauses, traffic may come back to the relay for a while.
DIRECT = "( connected-direct( connected-relay connected-direct)*( connected-relay)?)?"


def told(process: Process) -> str:
    """Return the states and the two other lines, in the order in which they were said."""
    words = []
    for line in process.lines:
        if line in set(State):
            words.append(line)
        elif line.startswith("dhp1_"):
            words.append("token")
        elif line.startswith("listening on "):
            words.append("listening")
    return " ".join(words)


def assert_order(process: Process, command: str, *, may_be_direct: bool, moves: bool) -> None:
    """Assert the order of the table; on a tunnel `listening` may come before the direct path."""
    wanted = ORDER[command]
    direct = DIRECT if may_be_direct else ""
    pattern = re.escape(wanted).replace(re.escape(" [connected-direct]"), direct)
    said = told(process)
    if moves:
        said = said.replace(" listening connected-direct", " connected-direct listening")
    assert re.fullmatch(pattern.replace("\\ ", " "), said), f"{said}: {process.story}"


@pytest.mark.parametrize("flags", [(), FORCED], ids=["direct", "relay"])
@pytest.mark.parametrize("size", [0, 3_000_000])
def test_a_transfer_tells_its_states_in_order(
    desk: Desk, flags: tuple[str, ...], size: int
) -> None:
    listen = desk.listen("--verbose", *flags)
    pipe = desk.pipe(token_of(listen), "--verbose", *flags, stdin=bytes(size))
    pipe.ends_with(0)
    listen.ends_with(0)

    for process, command in ((listen, "listen"), (pipe, "pipe")):
        assert_order(process, command, may_be_direct=not flags, moves=False)


@pytest.mark.parametrize("flags", [(), FORCED], ids=["direct", "relay"])
def test_a_shared_service_tells_its_states_in_order(desk: Desk, flags: tuple[str, ...]) -> None:
    link = shared_port(desk, free_port(), *flags)
    await_path(link, flags)
    link.stop()

    for process, command in ((link.share, "share"), (link.open, "open")):
        assert_order(process, command, may_be_direct=not flags, moves=True)


def test_each_client_of_a_share_tells_its_own(desk: Desk) -> None:
    link = shared_port(desk, free_port(), *FORCED, "--max-clients=2")
    second, _ = opened_port(desk, link.token, *FORCED)
    link.share.await_line("^client 2 is connected")
    second.stop()
    link.stop()

    assert told(link.share) == (
        "waiting-for-claim token claimed connected-relay claimed connected-relay"
    )
