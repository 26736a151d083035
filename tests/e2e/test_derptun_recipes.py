"""What docs/tunnels.md tells people to type, with the programs themselves, to a real sshd.

Those that are not installed are left out: none of them is needed for anything else here.
"""

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import DERPTUN, Desk
from support.processes import await_true
from support.real_sshd import Machine
from test_derptun_ssh import Site

pytestmark = pytest.mark.e2e

DATA = os.urandom(1 << 20)
PARAMIKO = """
import sys, paramiko
proxy, user, key = sys.argv[1:]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("myhost", username=user, key_filename=key, sock=paramiko.ProxyCommand(proxy),
               allow_agent=False, look_for_keys=False)
_, out, _ = client.exec_command("echo in; exit 7")
print(out.read().decode().strip(), out.channel.recv_exit_status())
client.close()
"""
ASYNCSSH = """
import asyncio, sys, asyncssh
proxy, user, key = sys.argv[1:]
async def main():
    async with asyncssh.connect("myhost", username=user, client_keys=[key], known_hosts=None,
                                proxy_command=proxy, config=[]) as connection:
        done = await connection.run("echo in; exit 7")
        print(done.stdout.strip(), done.exit_status)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def shared_machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.close()


@pytest.fixture
def site(shared_machine: Machine, desk: Desk) -> Site:
    return Site(shared_machine, desk)


def wanted(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"optional: not installed: {', '.join(missing)}")


def wanted_module(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"optional: not installed: {name}")


def config(site: Site) -> Path:
    """Write the printed block, and what every ssh needs here."""
    block = site.tunnel.derptun(
        "connect", "--stdio", "--token-file", str(site.client), "--print-ssh-config", "myhost"
    ).stdout
    path = site.folder / "config"
    path.write_text(
        f"{block}    User {site.machine.user}\n    IdentityFile {site.machine.key}\n"
        f"    StrictHostKeyChecking no\n    UserKnownHostsFile {site.folder}/known\n"
        "    BatchMode yes\n    LogLevel ERROR\n"
    )
    return path


def ssh_of(site: Site) -> str:
    return f"ssh -F {config(site)}"


def test_dbclient(site: Site) -> None:
    wanted("dbclient", "dropbearconvert")
    key = site.folder / "dropbear"
    site.run(["dropbearconvert", "openssh", "dropbear", str(site.machine.key), str(key)])
    proxy = site.tunnel.proxy(site.client)

    done = site.run(
        ["dbclient", "-y", "-y", "-T", "-i", str(key), "-J", proxy,
         f"{site.machine.user}@myhost", "echo in; exit 7"]
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (7, b"in\n"), done
    site.check_no_proxy_is_left()


def test_plink(site: Site) -> None:
    wanted("plink", "puttygen")
    key = site.folder / "key.ppk"
    site.run(["puttygen", str(site.machine.key), "-o", str(key), "-O", "private"])
    host_key = Path(f"{site.machine.base}/run/host.pub").read_text()
    (site.folder / "host.pub").write_text(host_key)
    print_it = site.run(["ssh-keygen", "-l", "-f", str(site.folder / "host.pub")])
    fingerprint = print_it.stdout.decode().split()[1]
    proxy = site.tunnel.proxy(site.client)

    done = site.run(
        ["plink", "-batch", "-T", "-i", str(key), "-hostkey", fingerprint, "-proxycmd", proxy,
         f"{site.machine.user}@myhost", "echo in; exit 7"]
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (7, b"in\n"), done
    site.check_no_proxy_is_left()


@pytest.mark.parametrize(("module", "program"), [("paramiko", PARAMIKO), ("asyncssh", ASYNCSSH)])
def test_libraries_of_python(site: Site, module: str, program: str) -> None:
    wanted_module(module)
    proxy = site.tunnel.proxy(site.client)

    done = site.run(
        [sys.executable, "-c", program, proxy, site.machine.user, str(site.machine.key)]
    )

    assert (done.returncode, done.stdout) == (0, b"in 7\n"), done
    site.check_no_proxy_is_left()


def test_git(site: Site) -> None:
    wanted("git")
    bare = site.machine.home / "repository.git"
    as_user = ["su", "-s", "/bin/sh", site.machine.user, "-c"]
    site.run([*as_user, f"git init -q --bare {bare}"])
    here = site.folder / "here"
    url = f"ssh://myhost{bare}"
    variables = f"GIT_SSH_COMMAND={shlex.quote(ssh_of(site))}"
    script = (
        f"set -e; export {variables} GIT_CONFIG_GLOBAL=/dev/null; git init -q {here}; cd {here}; "
        "git -c user.name=me -c user.email=me@here commit -q --allow-empty -m first; "
        f"git push -q {url} HEAD:refs/heads/main; git clone -q -b main {url} ../there; "
        "git -C ../there log --format=%s"
    )

    done = site.run(["sh", "-c", script])

    assert (done.returncode, done.stdout) == (0, b"first\n"), done
    site.check_no_proxy_is_left()


def test_rsync(site: Site) -> None:
    wanted("rsync")
    (site.folder / "data").write_bytes(DATA)
    there = site.machine.home / "data"
    command = ["rsync", "-e", ssh_of(site), "--partial-dir=.part"]

    up = site.run([*command, str(site.folder / "data"), f"myhost:{there}"])
    down = site.run([*command, f"myhost:{there}", str(site.folder / "back")])

    assert (up.returncode, down.returncode) == (0, 0), (up, down)
    assert there.read_bytes() == (site.folder / "back").read_bytes() == DATA
    site.check_no_proxy_is_left()


def test_sshfs_comes_back_when_its_proxy_is_killed(site: Site) -> None:
    wanted("sshfs", "fusermount3")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("optional: there is no FUSE here")
    (site.machine.home / "data").write_bytes(DATA)
    mount = site.folder / "mount"
    mount.mkdir()
    done = site.run(
        ["sshfs", "-o", "reconnect", "-F", str(config(site)), f"myhost:{site.machine.home}",
         str(mount)]
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"optional: nothing can be mounted here: {done.stderr.decode()}")
    try:
        assert (mount / "data").read_bytes() == DATA
        for pid in site.proxies():
            os.kill(pid, signal.SIGKILL)

        def is_back() -> bool:
            try:
                return (mount / "data").read_bytes() == DATA
            except OSError:
                return False

        await_true(is_back, "the mount works again")
    finally:
        subprocess.run(["fusermount3", "-u", str(mount)], check=False, timeout=30)
    site.check_no_proxy_is_left()


def test_what_knows_no_proxy_takes_a_port(site: Site) -> None:
    """curl is one of them; so is everything that speaks TCP and is not ssh."""
    wanted("curl")
    _, port = site.tunnel.open(site.client)

    done = site.run(["curl", "-s", "--http0.9", "--max-time", "5", f"telnet://127.0.0.1:{port}"])

    assert done.stdout.startswith(b"SSH-2.0-"), done


def test_the_units_of_systemd_are_good_ones() -> None:
    wanted("systemd-analyze")
    examples = Path(__file__).parents[2] / "docs" / "examples"
    for unit in ("derptun-serve.service", "derptun-open.service"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", examples / unit],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        faults = [line for line in done.stderr.splitlines() if "is not executable" not in line]
        assert faults == []
        safe = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", "--threshold=20", examples / unit],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert safe.returncode == 0, safe.stdout
        text = (examples / unit).read_text()
        words = text.partition("ExecStart=")[2].splitlines()[0].split()[1:]
        shown = subprocess.run(
            [*map(str, DERPTUN), words[0], "--help"], capture_output=True, text=True, timeout=60,
            check=True,
        ).stdout  # fmt: skip
        assert all(word in shown for word in words if word.startswith("--")), unit
        assert signal.SIGUSR1.name.removeprefix("SIG") in text
