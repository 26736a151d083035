"""Other programs that move a file from here to there, each measured as a person would run it.

    program          what moves the bytes                           from
    iperf3           one TCP flow, from memory to nowhere           the system
    scp              SSH, with an sshd of its own                   the system
    magic-wormhole   its transit protocol, both its servers here    scripts/peers/wormhole.txt
    tailcat          WireGuard; `derphole relay` is its relay       scripts/peers/tailcat.txt
    Go derphole      the program that DERPHOLE_GO names             whoever set it

Everything runs in a namespace that has nothing but its loopback, so that no program can reach
anything else.  A rival says what it lacks, or moves a file and returns the seconds from the
sender's start until both ends are done.
"""

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from processes import DERPHOLE, Process

sys.path.append(str(Path(__file__).resolve().parents[1] / "peers"))

from fetch_peers import TAILCAT, WORMHOLE_FOLDER

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "scripts/bench --versus --install fetches it"
LOOPBACK = "127.0.0.1"
# Free in a namespace of our own.
RELAY_PORT, STUN_PORT = 3340, 3478
MAILBOX_PORT, TRANSIT_PORT = 4000, 4001
SSH_PORT = 4022
IPERF_PORT = 5201
LIMIT_S = 600.0
READY_S = 20.0
QUIET = subprocess.DEVNULL
# sshd wants a folder below /run that the machine need not have; nobody else sees this one.
SSHD = 'mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "$@"'


class Failed(Exception):
    """A program did not move the file; the text says what it said."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where programs run.

    Args:
        inside: what a command line begins with that runs in the namespace.
        folder: private to this measurement.
    """

    inside: Sequence[str]
    folder: Path

    def command(self, *command: object) -> list[str]:
        return [*self.inside, *map(str, command)]

    def environment(self, **more: str) -> dict[str, str]:
        """Return variables that keep every program's files in the folder."""
        home = str(self.folder)
        return {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home, **more}


class Rival:
    """One program."""

    name = ""

    def lacks(self) -> str:
        """Return what is missing, and how to get it; the empty text if nothing is."""
        raise NotImplementedError

    @contextmanager
    def servers(self, site: Site) -> Iterator[None]:
        """Run what the program needs beside both ends."""
        yield

    def move(self, site: Site, source: Path, copy: Path) -> float:
        """Move a file and return the seconds it took; raises `Failed`."""
        raise NotImplementedError


class Derphole(Rival):
    """`listen` and `pipe` of this checkout."""

    def __init__(self, name: str, *options: str) -> None:
        self.name = name
        self._options = options

    def lacks(self) -> str:
        return ""

    @contextmanager
    def servers(self, site: Site) -> Iterator[None]:
        with relay(site):
            yield

    def move(self, site: Site, source: Path, copy: Path) -> float:
        url = f"http://{LOOPBACK}:{RELAY_PORT}"
        listen = site.command(*DERPHOLE, "listen", "--relay", url)
        pipe = site.command(*DERPHOLE, "pipe", *self._options)
        return listen_and_pipe(listen, pipe, r"dhp1_\S+", source, copy, None)


class GoDerphole(Rival):
    """`listen` and `pipe` of the Go program."""

    name = "Go derphole"

    def lacks(self) -> str:
        program = os.environ.get("DERPHOLE_GO")
        if not program:
            return "set DERPHOLE_GO to the Go program"
        return "" if shutil.which(program) else f"DERPHOLE_GO names no program: {program}"

    @contextmanager
    def servers(self, site: Site) -> Iterator[None]:
        with relay(site):
            yield

    def move(self, site: Site, source: Path, copy: Path) -> float:
        program = os.environ["DERPHOLE_GO"]
        url = f"http://{LOOPBACK}:{RELAY_PORT}"
        environment = site.environment(
            DERPHOLE_TEST_DERP_MAP_URL=f"{url}/derpmap",
            DERPHOLE_TEST_DERP_SERVER_URL=f"{url}/derp",
            TS_DEBUG_USE_DERP_HTTP="true",
        )
        listen, pipe = site.command(program, "listen"), site.command(program, "pipe")
        token = r"^[A-Za-z0-9_-]{20,}$"
        return listen_and_pipe(listen, pipe, token, source, copy, environment)


class Tailcat(Rival):
    """One `tailcat` that listens, one that connects."""

    name = "tailcat"
    program = TAILCAT
    # It gives up when no answer came within 10 s, which a busy machine makes of its first contact.
    attempts = 3

    def lacks(self) -> str:
        return "" if self.program.exists() else INSTALL

    @contextmanager
    def servers(self, site: Site) -> Iterator[None]:
        with relay(site):
            yield

    def move(self, site: Site, source: Path, copy: Path) -> float:
        environment = site.environment(
            TAILCAT_DERPMAP_URL=f"http://{LOOPBACK}:{RELAY_PORT}/derpmap",
            TS_DEBUG_USE_DERP_HTTP="true",  # the relay has no certificate
        )
        ends = site.command(self.program, "--key=new")
        token = r"\btc[A-Za-z0-9_-]{40,}"
        for _ in range(self.attempts - 1):
            with suppress(Failed):
                return listen_and_pipe(ends, ends, token, source, copy, environment)
        return listen_and_pipe(ends, ends, token, source, copy, environment)


class Wormhole(Rival):
    """`wormhole send` and `wormhole receive`, with both servers here."""

    name = "magic-wormhole"
    folder = WORMHOLE_FOLDER
    code = "1-bench-mark"

    def lacks(self) -> str:
        return "" if (self.folder / "wormhole").exists() else INSTALL

    @contextmanager
    def servers(self, site: Site) -> Iterator[None]:
        mailbox = ["wormhole-mailbox", f"--port=tcp:{MAILBOX_PORT}:interface={LOOPBACK}"]
        transit = ["transitrelay", f"--port=tcp:{TRANSIT_PORT}:interface={LOOPBACK}"]
        mailbox += ["--channel-db", str(site.folder / "mailbox.sqlite")]
        with (
            running(site.command(self.folder / "twist", *mailbox), MAILBOX_PORT, site),
            running(site.command(self.folder / "twist", *transit), TRANSIT_PORT, site),
        ):
            yield

    def move(self, site: Site, source: Path, copy: Path) -> float:
        program = [self.folder / "wormhole", f"--relay-url=ws://{LOOPBACK}:{MAILBOX_PORT}/v1"]
        program.append(f"--transit-helper=tcp:{LOOPBACK}:{TRANSIT_PORT}")
        send = site.command(*program, "send", "--hide-progress", "--code", self.code, source)
        receive = [*program, "receive", "--hide-progress", "--accept-file", "-o", copy, self.code]
        copy.unlink(missing_ok=True)  # it overwrites nothing
        environment = site.environment()
        began = time.perf_counter()
        ends = [
            Process(command, QUIET, QUIET, environment)
            for command in (send, site.command(*receive))
        ]
        _finish(*ends)
        return time.perf_counter() - began


class Scp(Rival):
    """scp to an sshd of its own, with keys of its own."""

    name = "scp"

    def lacks(self) -> str:
        missing = [name for name in ("scp", "sshd", "ssh-keygen") if _system_program(name) is None]
        if missing:
            return f"{', '.join(missing)}: apt-get install openssh-client openssh-server"
        return "" if os.geteuid() == 0 else "needs root, for an sshd of its own"

    @contextmanager
    def servers(self, site: Site) -> Iterator[None]:
        for name in ("host", "user"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", site.folder / name]
            subprocess.run(list(map(str, make)), check=True)
        options = {
            "Port": SSH_PORT,
            "ListenAddress": LOOPBACK,
            "HostKey": site.folder / "host",
            "AuthorizedKeysFile": site.folder / "user.pub",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PermitRootLogin": "prohibit-password",
            "Subsystem": "sftp internal-sftp",
        }
        configuration = site.folder / "sshd.conf"
        configuration.write_text("".join(f"{key} {value}\n" for key, value in options.items()))
        sshd = [_system_program("sshd"), "-D", "-e", "-f", configuration]
        with running(
            site.command("unshare", "--mount", "sh", "-c", SSHD, "sh", *sshd), SSH_PORT, site
        ):
            yield

    def move(self, site: Site, source: Path, copy: Path) -> float:
        options = [
            "-q",
            "-F",
            "none",
            "-P",
            SSH_PORT,
            "-i",
            site.folder / "user",
            "-o",
            "BatchMode=yes",
        ]
        options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        target = f"{getpass.getuser()}@{LOOPBACK}:{copy}"
        began = time.perf_counter()
        _finish(Process(site.command("scp", *options, source, target), QUIET, QUIET))
        return time.perf_counter() - began


class Iperf(Rival):
    """As many bytes in one TCP flow as the file has; nothing is read or written."""

    name = "iperf3"

    def lacks(self) -> str:
        return "" if shutil.which("iperf3") else "apt-get install iperf3"

    def move(self, site: Site, source: Path, copy: Path) -> float:
        with running(site.command("iperf3", "-s", "-B", LOOPBACK), IPERF_PORT, site):
            client = site.command("iperf3", "-c", LOOPBACK, "-n", source.stat().st_size, "--json")
            done = subprocess.run(
                client, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        if done.returncode:
            raise Failed(f"iperf3: {done.stdout}{done.stderr}")
        shutil.copyfile(source, copy)  # so that every copy can be checked
        return float(json.loads(done.stdout)["end"]["sum_received"]["seconds"])


def all_rivals() -> list[Rival]:
    """Return ours first, then everybody else."""
    ours = [Derphole("derphole"), Derphole("derphole, relayed", "--force-relay")]
    return [*ours, Iperf(), Scp(), Wormhole(), Tailcat(), GoDerphole()]


@contextmanager
def relay(site: Site) -> Iterator[None]:
    """Run `derphole relay`, with STUN."""
    address = f"{LOOPBACK}:{RELAY_PORT}"
    command = [*DERPHOLE, "relay", "--listen", address, "--stun-port", STUN_PORT]
    with running(site.command(*command), RELAY_PORT, site):
        yield


@contextmanager
def running(command: Sequence[str], port: int, site: Site) -> Iterator[None]:
    """Run a server, from when its port takes connections."""
    process = Process(command, QUIET, QUIET, site.environment())
    try:
        await_port(site, port, process)
        yield
    finally:
        process.stop()


def listen_and_pipe(
    listen: Sequence[str],
    pipe: Sequence[str],
    token: str,
    source: Path,
    copy: Path,
    environment: Mapping[str, str] | None,
) -> float:
    """Start one end, hand its token to the other, and return the seconds from there."""
    with copy.open("wb") as sink:
        receiver = Process(listen, QUIET, sink, environment)
    found = receiver.wait_line(token)
    began = time.perf_counter()
    with source.open("rb") as data:
        sender = Process([*pipe, found], data, QUIET, environment)
    _finish(sender, receiver)
    return time.perf_counter() - began


def _finish(*ends: Process) -> None:
    """Wait for each end in turn; if one fails, the others are ended."""
    for number, end in enumerate(ends):
        if end.finish(LIMIT_S).exit_code:
            for other in ends[number + 1 :]:
                other.stop()
            raise Failed("\n".join(line for each in ends for line in each.lines))


def await_port(site: Site, port: int, process: Process) -> None:
    """Wait until something listens on a port in the namespace."""
    wanted = re.compile(rf"^\s*\d+: \S+:{port:04X} \S+ 0A ", re.MULTILINE)
    deadline = time.monotonic() + READY_S
    while not wanted.search(_tcp_table(site)):
        if time.monotonic() > deadline:
            raise Failed(f"nothing listens on port {port}: {process.lines}")
        time.sleep(0.05)  # the kernel tells nobody that a port was bound


def _tcp_table(site: Site) -> str:
    command = site.command("cat", "/proc/self/net/tcp", "/proc/self/net/tcp6")
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _system_program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
