"""Signals and deaths: what the process itself says, and what the other side is told."""

import signal
import subprocess

import pytest
from desk import Desk, token_of
from support.processes import Process
from tokens import session_text

from derphole.token.grant import Capability

pytestmark = pytest.mark.e2e

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SILENCE_S = 5.0  # until a survivor says that it hears nothing
GIVE_UP_S = 60.0
SLACK_S = 10.0
STALL = (
    r"^no answer from the other side for 5 s; "
    r"giving up after 60 s$"
)

each_signal = pytest.mark.parametrize("signum", SIGNALS, ids=lambda signum: signum.name)
each_side = pytest.mark.parametrize("side", ["listen", "pipe"])


@each_signal
def test_a_signal_ends_either_side_while_it_waits(desk: Desk, signum: signal.Signals) -> None:
    port = int(desk.relay_url.rpartition(":")[2])
    pipe = desk.pipe(session_text(Capability.LISTEN, port), "--verbose", stdin=subprocess.PIPE)
    listen = desk.listen()
    token_of(listen)
    pipe.await_line("connected to relay")

    for process in (listen, pipe):
        process.send_signal(signum)
        process.ends_with(SIGNALS[signum], f"^interrupted by {signum.name}$")
        assert process.stdout == b""


@each_signal
@each_side
def test_a_signal_in_a_transfer_is_named_on_both_sides(
    desk: Desk, signum: signal.Signals, side: str
) -> None:
    listen, pipe = transfer_under_way(desk)
    ended, other = (listen, pipe) if side == "listen" else (pipe, listen)

    ended.send_signal(signum)

    ended.ends_with(SIGNALS[signum], f"^interrupted by {signum.name}$")
    other.ends_with(
        1, rf"^the other side stopped: it was interrupted by {signum.name}; ", timeout_s=5.0
    )
    assert listen.stdout == b"the beginning"


@each_side
def test_a_signal_in_a_flood_is_named_on_both_sides(desk: Desk, side: str) -> None:
    listen = desk.listen("--verbose", stdout=subprocess.DEVNULL)
    with open("/dev/zero", "rb") as endless:
        pipe = desk.pipe(token_of(listen), stdin=endless)
    listen.await_line("^connected-relay$")
    ended, other = (listen, pipe) if side == "listen" else (pipe, listen)

    ended.send_signal(signal.SIGINT)

    ended.ends_with(130, "^interrupted by SIGINT$")
    other.ends_with(1, "^the other side stopped: it was interrupted by SIGINT; ", timeout_s=5.0)


def test_a_signal_is_named_on_both_sides_also_when_the_way_is_jammed(desk: Desk) -> None:
    words = ["--listen", "127.0.0.1:0", "--stun-port", "off", "--rate", "2M"]
    relay = desk.derphole("relay", "relay", *words)
    url = relay.await_line(r"^relay ready: (http\S+)").group(1)
    listen = desk.derphole("listen", "listen", "--relay", url)
    with open("/dev/zero", "rb") as endless:
        pipe = desk.pipe(token_of(listen), stdin=endless)
    listen.await_output(4 << 20)

    pipe.send_signal(signal.SIGINT)

    pipe.ends_with(130, "^interrupted by SIGINT$")
    listen.ends_with(1, "^the other side stopped: it was interrupted by SIGINT; ", timeout_s=5.0)


@each_side
@pytest.mark.alongside("waits")
def test_the_survivor_of_a_kill_says_what_it_waits_for(
    desk: Desk, side: str, is_full: bool
) -> None:
    listen, pipe = transfer_under_way(desk)
    killed, survivor = (listen, pipe) if side == "listen" else (pipe, listen)

    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL

    survivor.await_line(STALL, SILENCE_S + SLACK_S)
    assert survivor.is_running
    if is_full:
        survivor.ends_with(
            1,
            r"^timed out after 6\d s waiting for .*no answer from the other side",
            timeout_s=GIVE_UP_S + SLACK_S,
        )
    else:
        survivor.send_signal(signal.SIGTERM)
        survivor.ends_with(143)


@each_side
def test_a_stopped_process_that_goes_on_goes_on_with_the_transfer(desk: Desk, side: str) -> None:
    listen, pipe = transfer_under_way(desk)
    stopped, other = (listen, pipe) if side == "listen" else (pipe, listen)

    stopped.send_signal(signal.SIGSTOP)
    pipe.feed(b" and the rest")
    if side == "listen":
        other.await_line(STALL, SILENCE_S + SLACK_S)
    stopped.send_signal(signal.SIGCONT)
    if side == "listen":
        other.await_line(r"^the other side is back after \d+ s$")
    pipe.end_input()

    pipe.ends_with(0, "^sent 26B")
    listen.ends_with(0, "^received 26B")
    assert listen.stdout == b"the beginning and the rest"


def transfer_under_way(desk: Desk) -> tuple[Process, Process]:
    """A listener and a sender of which one has written what the other sent first."""
    listen = desk.listen()
    pipe = desk.pipe(token_of(listen), stdin=subprocess.PIPE)
    pipe.feed(b"the beginning")
    listen.await_output(13)
    return listen, pipe
