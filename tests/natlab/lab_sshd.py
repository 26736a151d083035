"""A real sshd on a host of the lab, which lets root in by a key that is made for it.

Needs the packages openssh-server and openssh-client, and real root: sshd gives up its rights, which
the root of a user namespace cannot do.
"""

import shutil
from pathlib import Path

import pytest
from lab import Host
from natlab_support import WAIT_S, connects
from routers import Router
from support.processes import Process, await_true, clean_environment
from support.programs import needs
from support.ssh_keys import make_key

SSH_PORT = 22
EVERY_USER = "4294967295"
# sshd wants a folder below /run that the machine need not have; nobody else sees this one.
OWN_RUN = 'mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "$@"'


class LabSshd:
    """The server; `close` ends it.

    Args:
        host: where it runs.
        folder: for its keys and settings.
        temporary: what TMPDIR is for whoever logs in.
    """

    def __init__(self, host: Host, folder: Path, temporary: Path) -> None:
        needs("sshd", "ssh", "ssh-keygen")
        if EVERY_USER not in Path("/proc/self/uid_map").read_text().split():
            pytest.skip("sshd needs root of the machine, not of a user namespace")
        self._host = host
        make_key(folder / "host", "ed25519")
        self.key = make_key(folder / "user", "ed25519").with_suffix("")
        settings = folder / "sshd_config"
        settings.write_text(
            f"Port {SSH_PORT}\nListenAddress {host.address4}\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/user.pub\nPidFile none\nStrictModes no\nUsePAM no\n"
            "PermitRootLogin prohibit-password\nUseDNS no\nPrintMotd no\n"
            f"SetEnv TMPDIR={temporary}\n"
        )
        program = shutil.which("sshd") or "sshd"
        command = ["unshare", "--mount", "sh", "-c", OWN_RUN, "sh", program, "-D", "-e"]
        inside = host.command([*command, "-f", settings])
        self._process = Process("sshd", inside, folder, clean_environment(folder))
        address = host.address4
        await_true(lambda: connects(host, address, SSH_PORT), "sshd listens", WAIT_S)

    def forward(self, router: Router, port: int) -> None:
        """Have a router forward a TCP port of its public address to the server."""
        router.nft(
            "table ip ssh { chain in { type nat hook prerouting priority -110; "
            f'iifname "wan" tcp dport {port} dnat to {self._host.address4}:{SSH_PORT}\n}}\n}}\n'
        )

    def command(self, port: int) -> str:
        """Return the ssh command line that gets in, without the host."""
        return (
            f"ssh -F /dev/null -p {port} -i {self.key} -o BatchMode=yes -o IdentitiesOnly=yes "
            "-o IdentityAgent=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        )

    @property
    def story(self) -> str:
        """What it said."""
        return self._process.story

    def close(self) -> None:
        """End it."""
        self._process.stop()
