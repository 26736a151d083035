"""OpenSSH through a tunnel, as the README has it: by a port, and as ProxyCommand, to a real sshd."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import Desk
from support.processes import Process, await_true, clean_environment, free_port, record_figure
from support.programs import needs
from support.real_sshd import Machine
from test_what_tmux_shows import Screen
from tunnels import Tunnel

from tunnel.units import MIB

pytestmark = pytest.mark.e2e

SSH_S = 90
BANNER_S = 2.0  # within which the server's first line comes; asserted at three times that


@pytest.fixture(scope="module")
def shared_site() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.close()


class Site:
    """A real sshd behind a tunnel, and a key that lets in."""

    def __init__(self, machine: Machine, desk: Desk) -> None:
        machine.empty_home()
        (machine.home / ".ssh").mkdir(mode=0o700)
        machine.keys.write_bytes(Path(f"{machine.key}.pub").read_bytes())
        machine.keys.chmod(0o600)
        for path in (machine.home / ".ssh", machine.keys):
            machine.give(path)
        self.machine, self.desk = machine, desk
        self.tunnel = Tunnel(desk)
        self.client = self.tunnel.client("laptop")
        self.serve = self.tunnel.serve(machine.port)
        self.folder = desk.folder / "ssh"
        self.folder.mkdir(mode=0o700)

    def options(self, *more: str) -> list[str]:
        """Return the options of every ssh here, which know nothing of this machine's settings."""
        chosen = ("BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no",
                  f"UserKnownHostsFile={self.folder}/known", "IdentityAgent=none", "LogLevel=ERROR",
                  *more)  # fmt: skip
        return ["-F", "/dev/null", "-i", str(self.machine.key), *(f"-o{each}" for each in chosen)]

    def by_proxy(self, *more: str) -> list[str]:
        return self.options(f"ProxyCommand={self.tunnel.proxy(self.client)}", *more)

    def run(
        self, command: list[str], *, stdin: bytes | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {**clean_environment(self.desk.folder), "HOME": str(self.folder)}
        environment.pop("SSH_AUTH_SOCK", None)
        return subprocess.run(
            command,
            env=environment,
            cwd=self.folder,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=SSH_S,
            check=False,
        )

    def start(self, name: str, command: list[str]) -> Process:
        return self.desk.run(name, command, variables={"HOME": str(self.folder)})

    @property
    def where(self) -> str:
        return f"{self.machine.user}@host.behind.the.tunnel"

    def proxies(self) -> list[int]:
        """Return the processes that ssh has for its proxies."""
        return [pid for pid, line in self.tunnel.processes().items() if " connect " in line]

    def check_no_proxy_is_left(self) -> None:
        await_true(
            lambda: not self.proxies(),
            "no proxy is left",
            20,
        )


@pytest.fixture
def site(shared_machine: Machine, desk: Desk) -> Site:
    return Site(shared_machine, desk)


@pytest.fixture(scope="module")
def shared_machine(shared_site: Machine) -> Machine:
    return shared_site


def test_the_exit_status_of_a_remote_command_comes_back_by_both_ways(site: Site) -> None:
    _, port = site.tunnel.open(site.client)
    by_port = ["ssh", *site.options(), "-p", str(port), f"{site.machine.user}@127.0.0.1"]
    by_proxy = ["ssh", *site.by_proxy(), site.where]

    for command in (by_port, by_proxy):
        done = site.run([*command, "id -un; exit 7"])
        assert done.returncode == 7, done
        assert done.stdout.decode().strip() == site.machine.user
        assert done.stderr == b""
    site.check_no_proxy_is_left()


def test_the_printed_block_is_all_that_ssh_needs(site: Site) -> None:
    block = site.tunnel.derptun(
        "connect", "--stdio", "--token-file", str(site.client), "--print-ssh-config", "myhost"
    ).stdout
    config = site.folder / "config"
    config.write_text(
        f"{block}    User {site.machine.user}\n    IdentityFile {site.machine.key}\n"
        f"    StrictHostKeyChecking no\n    UserKnownHostsFile {site.folder}/known\n"
    )

    done = site.run(["ssh", "-F", str(config), "-o", "BatchMode=yes", "myhost", "echo in"])

    assert (done.returncode, done.stdout) == (0, b"in\n"), done


def test_much_goes_through_exactly_both_ways(site: Site, is_full: bool) -> None:
    size = (200 if is_full else 16) * MIB
    data = os.urandom(MIB) * (size // MIB)
    there = site.machine.home / "there"

    up = site.run(["ssh", *site.by_proxy(), site.where, f"cat > {there}"], stdin=data)
    down = site.run(["ssh", *site.by_proxy(), site.where, f"cat {there}"])

    assert (up.returncode, down.returncode) == (0, 0), (up.stderr, down.stderr)
    expected = hashlib.sha256(data).digest()
    assert hashlib.sha256(there.read_bytes()).digest() == expected
    assert hashlib.sha256(down.stdout).digest() == expected


@pytest.mark.timeout(500)
@pytest.mark.parametrize("who", ["serve", "open"])
def test_scp_lives_through_minutes_of_silence(site: Site, is_full: bool, who: str) -> None:
    """A process that is stopped is as silent as a network that is away."""
    needs("scp")
    opened, port = site.tunnel.open(site.client)
    size, silent_s = (200 * MIB, 180.0) if is_full else (64 * MIB, 15.0)
    data = os.urandom(MIB) * (size // MIB)
    source, there = site.folder / "data", site.machine.home / "data"
    source.write_bytes(data)
    # As slow as 20 MB/s, so that it is under way when the silence begins.
    command = ["scp", "-l", "160000", *site.options(), "-P", str(port), str(source)]
    copying = site.start("scp", [*command, f"{site.machine.user}@127.0.0.1:{there}"])
    await_true(lambda: there.exists() and there.stat().st_size > MIB, "scp is under way")

    stopped = site.serve if who == "serve" else opened
    stopped.send_signal(signal.SIGSTOP)
    time.sleep(silent_s)
    stopped.send_signal(signal.SIGCONT)

    assert copying.wait(120) == 0, copying.story
    assert hashlib.sha256(there.read_bytes()).digest() == hashlib.sha256(data).digest()


def test_sftp_and_a_forwarded_port_work(site: Site) -> None:
    needs("sftp")
    (site.folder / "up").write_bytes(b"by sftp")
    batch = site.folder / "batch"
    batch.write_text("put up over\nget over down\nrm over\n")
    done = site.run(["sftp", *site.by_proxy(), "-b", str(batch), site.where])
    assert done.returncode == 0, done
    assert (site.folder / "down").read_bytes() == b"by sftp"

    port = free_port()
    forward = f"{port}:127.0.0.1:{site.machine.port}"
    forwarding = site.start("ssh -N", ["ssh", *site.by_proxy(), "-N", "-L", forward, site.where])
    inner = ["ssh", *site.options(), "-p", str(port), f"{site.machine.user}@127.0.0.1", "echo in"]
    await_true(lambda: site.run(inner).stdout == b"in\n", "the forwarded port works")
    forwarding.send_signal(signal.SIGTERM)
    forwarding.wait()
    site.check_no_proxy_is_left()


def test_sessions_that_share_one_connection_outlive_the_first_and_leave_nothing(site: Site) -> None:
    socket = site.folder / "control"
    shared = site.by_proxy("ControlMaster=auto", f"ControlPath={socket}", "ControlPersist=30")

    first = site.run(["ssh", *shared, site.where, "echo one"])
    assert first.stdout == b"one\n", first
    time.sleep(1.5)  # a proxy that watched its parent would be gone
    second = site.run(["ssh", *shared, site.where, "echo two"])

    assert second.stdout == b"two\n", second
    assert len(site.proxies()) == 1
    site.run(["ssh", *shared, "-O", "exit", site.where])
    site.check_no_proxy_is_left()


def test_sessions_and_a_port_with_one_token_at_once_do_not_disturb_each_other(site: Site) -> None:
    _, port = site.tunnel.open(site.client)
    held = [
        site.start(f"ssh {number}", ["ssh", *site.by_proxy(), site.where, "echo up; exec sleep 60"])
        for number in range(2)
    ]
    for process in held:
        process.await_output(3)
    by_port = ["ssh", *site.options(), "-p", str(port), f"{site.machine.user}@127.0.0.1"]

    for number in range(3):
        assert site.run([*by_port, f"echo {number}"]).stdout == b"%d\n" % number

    assert all(process.is_running for process in held)
    links = re.findall(
        r"^    client laptop [0-9a-f]{16}: ", site.tunnel.derptun("status").stderr, re.MULTILINE
    )
    assert len(links) == 3
    for process, number in zip(held, (signal.SIGTERM, signal.SIGKILL), strict=True):
        process.send_signal(number)
        process.wait()
    site.check_no_proxy_is_left()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_no_proxy_is_left_however_ssh_ends(site: Site, number: signal.Signals) -> None:
    process = site.start("ssh", ["ssh", *site.by_proxy(), site.where, "echo up; exec sleep 60"])
    process.await_output(3)

    process.send_signal(number)
    process.wait()

    site.check_no_proxy_is_left()
    site.serve.await_line(r"client 1 \(laptop [0-9a-f]{16}\) (left|is reconnecting)")


def test_a_person_works_in_a_session_whose_window_changes(site: Site) -> None:
    needs("tmux")
    screen = Screen(site.folder, 100)
    try:
        words = " ".join(f"'{each}'" for each in ["ssh", "-tt", *site.by_proxy(), site.where])
        screen.type(f"{words} sh -i")
        screen.await_text(r"\$ $")
        screen.type("echo $((6 * 7)); stty size")
        screen.await_text(r"^42$")
        screen.await_text(r"^\d+ 100$")
        screen.resize(60)
        screen.type("stty size")
        screen.await_text(r"^\d+ 60$")
        screen.type("exit")
    finally:
        screen.close()
    site.check_no_proxy_is_left()


def test_nothing_is_said_once_it_runs_and_the_banner_comes_at_once(site: Site) -> None:
    began_at = time.monotonic()
    process = site.tunnel.connect(site.client, stdin=subprocess.PIPE)
    banner = process.await_output(8)
    took_s = time.monotonic() - began_at

    assert banner.startswith(b"SSH-2.0-")
    record_figure("derptun connect to the ssh banner", f"{took_s:.2f} s", f"{BANNER_S:.0f} s")
    assert took_s < 3 * BANNER_S
    process.feed(b"nonsense\r\n")
    process.ends_with(0)
    assert process.lines == []


def test_what_is_said_last_is_kept_in_a_log_where_ssh_throws_it_away(site: Site) -> None:
    log = site.folder / "log"
    process = site.tunnel.connect(site.client, "--log-file", str(log), stdin=subprocess.PIPE)
    process.await_output(8)

    site.serve.send_signal(signal.SIGTERM)
    process.ends_with(1)

    assert process.lines == []
    last = log.read_text().splitlines()[-1]
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:]+Z the connection through the tunnel ended before", last)
    assert log.stat().st_mode & 0o077 == 0


RECORDER = """
import json, sys
from derphole.cli import main as program
from derphole.derptun import connect
at_ready = set()
run = connect.Connect.run
def recorded(self, on_running):
    def running():
        on_running()
        at_ready.update(sys.modules)
    run(self, running)
connect.Connect.run = recorded
leave = program.leave
def told(exit_code):
    with open(sys.argv.pop(), "w") as file:
        json.dump(sorted(set(sys.modules) - at_ready), file)
    leave(exit_code)
program.leave = told
program.main()
"""


def test_nothing_is_imported_once_it_runs(site: Site) -> None:
    """A program that runs must survive that its files are replaced by those of another version."""
    told = site.folder / "imported"
    words = ["derptun", "connect", "--stdio", "--token-file", str(site.client)]
    process = site.desk.run(
        "recorded",
        [sys.executable, "-c", RECORDER.replace("sys.argv.pop()", repr(str(told))), *words],
        stdin=subprocess.PIPE,
    )
    process.await_output(8)
    process.feed(b"nonsense\r\n")
    process.ends_with(0)

    assert json.loads(told.read_text()) == []
