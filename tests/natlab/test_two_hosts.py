"""scripts/two-hosts in the lab: a host behind a NAT, reached by ssh through a forwarded port.

Every mode between both, then what must be noticed: a host or a program that is not there, what is
left behind, a run that is ended or killed in the middle.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab import Lab
from lab_sshd import LabSshd
from lab_transfers import Stage
from nat_kinds import NatKind
from support.processes import PROGRAM, ROOT, Process, await_true, clean_environment, record_figure
from topology import Topology
from wires import Impairment

SCRIPT = ROOT / "scripts" / "hosts_lib" / "two_hosts.py"
SSH_PORT = 2222
LIMIT_S = 120.0
FULL_LIMIT_S = 3000.0
MARK = b"TWO_HOSTS_RUN="
# Slow enough that a direct path is found before the end.
PROMOTED_RATE, PROMOTED_SIZE = "40mbit", "6M"
SLOW_RATE = "2mbit"

pytestmark = pytest.mark.timeout(300)


@dataclass
class Site:
    """A lab with two homes, a relay between them, and the way of one into the other.

    Args:
        near, far: the folders for temporary files here and there.
        ssh: the ssh command line.
    """

    lab: Lab
    stage: Stage
    sshd: LabSshd
    folder: Path
    near: Path
    far: Path

    @property
    def host(self) -> str:
        """How ssh calls the other machine, whose NAT forwards a port to its sshd."""
        return f"root@{self.lab.router('b').public_address}"

    @property
    def ssh(self) -> str:
        return self.sshd.command(SSH_PORT)

    def start(self, *words: object, host: str = "") -> Process:
        """Start the script on host a."""
        command = [sys.executable, SCRIPT, host or self.host, *words, "--relay", self.stage.url]
        if "--ssh" not in words:
            command += ["--ssh", self.ssh]
        if "--remote-program" not in words:
            command += ["--remote-program", f":{PROGRAM}"]
        command += ["--program", PROGRAM]
        environment = {**clean_environment(self.folder), "TMPDIR": str(self.near)}
        return Process("two-hosts", self.lab.a.command(command), self.folder, environment)

    def run(self, *words: object, host: str = "", limit_s: float = LIMIT_S) -> tuple[int, str, str]:
        """Run the script; returns its exit code, its table and what it said."""
        process = self.start(*words, host=host)
        try:
            code = process.wait(limit_s)
        finally:
            process.stop()
        story = f"{process.story}\n{process.stdout.decode()}\n{self.sshd.story}"
        assert "Traceback" not in process.stderr, story
        assert not re.search(r"\bd(hp|ts|tc)1_", process.stdout.decode() + process.stderr)
        return code, process.stdout.decode(), story

    def is_clean(self) -> bool:
        """Whether nothing of any run is left, at either side."""
        return not (os.listdir(self.near) or os.listdir(self.far) or self._marked())

    @property
    def has_both_programs(self) -> bool:
        """Whether something runs at either side."""
        return bool(self._marked(self.near) and self._marked(self.far))

    def _marked(self, *folders: Path) -> list[int]:
        """Return the processes of runs, whose folders lie in these, of the site if none is given."""
        found = []
        marks = [MARK + os.fsencode(folder) for folder in folders or (self.near, self.far)]
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if any(mark in entry.read_bytes() for mark in marks):
                    found.append(int(entry.parent.name))
        return found


@pytest.fixture(scope="module")
def site(obstacle: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if obstacle:
        pytest.skip(obstacle)
    folder = tmp_path_factory.mktemp("two-hosts")
    folders = {name: folder / name for name in ("keys", "stage", "near", "far")}
    for each in folders.values():
        each.mkdir()
    nat = NatKind.PORT_RESTRICTED
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(Topology(nat_a=nat, nat_b=nat)))
        sshd = LabSshd(lab.b, folders["keys"], folders["far"])
        stack.callback(sshd.close)
        sshd.forward(lab.router("b"), SSH_PORT)
        stage = Stage(lab, folders["stage"])
        stack.callback(stage.close)
        stage.start_relay()
        yield Site(lab, stage, sshd, folder, folders["near"], folders["far"])


@pytest.fixture(autouse=True)
def nothing_is_left(site: Site) -> Iterator[None]:
    yield
    assert site.is_clean()


@contextlib.contextmanager
def rate(site: Site, limit: str) -> Iterator[None]:
    """Make the wire of host a slow for a while."""
    site.lab.wire("a").impair(Impairment(rate=limit, queue_ms=100))
    try:
        yield
    finally:
        site.lab.wire("a").impair(Impairment())


def stand_in(path: Path, before: str) -> Path:
    """A program in one file that does something before it becomes ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{before}\nexec {PROGRAM} "$@"\n')
    path.chmod(0o755)
    return path


def rows_of(table: str) -> dict[str, str]:
    """Return the lines of a table by what they are about."""
    lines = [re.split(r" {2,}", line, maxsplit=1) for line in table.splitlines()]
    return {cells[0]: cells[1] for cells in lines if len(cells) > 1}


def assert_all_good(code: int, table: str, story: str, least: int) -> dict[str, str]:
    assert code == 0, story
    counted = re.fullmatch(r"(\d+) of (\d+) as they must be", table.splitlines()[-1])
    assert counted is not None, story
    assert counted[1] == counted[2], story
    assert int(counted[1]) >= least, story
    return rows_of(table)


# -- modes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["smoke", "relay"])
def test_bytes_go_either_way_with_a_program_that_was_copied(site: Site, tmp_path: Path, mode: str):
    """One in a file, the other in a folder."""
    program = stand_in(tmp_path / "build" / "derphole", ":")
    copied = program if mode == "smoke" else program.parent

    code, table, story = site.run(mode, "--remote-program", copied)

    rows = assert_all_good(code, table, story, 8)
    host = site.host.partition("@")[2]
    must = "relay then direct" if mode == "smoke" else "relay"
    for what in (f"{host} receives", f"{host} sends"):
        assert "1048576 of 1048576, the same SHA-256" in rows[f"{what}: bytes"]
        assert rows[f"{what}: path on both sides"].startswith(f"{must} / {must}")
        assert "Mbit/s" in rows[f"{what}: goodput"]
    for where in ("here", f"on {host}"):
        assert re.match(r"nothing; [1-9]\d* sockets closed", rows[f"left behind {where}"])


def test_a_service_is_shared_either_way_with_a_login_for_every_command(site: Site):
    """As with a program that is not OpenSSH's, or a person's own ControlMaster."""
    alone = f"{site.ssh} -o ControlMaster=no"

    code, table, story = site.run("share", "--size", "200K", "--ssh", alone)

    rows = assert_all_good(code, table, story, 12)
    for server in ("here", site.host.partition("@")[2]):
        for number in (1, 2):
            row = rows[f"{server} shares: request {number}"]
            assert row.startswith("204800 of 204800 came back, the same SHA-256 both ways")


def test_a_tunnel_comes_back_when_its_server_and_its_client_are_restarted(site: Site):
    code, table, story = site.run("derptun", "--size", "200K")

    rows = assert_all_good(code, table, story, 22)
    for server in ("here", site.host.partition("@")[2]):
        assert rows[f"{server} serves: lines by connect --stdio"].startswith("80 came back")
        ended = rows[f"{server} serves: the server ended in the middle of a tunnel"]
        assert ended.startswith("after 40 lines, exit code 0, the connection ended")
        back = rows[f"{server} serves: server started again, bytes after"]
        what = f"two hosts, {'here' if server == 'here' else 'HOST'} serves: bytes after a restart"
        record_figure(what, back.partition(" s")[0] + " s", "30 s")


@pytest.mark.slow
@pytest.mark.timeout(2 * FULL_LIMIT_S)
def test_a_transfer_is_promoted_under_way_and_its_goodput_is_told(site: Site, is_full: bool):
    size = "1G" if is_full else PROMOTED_SIZE
    limit_s = FULL_LIMIT_S if is_full else LIMIT_S
    with contextlib.nullcontext() if is_full else rate(site, PROMOTED_RATE):
        code, table, story = site.run("promotion", "--size", size, limit_s=limit_s)

    rows = assert_all_good(code, table, story, 10)
    host = site.host.partition("@")[2]
    for what in ("receives", "sends"):
        goodput = re.match(r"(\d+\.\d) Mbit/s", rows[f"{host} {what}: goodput"])
        assert goodput is not None
        if is_full:
            record_figure(f"two hosts, promotion of 1 GiB, HOST {what}", goodput[0], "told")


# -- what must be noticed --------------------------------------------------------------------


def test_what_is_left_behind_is_told_and_removed_and_other_bytes_fail(site: Site, tmp_path: Path):
    """A process that goes on, a file in the place for temporary ones, a byte too many."""
    listens = (
        f'[ "$1" != listen ] || {{ touch "$TMPDIR/rest"; sleep 600 <&- >&- 2>&- & '
        f'{PROGRAM} "$@"; code=$?; echo >>received; exit $code; }}'
    )
    program = stand_in(tmp_path / "derphole", listens)

    code, table, story = site.run("relay", "--size", "4K", "--remote-program", program)

    assert code == 1, story
    host, rows = site.host.partition("@")[2], rows_of(table)
    left = rows[f"left behind on {host}"]
    assert re.match(r"2 \(file, process\) +nothing +FAILED", left), story
    assert re.search(rf"left behind on {host}: process \d+: sleep 600", story)
    assert f"left behind on {host}: file tmp/rest" in story
    assert rows["left behind here"].endswith("ok"), story
    bytes_row = rows[f"{host} receives: bytes"]
    assert re.match(r"4097 of 4096, another SHA-256 +exact +FAILED", bytes_row), story


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("nowhere/derphole", 2, "there is no program nowhere/derphole to copy; scripts/binary"),
        (":/nowhere/derphole", 1, "the program /nowhere/derphole does not run on"),
        ("README.md", 2, "is no program"),
    ],
)
def test_a_program_that_is_not_there_is_named(site: Site, program: str, code: int, words: str):
    named = str(ROOT / program) if program == "README.md" else program

    found, table, story = site.run("smoke", "--remote-program", named)

    assert found == code, story
    assert words in story
    assert "FAILED" not in table


def test_a_host_that_cannot_be_reached_is_named_with_what_ssh_said(site: Site):
    """Nothing listens there."""
    nobody = site.lab.public_addresses[0]

    code, table, story = site.run("smoke", host=f"root@{nobody}")

    assert code == 1, story
    assert re.search(
        rf"two-hosts: ssh does not get into {re.escape(nobody)}: .*refused; "
        rf"this must work first: ssh .*-p {SSH_PORT} .*root@{re.escape(nobody)} true",
        story,
    )
    assert "FAILED" not in table


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["somoke"],
            "there is no mode 'somoke'; there are smoke, relay, share, derptun, promotion",
        ),
        ([], "the following arguments are required: MODE; see scripts/two-hosts --help"),
        (["smoke", "--size", "1X"], "'1X' is no size; write 4096, 64K, 8M or 1G"),
        (["smoke", "--relays", "x"], "unrecognized arguments: --relays x"),
    ],
)
def test_what_nobody_could_mean_is_refused_at_once(site: Site, words: list[str], sentence: str):
    process = site.start(*words)

    process.ends_with(2, re.escape(sentence))

    assert process.stdout == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_in_the_middle_leaves_nothing(site: Site, number: signal.Signals):
    with rate(site, SLOW_RATE):
        process = site.start("promotion", "--size", "8M")
        try:
            process.await_line("receives$")
            await_true(lambda: site.has_both_programs, "both programs run")
            process.send_signal(number)
            code = process.wait(LIMIT_S)
            await_true(site.is_clean, "both sides are clean", LIMIT_S)
        finally:
            process.stop()

    if number is signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 128 + number
        assert "scripts/two-hosts: ended by SIGINT" in process.lines
        rows = rows_of(process.stdout.decode())
        assert rows["left behind here"].endswith("ok")
        assert rows[f"left behind on {site.host.partition('@')[2]}"].endswith("ok")


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    """What does the work at either end, in a folder of its own."""
    helper = tmp_path / "helper.sh"
    helper.write_bytes((SCRIPT.parent / "helper.sh").read_bytes())
    call(helper, "prepare")
    return helper


def started(helper: Path, name: str, program: str, *words: str) -> subprocess.Popen[bytes]:
    helper.with_name("program.name").write_text(f"{program}\n")
    command = ["sh", str(helper), "start", name, *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def call(helper: Path, *words: str) -> str:
    done = subprocess.run(
        ["sh", helper, *words], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_a_socket_that_outlives_its_program_is_noticed(helper: Path):
    """Inherited by a process that has nothing else of the run."""
    holds = (
        "import os, socket, subprocess, sys\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "sock.bind(('127.0.0.1', 0))\n"
        "quiet = dict.fromkeys(('stdin', 'stdout', 'stderr'), subprocess.DEVNULL)\n"
        "rest = subprocess.Popen(['sleep', '600'], env={}, pass_fds=[sock.fileno()], **quiet)\n"
        "print(rest.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with started(helper, "holder", sys.executable, "-c", holds) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        rest = int(holder.stdout.readline())
        try:
            call(helper, "look")
            holder.stdin.close()
            assert holder.wait(LIMIT_S) == 0
            held = call(helper, "left", "0")
        finally:
            os.kill(rest, signal.SIGKILL)

    assert re.fullmatch(r"socket \d+\nsockets seen: 1\n", held)
    await_true(lambda: call(helper, "left") == "sockets seen: 1\n", "the socket is closed")


def test_a_program_of_two_processes_is_killed_whole_and_no_other(helper: Path):
    """As one in a single file is; names that begin alike are not taken for each other."""
    two = "sleep 600 & echo up; wait"
    with (
        started(helper, "open", "sh", "-c", two) as one,
        started(helper, "open-again", "sh", "-c", two) as other,
    ):
        for each in (one, other):
            assert each.stdout is not None
            assert each.stdout.readline() == b"up\n"

        call(helper, "signal", "KILL", "open")
        assert one.wait(LIMIT_S) == -signal.SIGKILL
        left = call(helper, "left", "0").splitlines()
        call(helper, "clean")

    assert other.returncode == -signal.SIGTERM
    assert [line.partition(": ")[2] for line in left[:-1]] == [f"sh -c {two}", "sleep 600"]
    assert call(helper, "left") == "sockets seen: 0\n"
