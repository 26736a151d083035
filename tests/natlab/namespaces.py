"""Network namespaces: made, entered, run in, and removed again, also after a crash.

The namespaces of one process wear its pid and its start time, so that a later run knows which of
them belong to nobody any more:

    derphole-<pid>-<start time of the process>-<lab>-<node>

Needs `ip` and `nsenter`, and either root or a user namespace (`rootless_command`).  Standard
library only.  Must not know NAT, wires or what runs inside.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

# Fixed by the kernel.
CLONE_NEWNET = 0x40000000
SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO
OFFLOAD_SWITCHES = (0x17, 0x1F, 0x23)
NETLINK_NETFILTER = 12
# One ctnetlink message, DELETE without a tuple, which means every connection:
# nlmsghdr (size, CTNETLINK << 8 | DELETE, REQUEST | ACK, sequence, port), then an empty nfgenmsg.
FLUSH_CONNTRACK = struct.pack("=IHHII", 20, 0x0102, 5, 1, 0) + bytes(4)
NETLINK_ERROR_OFFSET = 16

# Chosen.
TOOLS = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "nsenter": "util-linux"}
RUN_NETNS = Path("/run/netns")
NAME = re.compile(r"derphole-(\d+)-(\d+)-")
TOOL_LIMIT_S = 20
# A process that was killed leaves its namespaces within milliseconds.
KILL_LIMIT_S = 5.0
PROBE_RULES = """
table netdev probe {
 chain probe {
  type filter hook ingress device "lo" priority 0;
  fwd to "lo"
 }
}
table ip probe {
 chain probe {
  type nat hook postrouting priority 100;
  meta l4proto udp snat to 192.0.2.1:1024-65535 fully-random
 }
}
"""

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab could not do what it was asked; the text says which tool said what."""


def run_tool(command: Sequence[str], text: str = "") -> str:
    """Run a tool to its end and return what it printed; raises `LabError` with its words."""
    done = subprocess.run(
        command, input=text, text=True, capture_output=True, timeout=TOOL_LIMIT_S, check=False
    )
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}\n{text}".rstrip())
    return done.stdout


def ip_batch(lines: Iterable[str], namespace: str | None = None) -> None:
    """Run many `ip` commands in one process, inside a namespace if one is given."""
    text = "".join(f"{line}\n" for line in lines)
    if text:
        inside = ["-n", namespace] if namespace else []
        run_tool(["ip", *inside, "-batch", "-"], text)


def missing_requirements() -> str:
    """Say why no lab can be built here; the empty text means that it can."""
    absent = {package for tool, package in TOOLS.items() if not shutil.which(tool)}
    if absent:
        return f"the lab needs the packages {', '.join(sorted(absent))}"
    if os.geteuid() != 0:
        return "the lab needs root; `scripts/lab` makes a user namespace where the kernel lets it"
    name = own_name("probe", "probe")
    try:
        run_tool(["ip", "netns", "add", name])
    except LabError as error:
        return f"this kernel or container allows no network namespaces ({error})"
    try:
        Namespace(name).nft(PROBE_RULES)
    except LabError as error:
        return f"this kernel lacks nftables with NAT and netdev forwarding ({error})"
    finally:
        run_tool(["ip", "netns", "del", name])
    return ""


def rootless_command(command: Sequence[str]) -> list[str]:
    """Wrap a command so that a user without rights can build labs in it.

    It runs as root of a user namespace with its own mounts, networks and processes; when it ends,
    in whatever way, the kernel removes everything that it made.
    """
    prepare = 'mount -t tmpfs lab /run && mkdir /run/netns && "$@"; exit $?'
    unshare = ["unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork"]
    return [*unshare, "--kill-child", "--mount-proc", "sh", "-c", prepare, "sh", *command]


# -- names and leftovers ---------------------------------------------------------------------


def own_name(lab: object, node: str) -> str:
    """Return a namespace's name that tells whose it is."""
    return f"derphole-{os.getpid()}-{_start_time(os.getpid())}-{lab}-{node}"


def new_folder(lab: object) -> Path:
    """Return a new folder for configuration and logs; any user may read it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{own_name(lab, 'folder')}-"))
    folder.chmod(0o755)  # servers drop their rights before they read
    return folder


def remove_leftovers() -> list[str]:
    """Remove what processes left that are gone: folders, namespaces and what still runs in them.

    Returns the names of the namespaces.
    """
    for path in Path(tempfile.gettempdir()).glob("derphole-*"):
        if _is_leftover(path.name) and path.lstat().st_uid == os.geteuid():
            shutil.rmtree(path, ignore_errors=True)
    there = RUN_NETNS.iterdir() if RUN_NETNS.is_dir() else ()
    left = sorted(path.name for path in there if _is_leftover(path.name))
    remove_namespaces(left)
    return left


def _is_leftover(name: str) -> bool:
    """Tell whether a name is one of ours whose process is gone."""
    match = NAME.match(name)
    return match is not None and _start_time(int(match[1])) != int(match[2])


def remove_namespaces(names: Iterable[str]) -> None:
    """Kill what runs in these namespaces, by pid, and delete those that exist."""
    there = [name for name in names if (RUN_NETNS / name).exists()]
    inodes = set()
    for name in there:
        with contextlib.suppress(OSError):
            inodes.add((RUN_NETNS / name).stat().st_ino)
    deadline = time.monotonic() + KILL_LIMIT_S
    while (pids := _processes_in(inodes)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)  # no descriptor tells the end of a process that is not our child
    for name in there:
        with contextlib.suppress(LabError):  # another run may be cleaning up as well
            run_tool(["ip", "netns", "del", name])


def _processes_in(inodes: set[int]) -> list[int]:
    """Return the live processes whose network namespace is one of these, without our own."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it ended, or is a zombie without namespaces
            if (entry / "ns" / "net").stat().st_ino in inodes:
                found.append(int(entry.name))
    return found


def _start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name, in parentheses, may hold spaces; the start time is field 22.
    return int(stat.rpartition(")")[2].split()[19])


# -- one namespace ---------------------------------------------------------------------------


class Namespace:
    """One network namespace that exists, and how to do things inside it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._started: list[subprocess.Popen[bytes]] = []

    def command(self, command: Sequence[object]) -> list[str]:
        """Return a command line that runs inside; nsenter becomes the program, same pid."""
        return ["nsenter", f"--net={RUN_NETNS / self.name}", "--", *map(str, command)]

    def run(self, *command: object) -> str:
        """Run a tool inside to its end and return what it printed; raises `LabError`."""
        return run_tool(self.command(command))

    def start(
        self,
        command: Sequence[object],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process inside, in a group of its own; `end_processes` ends it."""
        process = subprocess.Popen(
            self.command(command),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end_processes(self) -> None:
        """Kill the processes that `start` started, and reap them."""
        for process in self._started:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait(KILL_LIMIT_S)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        self._started.clear()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread inside; a socket that is made there stays there for good."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(RUN_NETNS / self.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(there)
            try:
                yield
            finally:
                _set_namespace(home)
        finally:
            os.close(there)
            os.close(home)

    def udp_socket(self, address: str = "", port: int = 0) -> socket.socket:
        """Return a bound UDP socket of this process inside; IPv6 where the address is."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.entered():
            udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((address, port))
        return udp

    def ip(self, *lines: str) -> None:
        """Run `ip` commands inside, in one process."""
        ip_batch(lines, self.name)

    def nft(self, rules: str) -> None:
        """Load nftables rules inside, all or none of them."""
        run_tool(self.command(["nft", "-f", "-"]), rules)

    def set_sysctls(self, values: Mapping[str, int]) -> None:
        """Write settings below /proc/sys; those that this kernel does not have are passed over."""
        with self.entered():
            for key, value in values.items():
                with contextlib.suppress(FileNotFoundError):
                    Path("/proc/sys", key).write_text(str(value))

    def disable_offloads(self, interface: str) -> None:
        """Make every frame one packet, as wide as the MTU at most, with its checksum in it.

        Otherwise virtual links hand around packets of 64 KiB, and a loss rule takes each for one.
        """
        with self.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for switch in OFFLOAD_SWITCHES:
                value = ctypes.create_string_buffer(struct.pack("II", switch, 0))
                request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
                fcntl.ioctl(control, SIOCETHTOOL, request)

    def flush_conntrack(self) -> None:
        """Forget every tracked connection, and so every mapping of a NAT."""
        with self.entered():
            netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        with netlink:
            netlink.settimeout(TOOL_LIMIT_S)
            netlink.send(FLUSH_CONNTRACK)
            (code,) = struct.unpack_from("=i", netlink.recv(4096), NETLINK_ERROR_OFFSET)
        if code:
            raise LabError(f"flushing conntrack of {self.name}: {os.strerror(-code)}")


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
