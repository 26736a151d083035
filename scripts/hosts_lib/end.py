"""One end of a check: this machine, or a host that ssh reaches; both are told the same words.

At each end one shell, the guard, makes the folder of the run and waits.  Once its standard input
ends, which it also does when this machine is gone, it ends what still runs there and removes the
folder.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from subprocess import DEVNULL, PIPE

from support.processes import Process

from hosts_lib.cargo import Cargo
from hosts_lib.flow import Flow, flow_of
from hosts_lib.service import Wire
from hosts_lib.trouble import Trouble, why_it_ended, without_tokens

# Chosen.
COMMAND_S = 120.0
LOGIN_S = 120.0  # somebody may have to type
READY_S = 30.0
END_S = 20.0
CLEAN_S = 30.0
PERSIST_S = 2  # after the last session, should nobody end it
CONNECT_S = 20
SSH_FAILED = 255
TOKEN_EVENT = r'"event": "token".*"token": "(dhp1_[A-Za-z0-9_-]+)"'
GUARD = """
umask 077
folder=$(mktemp -d "${TMPDIR:-/tmp}/two-hosts.XXXXXX") || exit 1
trap "" HUP INT PIPE TERM
echo "$folder"
cat >/dev/null
[ ! -f "$folder/helper.sh" ] || sh "$folder/helper.sh" clean
rm -rf "$folder"
"""


class End:
    """One end.  `open` makes its folder and installs the program, `close` removes all of it.

    Args:
        name: how people call it.
        shell: what a command line begins with that runs one text in a shell there.
        environment: of whatever is started here for it.
        log: the folder here for what its programs said.
    """

    is_far = False

    def __init__(self, name: str, shell: list[str], log: Path) -> None:
        self.name = name
        self.folder = ""
        self.platform = ""
        self.version = ""
        self._shell = shell
        self._log = log
        self._guard: Process | None = None
        self._programs: list[Program] = []
        self._helpers: list[Process] = []

    # -- life -------------------------------------------------------------------------------

    def open(self, cargo: Cargo) -> None:
        """Make the folder, install the program and see that it runs; raises `Trouble`."""
        self._guard = self._process("guard", GUARD, PIPE)
        try:
            self._guard.await_output(1, READY_S)
        except AssertionError:
            raise Trouble(f"{self.name} gives no temporary folder: {self._guard.stderr}") from None
        self.folder = self._guard.stdout.decode().strip()
        packed = cargo.packed(self.folder)
        self._run(f"cd {shlex.quote(self.folder)} && tar -xzof -", packed, "cannot unpack")
        self.platform = self.do("prepare").strip()
        try:
            self.version = self.do("start", "version", "version").strip()
        except Trouble as error:
            raise Trouble(
                f"the program {cargo.source or cargo.name} does not run on {self.name} "
                f"({self.platform}): {error}"
            ) from None

    def left(self) -> list[str]:
        """End what runs, and return what is left behind then, a line each.

        The last line tells how many sockets were looked for.
        """
        for program in self._programs:
            program.end()
        for helper in self._helpers:
            helper.stop()
        return self.do("left").splitlines()

    def close(self) -> list[str]:
        """Remove all that there is at this end; returns what could not be removed, a line each."""
        for each in (*(program.process for program in self._programs), *self._helpers):
            each.stop()
        if self._guard is None:
            return []
        self._guard.end_input()
        with contextlib.suppress(AssertionError):
            self._guard.wait(CLEAN_S)
        self._guard.stop()
        if not self.folder:
            return []
        try:
            there = self._run(f"ls -d {shlex.quote(self.folder)} 2>/dev/null; exit 0")
        except Trouble as error:
            return [f"whether {self.folder} is gone cannot be told: {error}"]
        return [f"folder {line}" for line in there.decode().splitlines()]

    # -- work -------------------------------------------------------------------------------

    def do(self, *words: object, stdin: bytes = b"") -> str:
        """Run a command of the helper to its end and return what it prints; raises `Trouble`."""
        return self._run(self._helper(*words), stdin).decode(errors="replace")

    def start(self, name: str, *words: object) -> "Program":
        """Start the program."""
        return self._program(name, self._helper("start", name, *words), DEVNULL)

    def start_fed(self, name: str, file: str, count: int, *words: object) -> "Program":
        """Start the program with a file of `data` as its input, of which `count` bytes go at once.

        `let_go` of the program lets it have the rest.
        """
        return self._program(name, self._helper("feed", file, count, name, *words), PIPE)

    def spoken(self, name: str, *words: object) -> Wire:
        """Start the program, and speak with it by its standard input and output."""
        return Wire.to_command(self._command(self._helper("start", name, *words)))

    def service_port(self, port: int) -> int:
        """Return the port there by which a service of this machine is reached."""
        return port

    def dial(self, port: int) -> Wire:
        """Connect to a port of the loopback there."""
        return Wire.to_port(port)

    def note_sockets(self) -> None:
        """Keep in mind which sockets the programs have now, to look for them at the end."""
        self.do("look")

    def path(self, name: str) -> str:
        """Return where a file of `data` lies there."""
        return f"{self.folder}/data/{name}"

    @property
    def received(self) -> str:
        """Where the program writes what it receives."""
        return f"{self.folder}/work/received"

    # -- inside -----------------------------------------------------------------------------

    def _helper(self, *words: object) -> str:
        return shlex.join(["sh", f"{self.folder}/helper.sh", *map(str, words)])

    def _command(self, text: str) -> list[str]:
        return [*self._shell, text]

    def _process(self, name: str, text: str, stdin: int) -> Process:
        environment = dict(os.environ)
        return Process(name, self._command(text), Path("/"), environment, stdin=stdin)

    def _program(self, name: str, text: str, stdin: int) -> "Program":
        program = Program(self, name, self._process(name, text, stdin), self._log)
        self._programs.append(program)
        return program

    def _run(self, text: str, stdin: bytes = b"", fault: str = "") -> bytes:
        done = subprocess.run(
            self._command(text),
            input=stdin,
            capture_output=True,
            timeout=COMMAND_S + len(stdin) / 1e5,
            start_new_session=True,
            check=False,
        )
        if done.returncode:
            words = without_tokens(done.stderr.decode(errors="replace").strip())
            last = words.splitlines()[-1] if words else f"exit code {done.returncode}"
            raise Trouble(f"{self.name} {fault}: {last}" if fault else last)
        return done.stdout


class Near(End):
    """This machine."""

    def __init__(self, log: Path) -> None:
        super().__init__("here", ["sh", "-c"], log)


class Far(End):
    """A host that ssh reaches.

    What is asked of a person is asked once: all connections go through the first one, where that
    is OpenSSH's and it was told nothing else.

    Args:
        ssh: the ssh command line, without the host.
        host: what ssh takes.
        log: see `End`.
    """

    is_far = True

    def __init__(self, ssh: list[str], host: str, log: Path) -> None:
        super().__init__(_short_name(host), [*ssh, host], log)
        self._has_control = False
        self._given, self._ssh, self._host = ssh, ssh, host

    def greet(self, folder: str) -> None:
        """Log in for the first time, when ssh may ask a person something; raises `Trouble`.

        In the folder here is the socket of the first connection.
        """
        first = self._given
        if Path(first[0]).name == "ssh" and not re.search(r" -S|Control", shlex.join(first)):
            self._ssh = [*first, "-S", f"{folder}/ssh"]
            self._shell = [*self._ssh, self._host]
            self._has_control = True
            first = [*self._ssh, "-o", "ControlMaster=yes", "-o", f"ControlPersist={PERSIST_S}"]
            first += ["-o", f"ConnectTimeout={CONNECT_S}"]
        with tempfile.TemporaryFile() as said:
            try:
                code = subprocess.run(
                    [*first, self._host, "exec sh -c 'exit 0'"],
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    stderr=said,  # no pipe: the first connection keeps it
                    timeout=LOGIN_S,
                    check=False,
                ).returncode
            except OSError as error:
                raise Trouble(f"{first[0]} cannot be run: {error.strerror}") from None
            except subprocess.TimeoutExpired:
                raise Trouble(f"{self.name} has not let ssh in for {LOGIN_S:g} s") from None
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines() or ["no reason given"]
        if code == SSH_FAILED:
            first_try = shlex.join([*self._given, self._host, "true"])
            raise Trouble(
                f"ssh does not get into {self.name}: {words[-1].strip()}; this must work first: "
                f"{first_try}"
            )
        if code:
            raise Trouble(f"{self.name} runs no sh: {words[-1].strip()}")

    def close(self) -> list[str]:
        left = super().close()
        if self._has_control:
            leave = [*self._ssh, "-O", "exit", self._host]
            subprocess.run(leave, capture_output=True, timeout=CLEAN_S, check=False)
        return left

    def service_port(self, port: int) -> int:
        option = ["-R", f"127.0.0.1:0:127.0.0.1:{port}", self._host]
        if self._has_control:
            command = [*self._ssh, "-O", "forward", *option]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=READY_S, check=False
            )
            if done.returncode == 0 and done.stdout.strip().isdigit():
                return int(done.stdout)
            raise self._no_forward(done.stderr)
        command = [*self._ssh, *option, self._helper("hold")]
        process = Process("forward", command, Path("/"), dict(os.environ), stdin=PIPE)
        self._helpers.append(process)
        try:
            return int(process.await_line(r"Allocated port (\d+)", READY_S).group(1))
        except AssertionError:
            raise self._no_forward(process.stderr) from None

    def _no_forward(self, said: str) -> Trouble:
        return Trouble(
            f"ssh forwards no port of {self.name}, which this check needs (AllowTcpForwarding in "
            f"sshd_config there): {said.strip() or 'no reason given'}"
        )

    def dial(self, port: int) -> Wire:
        return Wire.to_command([*self._ssh, "-W", f"127.0.0.1:{port}", self._host])

    def _command(self, text: str) -> list[str]:
        # The person's shell there may be of any kind; what it is given, it gives to sh.
        return [*self._shell, f"exec sh -c {shlex.quote(text)}"]


class Program:
    """The program, running at an end with --json."""

    def __init__(self, end: End, name: str, process: Process, log: Path) -> None:
        self.end_there = end
        self.name = name
        self.process = process
        self._log = log
        self._is_ended = False

    @property
    def who(self) -> str:
        """Which program where."""
        return f"{self.name} on {self.end_there.name}" if self.end_there.is_far else self.name

    @property
    def events(self) -> list[dict[str, object]]:
        """What it told; lines of ssh and shells are none."""
        lines = [line for line in self.process.lines if line.startswith("{")]
        return [event for line in lines if (event := _event(line))]

    @property
    def flow(self) -> Flow:
        """What it told of its paths."""
        return flow_of(self.events)

    def await_event(self, pattern: str, what: str, limit_s: float = READY_S) -> str:
        """Wait for a line, and return the first group of its match; raises `Trouble`."""
        try:
            match = self.process.await_line(pattern, limit_s)
        except AssertionError:
            if not self.process.is_running:
                raise Trouble(self._why(self.process.wait())) from None
            raise Trouble(f"{self.who} has not {what} within {limit_s:g} s") from None
        return match.group(1) if match.lastindex else match.group(0)

    def has_told(self, pattern: str, limit_s: float) -> bool:
        """Wait for a line; tell whether it came."""
        with contextlib.suppress(AssertionError):
            self.process.await_line(pattern, limit_s)
            return True
        return False

    def let_go(self) -> None:
        """Let a program that is fed have the rest of its input."""
        self.process.feed(b"\n")
        self.process.end_input()

    def finish(self, limit_s: float) -> None:
        """Wait for its end, which must be with exit code 0; raises `Trouble`."""
        try:
            code = self.process.wait(limit_s)
        except AssertionError:
            raise Trouble(f"{self.who} has not ended within {limit_s:g} s") from None
        self._keep()
        if code:
            raise Trouble(self._why(code))

    def signal(self, name: str) -> None:
        """Send it a signal, there."""
        self.end_there.do("signal", name, self.name)

    def end(self, signal: str = "TERM") -> int | None:
        """End it there if it still runs; returns its exit code, None if that did not come."""
        if self.process.is_running and not self._is_ended:
            with contextlib.suppress(Trouble):
                self.signal(signal)
        self._is_ended = True
        self.process.end_input()
        with contextlib.suppress(AssertionError):
            code = self.process.wait(END_S)
            self._keep()
            return code
        self._keep()
        return None

    def _why(self, code: int) -> str:
        return why_it_ended(self.who, code, self.events, self.process.stderr)

    def _keep(self) -> None:
        """Write down what it said, without tokens."""
        self._log.mkdir(parents=True, exist_ok=True)
        name = f"{self.end_there.name}-{self.name}"
        file = self._log / re.sub(r"[^\w.-]", "_", f"{name}.log")
        file.write_text(without_tokens(self.process.stderr) + "\n")


def _short_name(host: str) -> str:
    """Return a host's name without its user, its port and the kind of its address."""
    name = host.removeprefix("ssh://").rpartition("@")[2]
    return name.partition(":")[0] if host.startswith("ssh://") else name


def _event(line: str) -> dict[str, object] | None:
    with contextlib.suppress(ValueError):
        event = json.loads(line)
        return event if isinstance(event, dict) else None
    return None
