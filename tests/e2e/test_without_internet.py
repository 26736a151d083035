"""Without the internet a person is told once what to do, and why only once."""

import pytest
from desk import Desk
from support.processes import Process, free_port

pytestmark = pytest.mark.e2e


def offline(desk: Desk, *arguments: str) -> Process:
    """Run a command for which every way into the internet is refused."""
    proxy = f"http://127.0.0.1:{free_port()}"
    process = desk.derphole(
        arguments[0], *arguments, variables={"https_proxy": proxy, "http_proxy": proxy}
    )
    assert process.wait() == 1, process.story
    return process


@pytest.mark.parametrize("command", ["listen", "share"])
def test_a_relay_of_one_s_own_is_named_once(desk: Desk, command: str) -> None:
    process = offline(desk, command, *(["80"] if command == "share" else []))
    said = process.story

    assert said.count("`derphole relay`") == said.count("DERPHOLE_RELAY") == 1, process.story
    assert said.count("check the network") == 1, process.story
    assert said.count("could not be fetched") == 1, process.story


def test_netcheck_says_nothing_twice(desk: Desk) -> None:
    process = offline(desk, "netcheck", "--timeout", "2")
    said = process.story

    assert said.count("could not be fetched") == 1, process.story
    assert said.count("`derphole relay`") == said.count("DERPHOLE_RELAY") == 1, process.story
    assert process.lines[-1].startswith("no relay could be used: the report above says why; ")


def test_netcheck_that_shows_no_report_says_why_in_its_last_line(desk: Desk) -> None:
    process = offline(desk, "netcheck", "--timeout", "2", "--quiet")

    assert len(process.lines) == 1, process.story
    assert "could not be fetched" in process.lines[0]


def test_netcheck_names_a_relay_that_is_away_once(desk: Desk) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    process = offline(desk, "netcheck", "--timeout", "2", "--relay", url)
    said = process.story

    assert said.count("the connection was refused") == 1, process.story
