"""What somebody sees who types a command into a terminal."""

import signal

import pytest
from desk import Desk

pytestmark = pytest.mark.e2e

LIFE = r"The code is good for 1 hour \(until \S+Z\), for one "
CODE = r"0-[0-9]{6}-[a-z]+-[a-z]+"
RELAY = r"--relay \S+"


def test_listen_shows_the_command_for_the_other_machine_and_that_works(desk: Desk) -> None:
    listen = desk.derphole("listen", "listen", "--relay", desk.relay_url, on_terminal=True)

    command = listen.await_line(rf"^    derphole (pipe {CODE} {RELAY})$").group(1)
    listen.await_line(f"^There, standard input is sent; here it is received. {LIFE}sender.$")
    assert listen.lines[0].startswith("dhp1_")
    assert listen.lines[1] == "On the other machine, run:"
    assert listen.stderr.count("dhp1_") == 1
    pipe = desk.derphole("pipe", *command.split(), stdin=b"as it says")

    pipe.ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == b"as it says"


def test_share_shows_the_command_for_the_other_machine_and_that_works(desk: Desk) -> None:
    share = desk.derphole(
        "share",
        *("share", "--relay", desk.relay_url, "8080"),
        variables={"DERPHOLE_NPM": "derphole@1"},
        on_terminal=True,
    )

    command = share.await_line(rf"^    npx -y derphole@1 (open {CODE} {RELAY})$").group(1)
    where = r"It opens a port there that leads to localhost:8080 here\."
    share.await_line(rf"^{where} {LIFE}machine at a time\.$")
    opened = desk.derphole("open", *command.split())

    opened.await_line("^listening on ")
    for process in (opened, share):
        process.send_signal(signal.SIGTERM)
        process.ends_with(0)


def test_without_a_code_the_command_has_the_token(desk: Desk) -> None:
    listen = desk.derphole(
        "listen", "listen", "--no-code", "--relay", desk.relay_url, on_terminal=True
    )

    command = listen.await_line(r"^    derphole (pipe dhp1_\S+)$").group(1)
    listen.await_line(f"{LIFE.replace('code', 'token')}sender.$")
    assert listen.lines[0] == "On the other machine, run:"
    desk.derphole("pipe", *command.split(), stdin=b"as it says").ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == b"as it says"
