"""Commands in networks of their own that do nothing cost nothing, and notice what changes.

The states that need a network: UDP is blocked from the start or later, or there is no network any
more.  What is counted, and the budget: `support.idle`; the other states: tests/e2e.
"""

import pytest
from lab import Lab
from lab_transfers import TOKEN_EVENT, Stage
from support.idle import Idle, assert_idle
from support.processes import Process

NOTICED_LIMIT_S = 2.0
DIRECT = r'"event": "path".*"direct": true'
RELAYED = r'"event": "path".*"direct": false'
UNREACHABLE = r"cannot be reached|closed the connection|broke off|has been silent"


@pytest.fixture
def pair(lab: Lab, stage: Stage) -> list[Process]:
    """`share` on one host and `open` on the other, with nothing to do."""
    share = stage.run("share", lab.a, "share", "--json", "--relay", stage.url, "127.0.0.1:9")
    token = share.await_line(TOKEN_EVENT).group(1)
    opened = stage.run("open", lab.b, "open", "--json", token)
    for process in (share, opened):
        process.await_line(RELAYED)
    return [share, opened]


def assert_pair_is_idle(name: str, pair: list[Process], *, is_full: bool) -> None:
    assert_idle({f"{name}/{each.name}": Idle(each.pid) for each in pair}, is_full=is_full)


@pytest.mark.timeout(400)
@pytest.mark.alongside("waits")
def test_a_pair_whose_udp_was_blocked_from_the_start_is_idle(
    lab: Lab, stage: Stage, request: pytest.FixtureRequest, is_full: bool
):
    with lab.block_udp("a"), lab.block_udp("b"):
        pair = request.getfixturevalue("pair")
        assert_pair_is_idle("UDP blocked", pair, is_full=is_full)


@pytest.mark.timeout(400)
@pytest.mark.alongside("waits")
def test_a_pair_whose_udp_is_blocked_later_is_idle(lab: Lab, pair: list[Process], is_full: bool):
    for process in pair:
        process.await_line(DIRECT)
    with lab.block_udp("a"), lab.block_udp("b"):
        assert_pair_is_idle("UDP blocked later", pair, is_full=is_full)


@pytest.mark.timeout(400)
@pytest.mark.alongside("waits")
def test_commands_without_any_network_are_idle(
    lab: Lab, stage: Stage, pair: list[Process], is_full: bool
):
    waiting = stage.run("listen", lab.a, "listen", "--json", "--relay", stage.url)
    waiting.await_line(TOKEN_EVENT)
    for host in (lab.a, lab.b):
        host.ip("link set dev eth0 down")
    for process in (*pair, waiting):
        process.await_line(UNREACHABLE)

    assert_pair_is_idle("no network", [*pair, waiting], is_full=is_full)
