"""A real sshd of our own on the loopback, with users of this machine that the test makes.

As root only.  It looks for keys where it always does, in the homes of the users, and has StrictModes
on: what it takes and what it refuses is what any other would.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.processes import Process, clean_environment, free_port
from support.programs import await_listener, needs
from support.ssh_keys import make_key

from derphole.edges.accounts import Account, account_named
from derphole.edges.authorized_file import AuthorizedFile

PROGRAM_S = 60
REFUSED = "Permission denied (publickey)"


class Machine:
    """The server, two users, and groups with both, one and none of them."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("makes users of this machine: needs root")
        needs("sshd", "ssh", "ssh-keygen", "useradd", "userdel", "groupadd", "groupdel")
        name = "dh" + secrets.token_hex(4)
        self.base = Path(tempfile.mkdtemp(prefix="derphole-sshd-"))
        self.base.chmod(0o755)  # the user must get through to the home
        self.home = self.base / "home"
        self.user, self.other = name, name + "o"
        self.groups = {"both": f"{name}b", "own": f"{name}u", "none": f"{name}n"}
        self.server: Process | None = None
        try:
            self._make_users()
            self.is_debian = "Debian" in self._run("ssh", "-V").stderr
            self.key = make_key(self.base / "key", "ed25519").with_suffix("")
            self.port = free_port()
            self._start()
        except BaseException:
            self.close()
            raise

    def _make_users(self) -> None:
        for user, home in ((self.user, self.home), (self.other, self.base / "other")):
            # A password that fits nothing: an account without one is locked, also for keys.
            self._run("useradd", "-M", "-U", "-p", "*", "-s", "/bin/sh", "-d", str(home), user)
        members = {"both": f"{self.user},{self.other}", "own": self.user, "none": ""}
        for which, group in self.groups.items():
            self._run("groupadd", *(["-U", members[which]] if members[which] else []), group)

    def _start(self) -> None:
        (self.base / "run").mkdir()
        make_key(self.base / "run" / "host", "ed25519")
        settings = self.base / "run" / "sshd_config"
        text = (
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.base}/run/host\n"
            "PidFile none\nStrictModes yes\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nLogLevel VERBOSE\nUseDNS no\n"
            "Subsystem sftp internal-sftp\n"
        )
        program = shutil.which("sshd") or "sshd"
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it gives up its rights
        # Later ones make a client that was refused wait.
        settings.write_text(text + "PerSourcePenalties no\n")
        check = [program, "-t", "-f", str(settings)]
        if subprocess.run(check, capture_output=True, timeout=PROGRAM_S).returncode:
            settings.write_text(text)
        command = [program, "-D", "-e", "-f", settings]
        folder = self.base / "run"
        self.server = Process("sshd", command, folder, clean_environment(folder))
        await_listener(self.port)

    def close(self) -> None:
        """Stop the server, and delete the users and all that is theirs."""
        if self.server is not None:
            self.server.stop()
        for user in (self.user, self.other):
            subprocess.run(["userdel", user], capture_output=True, timeout=PROGRAM_S)
        for group in (*self.groups.values(), self.user, self.other):
            subprocess.run(["groupdel", group], capture_output=True, timeout=PROGRAM_S)
        shutil.rmtree(self.base, ignore_errors=True)

    # -- the user ---------------------------------------------------------------------------

    @property
    def account(self) -> Account:
        return account_named(self.user)

    @property
    def file(self) -> AuthorizedFile:
        return AuthorizedFile(self.account)

    @property
    def keys(self) -> Path:
        return self.home / ".ssh" / "authorized_keys"

    def empty_home(self) -> None:
        """Begin anew with a home that has nothing in it."""
        if self.home.is_symlink():
            self.home.unlink()
        elif self.home.exists():
            shutil.rmtree(self.home)
        self.home.mkdir(mode=0o755)
        self.give(self.home)

    def give(self, path: Path, user: str = "", group: str = "") -> None:
        """Give a file to a user, who is ours unless named, and to a group, which is theirs."""
        entry = pwd.getpwnam(user or self.user)
        os.chown(path, entry.pw_uid, -1, follow_symlinks=False)
        if group:
            shutil.chown(path, group=group)
        else:
            os.chown(path, -1, entry.pw_gid, follow_symlinks=False)

    def login(self, key: Path | None = None, command: str = "echo in") -> str | None:
        """Log in, and return what the command says; None if that is refused."""
        options = ("-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
                   "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "IdentityAgent=none", "-o", "LogLevel=ERROR",
                   "-o", "PreferredAuthentications=publickey")  # fmt: skip
        ssh = ["ssh", *options, "-p", str(self.port), "-i", str(key or self.key)]
        done = subprocess.run(
            [*ssh, f"{self.user}@127.0.0.1", command],
            capture_output=True,
            text=True,
            timeout=PROGRAM_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout.strip()
        assert REFUSED in done.stderr, (done, self.server.stderr if self.server else "")
        return None

    def carry_out(self, advice: str) -> None:
        """Do what a person is told to: as root what begins with sudo, else as the user."""
        is_for_root = advice.startswith("sudo ")
        account = self.account
        who: dict[str, object] = {} if is_for_root else {
            "user": account.user_id, "group": account.group_id, "extra_groups": []
        }  # fmt: skip
        subprocess.run(
            ["sh", "-e", "-c", advice.replace("sudo ", "")], check=True, timeout=PROGRAM_S, **who
        )

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=PROGRAM_S
        )
