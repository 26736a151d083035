"""The ssh server of a machine: what others need to know of ours, and whether theirs answers."""

import os
import re
import socket as system_socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import gevent
from gevent import socket

from derphole.edges.programs import clean_environment
from derphole.ssh import USUAL_PORT
from derphole.ssh.public_key import MAX_LINE, KeyUnusable, parse_public_key
from tunnel.net.ifaces import local_addresses
from tunnel.net.threads import in_thread
from tunnel.units import Seconds

SETTINGS = Path("/etc/ssh/sshd_config")
MORE_SETTINGS = Path("/etc/ssh/sshd_config.d")
HOST_KEYS = Path("/etc/ssh")
PORT_LINE = re.compile(r"^\s*Port[\s=]+(\d{1,5})\s*$", re.IGNORECASE | re.MULTILINE)
BANNER = b"SSH-"
LOCAL = "127.0.0.1"
# Chosen.
ANSWER_S: Seconds = 3.0
SCAN_S: Seconds = 15.0
MAX_SETTINGS = 1 << 20


def own_port() -> int:
    """Return the port that the settings name first, or the usual one.  Blocks."""
    files = [*sorted(MORE_SETTINGS.glob("*.conf")), SETTINGS]
    for path in files:
        try:
            text = path.read_text(errors="replace")[:MAX_SETTINGS]
        except OSError:
            continue
        found = PORT_LINE.search(text)
        if found and 0 < int(found[1]) < 1 << 16:
            return int(found[1])
    return USUAL_PORT


def own_host_keys(port: int) -> list[str]:
    """Return type and base64 of the keys of the server here, as it shows them.  Blocks."""
    found = scanned_keys([LOCAL], port) or {}
    lines = found.get(LOCAL) or _kept_host_keys()
    # Those that every client likes best, and that are short, come first.
    return sorted(lines, key=lambda line: (not line.startswith("ssh-ed25519"), len(line)))


def _kept_host_keys() -> list[str]:
    lines = []
    for path in sorted(HOST_KEYS.glob("ssh_host_*_key.pub")):
        with suppress(OSError, KeyUnusable):
            key = parse_public_key(path.read_bytes()[: MAX_LINE + 1])
            lines.append(f"{key.type} {key.text}")
    return lines


def scanned_keys(hosts: Sequence[str], port: int) -> dict[str, list[str]] | None:
    """Return type and base64 of the keys of the servers that answer, by host.  Blocks.

    None where there is no `ssh-keyscan`.

    Args:
        hosts: names and addresses, checked.
        port: of all of them.
    """
    found: dict[str, list[str]] = {}
    if not hosts:
        return found
    command = ["ssh-keyscan", "-T", f"{ANSWER_S:.0f}", "-p", str(port), "--", *hosts]
    try:
        done = subprocess.run(  # noqa: S603 - hosts are checked and behind --
            command,
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SCAN_S,
            check=False,
        )
    except FileNotFoundError:
        return None
    except (OSError, subprocess.TimeoutExpired):
        return found
    for line in done.stdout.decode("ascii", "replace").splitlines():
        name, _, text = line.partition(" ")
        host = name.removesuffix(f":{port}").removeprefix("[").removesuffix("]")
        with suppress(KeyUnusable):
            key = parse_public_key(text.encode())
            found.setdefault(host, []).append(f"{key.type} {key.text}")
    return found


def own_hosts() -> list[str]:
    """Return the name of this machine, and its addresses that others may reach.  Blocks."""
    hosts = [system_socket.gethostname()]
    hosts += [each.ip for each in local_addresses() if not each.is_loopback]
    return list(dict.fromkeys(host for host in hosts if host))


def first_that_answers(hosts: Sequence[str], port: int) -> str | None:
    """Return the first of these hosts at which an ssh server answers; None if none does."""
    asked = [gevent.spawn(answers, host, port) for host in hosts]
    gevent.joinall(asked, timeout=ANSWER_S)
    answered = [bool(each.value) for each in asked]
    gevent.killall(asked)
    return next((host for host, does in zip(hosts, answered, strict=True) if does), None)


def answers(host: str, port: int) -> bool:
    """Tell whether an ssh server answers there."""
    for family, kind, protocol, _, address in _addresses(host, port):
        with gevent.Timeout(ANSWER_S, False):
            try:
                with socket.socket(family, kind, protocol) as sock:
                    sock.connect(address)
                    return bool(sock.recv(len(BANNER)) == BANNER)
            except OSError:
                continue
    return False


def _addresses(host: str, port: int) -> Iterator[tuple[int, int, int, str, tuple[object, ...]]]:
    try:
        found = in_thread(system_socket.getaddrinfo, host, port, 0, system_socket.SOCK_STREAM)
    except OSError:
        return
    yield from found
