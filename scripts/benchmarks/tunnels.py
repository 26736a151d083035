"""derptun beside tailcat's `serve` and `forward`, and what a tunnel costs that nobody uses.

    connect     from the start of the process to the first line of what is served (a banner)
    scp         one file through `open`, and through `tailcat forward`, in turns
    idle        memory and processor of serve and open, a minute after they met
    a hundred   tunnels through one relay: each carries a line, and what the relay then holds

Everything runs in a namespace with nothing but its loopback; without root and sshd the rows of scp
are missing.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from figure import Figure
from processes import DERPHOLE, Process
from relayed import check_copy, write_random
from rivals import (
    LOOPBACK,
    QUIET,
    RELAY_PORT,
    ROOT,
    SSH_PORT,
    Failed,
    Scp,
    Site,
    Tailcat,
    await_port,
    relay,
)

sys.path += [str(ROOT / "tests" / part) for part in ("natlab", "")]

from namespaces import Namespace, ip_batch, missing_requirements, own_name, remove_namespaces

MIB = 1 << 20
SIZE, QUICK_SIZE = 1024 * MIB, 64 * MIB
TUNNELS, QUICK_TUNNELS = 100, 5
IDLE_S, QUICK_IDLE_S = 60.0, 5.0
URL = f"http://{LOOPBACK}:{RELAY_PORT}"
OPEN_PORT, FORWARD_PORT, BANNER_PORT = 2222, 2223, 2224
FIRST_PORT = 20000
BANNER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256)
while True:
    connection, _ = server.accept()
    connection.sendall(b"SSH-2.0-benchmark\\r\\n")
    connection.close()
"""
ASK = """
import socket, sys
for port in map(int, sys.argv[1:]):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        assert connection.recv(64) == b"SSH-2.0-benchmark\\r\\n", port
"""


def run(rounds: int, is_quick: bool) -> list[Figure]:
    if missing_requirements():
        return []
    figures: list[Figure] = []
    with ExitStack() as stack:
        site = _site(stack)
        stack.enter_context(relay(site))
        banner = [sys.executable, "-c", BANNER, BANNER_PORT]
        stack.enter_context(_running(site.command(*banner), BANNER_PORT, site))
        tunnel = Tunnel(site)
        figures += connect_figures(rounds, tunnel)
        figures += scp_figures(rounds, tunnel, QUICK_SIZE if is_quick else SIZE)
        figures += idle_figures(tunnel, QUICK_IDLE_S if is_quick else IDLE_S)
        figures += many_figures(tunnel, QUICK_TUNNELS if is_quick else TUNNELS)
    return figures


def _site(stack: ExitStack) -> Site:
    name = own_name("bench", "lo")
    ip_batch([f"netns add {name}"])
    stack.callback(remove_namespaces, [name])
    namespace = Namespace(name)
    namespace.ip("link set lo up")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="derphole-bench-", dir=memory))
    return Site(namespace.command([]), Path(folder))


class Tunnel:
    """Token files of one server, and the processes that use them."""

    def __init__(self, site: Site, name: str = "server") -> None:
        self.site = site
        self.server = site.folder / f"{name}.dts"
        self._do("token", "server", "--relay", URL, "--output", self.server)

    def client(self, name: str) -> Path:
        path = self.site.folder / f"{name}.dtc"
        self._do("token", "client", "--token-file", self.server, "--output", path)
        return path

    def _do(self, *words: object) -> None:
        command = self.site.command(*DERPHOLE, "derptun", *words)
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def start(self, line: str, *words: object) -> Process:
        """Start a command and wait for the line that says that it is ready."""
        process = Process(self.site.command(*DERPHOLE, "derptun", *words), QUIET, QUIET)
        process.wait_line(line)
        return process

    @contextmanager
    def serving(self, port: int) -> Iterator[Process]:
        words = ("--token-file", self.server, "--tcp", f"{LOOPBACK}:{port}")
        process = self.start("^serving ", "serve", *words)
        try:
            yield process
        finally:
            process.stop()

    @contextmanager
    def opened(self, client: Path, port: int) -> Iterator[Process]:
        words = ("--token-file", client, "--listen", f"{LOOPBACK}:{port}")
        process = self.start("^listening on ", "open", *words)
        try:
            yield process
        finally:
            process.stop()


@contextmanager
def _running(command: list[str], port: int, site: Site) -> Iterator[Process]:
    process = Process(command, QUIET, QUIET, site.environment())
    try:
        await_port(site, port, process)
        yield process
    finally:
        process.stop()


# -- connect ---------------------------------------------------------------------------------------


def connect_figures(rounds: int, tunnel: Tunnel) -> list[Figure]:
    """How long `connect` takes to the first byte."""
    client, samples = tunnel.client("connects"), []
    command = tunnel.site.command(
        *DERPHOLE, "derptun", "connect", "--stdio", "--token-file", client
    )
    with tunnel.serving(BANNER_PORT):
        for _ in range(2 * rounds):
            began = time.perf_counter()
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as process:
                assert process.stdout is not None
                line = process.stdout.readline()
                samples.append(time.perf_counter() - began)
            if not line.startswith(b"SSH-2.0-") or process.returncode:
                raise RuntimeError(f"connect failed: {line!r}, exit code {process.returncode}")
    what = "derptun connect to the banner, relay on loopback, from source"
    return [Figure(what, "s", samples, 0.5, 0.35, is_upper_bound=True)]


# -- scp -------------------------------------------------------------------------------------------


def scp_figures(rounds: int, tunnel: Tunnel, size: int) -> list[Figure]:
    """scp of one file through both programs; empty where something is missing."""
    site, tailcat = tunnel.site, Tailcat()
    if Scp().lacks():
        return []
    source, copy = site.folder / "source", site.folder / "copy"
    digest = write_random(source, size)
    seconds: dict[str, list[float]] = {"derptun": [], "tailcat": []}
    with ExitStack() as stack:
        stack.enter_context(Scp().servers(site))
        stack.enter_context(tunnel.serving(SSH_PORT))
        stack.enter_context(tunnel.opened(tunnel.client("scp"), OPEN_PORT))
        has_rival = not tailcat.lacks()
        if has_rival:
            stack.enter_context(forwarding(site))
        for _ in range(rounds):
            for name, port in (("derptun", OPEN_PORT), ("tailcat", FORWARD_PORT)):
                if name == "tailcat" and not has_rival:
                    continue
                seconds[name].append(_scp(site, port, source, copy))
                check_copy(copy, digest)
                copy.unlink()
    source.unlink()
    figures = [
        Figure(
            f"scp of {size // MIB} MiB through derptun open", "MB/s",
            [size / took / 1e6 for took in seconds["derptun"]],
        )
    ]  # fmt: skip
    if has_rival:
        pairs = zip(seconds["derptun"], seconds["tailcat"], strict=True)
        ratios = [other / ours for ours, other in pairs]
        figures.append(Figure("  against tailcat forward", "x", ratios, 1.2, 1.6))
        rates = [size / took / 1e6 for took in seconds["tailcat"]]
        figures.append(Figure("  tailcat forward", "MB/s", rates, is_other=True))
    return figures


@contextmanager
def forwarding(site: Site) -> Iterator[None]:
    """Run `tailcat serve` and `tailcat forward`."""
    environment = site.environment(
        TAILCAT_DERPMAP_URL=f"{URL}/derpmap",
        TS_DEBUG_USE_DERP_HTTP="true",  # the relay has no certificate
    )
    serve = Process(
        site.command(Tailcat.program, "--key=new", "serve", SSH_PORT), QUIET, QUIET, environment
    )
    try:
        address = serve.wait_line(r"\btc[A-Za-z0-9_-]{40,}")
        words = ("--key=new", "forward", address, f"{FORWARD_PORT}:{SSH_PORT}")
        forward = Process(site.command(Tailcat.program, *words), QUIET, QUIET, environment)
        try:
            await_port(site, FORWARD_PORT, forward)
            yield
        finally:
            forward.stop()
    finally:
        serve.stop()


def _scp(site: Site, port: int, source: Path, copy: Path) -> float:
    options = ["-q", "-F", "none", "-P", port, "-i", site.folder / "user", "-o", "BatchMode=yes"]
    options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    target = f"root@{LOOPBACK}:{copy}"
    began = time.perf_counter()
    process = Process(site.command("scp", *options, source, target), QUIET, QUIET)
    if process.finish().exit_code:
        raise Failed("\n".join(process.lines))
    return time.perf_counter() - began


# -- idle, and many --------------------------------------------------------------------------------


def idle_figures(tunnel: Tunnel, window_s: float) -> list[Figure]:
    """What both sides cost while nobody uses the tunnel; of each the larger."""
    with (
        tunnel.serving(BANNER_PORT) as serve,
        tunnel.opened(tunnel.client("idle"), OPEN_PORT) as it,
    ):
        _ask(tunnel.site, [OPEN_PORT])
        time.sleep(min(window_s, 10.0))
        both = (serve, it)
        before = [_cpu_s(process) for process in both]
        time.sleep(window_s)
        shares = [
            100 * (_cpu_s(process) - was) / window_s
            for process, was in zip(both, before, strict=True)
        ]
        memory = [_resident_mb(process) for process in both]
    return [
        Figure("idle tunnel, processor of the busier side", "%", [max(shares)], 0.1,
               is_upper_bound=True),
        Figure("  memory of the larger side", "MB", [max(memory)], 60, is_upper_bound=True),
    ]  # fmt: skip


def many_figures(tunnel: Tunnel, count: int) -> list[Figure]:
    """A hundred servers and clients through one relay."""
    site = tunnel.site
    began = time.perf_counter()
    with ExitStack() as stack:
        ports = []
        for number in range(count):
            one = Tunnel(site, f"server{number}")
            stack.enter_context(one.serving(BANNER_PORT))
            port = FIRST_PORT + number
            stack.enter_context(one.opened(one.client(f"client{number}"), port))
            ports.append(port)
        took_s = time.perf_counter() - began
        asked = time.perf_counter()
        _ask(site, ports)
        each_s = (time.perf_counter() - asked) / count
        relay_mb = _relay_mb(site)
    return [
        Figure(f"{count} tunnels through one relay, started and met", "s", [took_s]),
        Figure("  a connection through each, one after another", "s", [each_s]),
        Figure("  memory of the relay", "MB", [relay_mb]),
    ]


def _ask(site: Site, ports: list[int]) -> None:
    subprocess.run(site.command(sys.executable, "-c", ASK, *ports), check=True, timeout=600)


def _cpu_s(process: Process) -> float:
    return sum(_each(process.pid, lambda pid: _stat_seconds(pid)))


def _resident_mb(process: Process) -> float:
    return max(_each(process.pid, _resident))


def _each(pid: int, of: Callable[[int], float]) -> list[float]:
    """Return what is true of a process and of those that it started: `ip netns exec` stays none."""
    return [of(each) for each in _family(pid)]


def _family(pid: int) -> list[int]:
    found = [pid]
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            found += _family(int(child))
    return found


def _stat_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _relay_mb(site: Site) -> float:
    """Return what the relay of the namespace holds."""
    words = f"relay --listen {LOOPBACK}:{RELAY_PORT}".encode()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if words in entry.read_bytes().replace(b"\0", b" "):
                return _resident(int(entry.parent.name))
    return 0.0
