"""Systems that refuse something: what is optional is done without, what is not has one sentence."""

import os
import shutil
import sys
from pathlib import Path
from subprocess import DEVNULL

import pytest
from desk import Desk, token_of
from support.processes import PROGRAM, Process
from support.sandbox import IS_SUPPORTED

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not IS_SUPPORTED, reason="this system has no filter of system calls"),
]

SANDBOX = Path(__file__).parents[1] / "support" / "sandbox.py"
REFUSED = r"^this system lets the program start no more threads: .*raise the limit"
PAYLOAD = os.urandom(300_000)
LONELY_USER = 60123  # has no process but ours


def sandboxed(desk: Desk, things: str, name: str, *arguments: str, stdin: int | bytes) -> Process:
    """Run a command that is refused these things; without the watchdog, which needs a thread."""
    command = [sys.executable, SANDBOX, things, PROGRAM, name, *arguments]
    return desk.run(name, command, stdin=stdin, variables={"DERPHOLE_DEBUG": "0"})


@pytest.mark.parametrize("things", ["netlink", "prlimit", "netlink,prlimit"])
def test_a_sandbox_without_optional_facts_takes_nothing_else_away(desk: Desk, things: str):
    options = ("--listen", ":0", "--stun-port", "off")
    relay = sandboxed(desk, things, "relay", *options, stdin=DEVNULL)
    port = relay.await_line(r"^relay ready: http://\S+:(\d+) ").group(1)
    url = f"http://127.0.0.1:{port}"

    listen = sandboxed(desk, things, "listen", "--relay", url, stdin=DEVNULL)
    pipe = sandboxed(desk, things, "pipe", token_of(listen), stdin=PAYLOAD)
    pipe.ends_with(0, " by direct ")
    listen.ends_with(0)
    assert listen.stdout == PAYLOAD

    share = sandboxed(desk, things, "share", "--relay", url, "127.0.0.1:9", stdin=DEVNULL)
    opened = sandboxed(desk, things, "open", token_of(share), stdin=DEVNULL)
    opened.await_line("^listening on ")
    check = sandboxed(desk, things, "netcheck", "--relay", url, stdin=DEVNULL)
    check.wait()
    assert "Relays:" in check.stderr
    assert "bug in the program" not in check.stderr


@pytest.mark.parametrize(
    "line",
    [
        "relay --listen 127.0.0.1:0 --stun-port off",
        "listen",
        "pipe {token}",
        "share 127.0.0.1:9",
        "open {token}",
        "netcheck",
    ],
)
@pytest.mark.parametrize("form", ["", "--json"])
def test_where_no_thread_is_to_be_had_a_command_ends_with_one_sentence(
    desk: Desk, line: str, form: str
):
    is_open = line.startswith("open")
    listener = (
        desk.derphole("share", "share", "--relay", desk.relay_url, "127.0.0.1:9")
        if is_open
        else desk.listen()
    )
    token = token_of(listener)
    arguments = line.format(token=token).split() + ([form] if form else [])
    if arguments[0] in ("listen", "share", "netcheck"):
        arguments += ["--relay", desk.relay_url]

    process = sandboxed(desk, "threads", *arguments, stdin=PAYLOAD)

    assert process.wait() == 1, process.story
    assert "Traceback" not in process.stderr
    assert process.stderr.count("start no more threads") == 1
    if not form:
        process.ends_with(1, REFUSED)
        assert len(process.lines) == 1, process.story


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 6])
def test_a_limit_that_is_reached_later_is_told_as_well(desk: Desk, threads: int):
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("becomes a user with a limit of its own: needs root and setpriv")
    desk.folder.chmod(0o777)
    become = ["setpriv", f"--reuid={LONELY_USER}", "--clear-groups"]
    # The checkout may lie in a folder that only root reads.
    rights = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    limit = ["prlimit", f"--nproc={threads}"]
    token = token_of(desk.listen())
    command = [*become, *rights, *limit, PROGRAM, "pipe", token]

    pipe = desk.run("pipe", command, stdin=PAYLOAD, variables={"DERPHOLE_DEBUG": "0"})

    if pipe.wait() != 0:
        pipe.ends_with(1, REFUSED)
    assert "Traceback" not in pipe.stderr
