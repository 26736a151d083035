"""A real sshd on the loopback, and an account that can be logged in to: what `ssh invite` is for.

The account is made for one test, has its home in a folder of the test's own, and is gone with it.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.processes import await_true

SSHD = "/usr/sbin/sshd"
NEEDED = (SSHD, "ssh", "ssh-keygen", "ssh-keyscan", "useradd", "userdel")
KEY_TYPES = {
    "ed25519": ("ed25519", None),
    "ecdsa 256": ("ecdsa", 256),
    "ecdsa 384": ("ecdsa", 384),
    "ecdsa 521": ("ecdsa", 521),
    "rsa": ("rsa", 2048),
}


@dataclass(frozen=True)
class SshSite:
    """A server, and whom it lets in.

    Args:
        folder: everything of it.
        user: the account.
        home: of the account.
        port: of the server on 127.0.0.1.
    """

    folder: Path
    user: str
    home: Path
    port: int

    @property
    def keys_file(self) -> Path:
        return self.home / ".ssh" / "authorized_keys"

    def log_in(self, private: Path) -> bool:
        """Tell whether a key lets in; the server's own key is not looked at."""
        return self.run(["ssh", "-i", str(private), *self.options(), f"{self.user}@127.0.0.1"])

    def options(self) -> list[str]:
        return [
            "-F", "none", "-p", str(self.port), "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        ]  # fmt: skip

    @staticmethod
    def run(command: list[str], **variables: str) -> bool:
        """Run a login with a command that tells who is in."""
        environment = {**os.environ, **variables}
        environment.pop("SSH_AUTH_SOCK", None)
        done = subprocess.run(
            [*command, "echo", "in"],
            capture_output=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )
        return done.returncode == 0 and done.stdout == b"in\n"


def make_key(path: Path, kind: str = "ed25519", comment: str = "me@laptop") -> Path:
    """Make a pair of keys; returns the public one's path."""
    name, bits = KEY_TYPES[kind]
    size = [] if bits is None else ["-b", str(bits)]
    command = ["ssh-keygen", "-q", "-t", name, *size, "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path.with_name(path.name + ".pub")


@contextmanager
def ssh_site() -> Iterator[SshSite]:
    """Run a server with an account of its own; skips where that cannot be."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if os.geteuid() or missing:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'}")
    folder = Path(tempfile.mkdtemp(prefix="derphole-ssh-"))
    folder.chmod(0o755)  # the account's processes go through it
    user = f"dh{os.urandom(4).hex()}"
    try:
        home = folder / "home"
        home.mkdir()
        subprocess.run(
            ["useradd", "-M", "-d", str(home), "-s", "/bin/sh", "-p", "*", user], check=True
        )
        shutil.chown(home, user, user)
        with _server(folder) as port:
            yield SshSite(folder, user, home, port)
    finally:
        subprocess.run(["userdel", user], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _server(folder: Path) -> Iterator[int]:
    Path("/run/sshd").mkdir(exist_ok=True)  # privileges are separated there
    make_key(folder / "host", comment="")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = folder / "sshd_config"
    settings.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        "StrictModes yes\nUsePAM no\nPasswordAuthentication no\nLogLevel VERBOSE\n"
    )
    command = [SSHD, "-D", "-e", "-f", str(settings)]
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
    try:
        await_true(lambda: _listens(port) or server.poll() is not None, "sshd listens")
        assert server.poll() is None, (folder / "sshd.log").read_text()
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False
