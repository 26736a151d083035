"""The Debian package in a fresh root: installed, run, upgraded under a running tunnel, removed.

The root is Debian's essential packages and nothing else, so that the program finds only what its
package depends on.
"""

import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import DERPTUN, TOKEN_LINE, Desk
from support.builds import frozen_program, run_script
from support.processes import ROOT, Process, clean_environment, free_port
from support.programs import needs
from tcp_servers import TcpServer

from derphole import __version__

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FETCH_S = 300
COMMAND_S = 120
PATIENCE_S = 30.0
LATER = "99.0-1"
UNITS = sorted((ROOT / "build" / "systemd").glob("*/*.service"))
VERSIONS = "usr/lib/derphole/versions"
# What dpkg itself writes for any package.
OF_DPKG = re.compile(r"(var/lib/dpkg|var/log|var/cache|tmp|proc|root)(/.*)?|etc/ld\.so\.cache")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this checkout."""
    needs("dpkg-deb", "objdump")
    folder = tmp_path_factory.mktemp("deb")
    program = frozen_program(folder)
    run_script("deb", "--program", program, "--output", folder, DPKG_DEB_COMPRESSOR_LEVEL="1")
    [built] = folder.glob("*.deb")
    return built


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's essential packages, from its archive."""
    needs("mmdebstrap", "nsenter", "unshare")
    if os.geteuid() != 0:
        pytest.skip("not root, who alone can install packages into another root")
    folder = tmp_path_factory.mktemp("debian")
    folder.chmod(0o755)
    root = folder / "root"
    subprocess.run(
        ["mmdebstrap", "--mode=root", "--variant=essential", "bookworm", root],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=FETCH_S, check=True,
    )  # fmt: skip
    return root


class Root:
    """A root to install into, with the processes that run in it.

    Args:
        root: its folder.
        desk: where processes are started.
    """

    def __init__(self, root: Path, desk: Desk) -> None:
        self.root, self.desk = root, desk
        # /proc is mounted where this process alone sees it, and is gone with it.
        mount = f"mount -t proc proc {root}/proc && echo ready >&2 && exec cat"
        holder = ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount]
        self.holder = Process(
            "mounts", holder, desk.folder, clean_environment(desk.folder), stdin=subprocess.PIPE
        )
        self.holder.await_line("^ready$")

    def words(self, *command: str) -> list[str]:
        enter = ["nsenter", "--target", str(self.holder.pid), "--mount", "chroot", str(self.root)]
        clean = ["env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
        return [*enter, *clean, "DEBIAN_FRONTEND=noninteractive", *command]

    def run(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.words(*command), capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        assert done.returncode == code, done
        return done

    def start(self, name: str, *command: str, **rest: object) -> Process:
        return self.desk.run(name, self.words(*command), **rest)

    def install(self, package: Path) -> str:
        shutil.copy(package, self.root / "tmp" / package.name)
        done = self.run("dpkg", "--install", f"/tmp/{package.name}")
        assert not re.search("warning|error", done.stderr), done
        return done.stdout

    def everything(self) -> dict[str, tuple[int, int, int, bytes]]:
        """Return all files with mode, owner and content."""
        found = {}
        for path in self.root.rglob("*"):
            name = path.relative_to(self.root).as_posix()
            if OF_DPKG.fullmatch(name):
                continue
            of = path.lstat()
            link = os.readlink(path).encode() if path.is_symlink() else b""
            content = path.read_bytes() if stat.S_ISREG(of.st_mode) else link
            found[name] = (of.st_mode, of.st_uid, of.st_gid, content)
        return found

    def versions(self) -> dict[str, dict[str, bytes]]:
        """Return what lies in the folder of each version."""
        return {
            folder.name: {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            for folder in (self.root / VERSIONS).iterdir()
        }


@pytest.fixture
def fresh(debian: Path, desk: Desk, tmp_path: Path) -> Iterator[Root]:
    folder = tmp_path / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", debian, folder], check=True)
    root = Root(folder, desk)
    try:
        yield root
    finally:
        desk.close()
        root.holder.stop()
        shutil.rmtree(folder)


def repacked(package: Path, folder: Path, version: str) -> Path:
    """Return a later package, whose program has another file in it."""
    tree = folder / "later"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub("(?m)^Version: .*", f"Version: {version}", control.read_text()))
    program = tree / "usr/lib/derphole/tree"
    (program / "id").write_text(f"{version}-0123456789ab\n")
    (program / "_internal" / "later.txt").write_text("this is the later one\n")
    later = folder / f"derphole_{version}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, later],
        stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return later


def echo(sock: socket.socket) -> None:
    while block := sock.recv(65536):
        sock.sendall(block)


def echoed(sock: socket.socket, payload: bytes) -> None:
    sock.sendall(payload)
    got = b""
    while len(got) < len(payload):
        block = sock.recv(65536)
        assert block, "the connection ended"
        got += block
    assert got == payload


def test_it_is_installed_runs_and_is_removed_without_a_trace(fresh: Root, package: Path) -> None:
    before = fresh.everything()
    fresh.install(package)

    added = {name: of for name, of in fresh.everything().items() if name not in before}
    assert {(uid, gid) for _, uid, gid, _ in added.values()} == {(0, 0)}
    assert not [
        name for name, (mode, *_) in added.items() if not stat.S_ISLNK(mode) and mode & 0o022
    ]
    assert {
        "usr/bin/derphole",
        "usr/bin/derptun",
        "usr/share/man/man1/derptun.1.gz",
        "usr/share/bash-completion/completions/derphole",
        "usr/share/fish/vendor_completions.d/derptun.fish",
        "usr/lib/systemd/system/derptun-serve@.service",
        "usr/lib/systemd/user/derptun-open@.service",
        "usr/share/doc/derphole/copyright",
    } <= set(added)
    licences = added["usr/share/doc/derphole/copyright"][3].decode()
    for work in ("derphole authors", "OpenSSL", "libsodium", "libev", "docopt", "gevent"):
        assert work in licences
    assert fresh.run("dpkg", "--verify", "derphole").stdout == ""
    for program in ("derphole", "derptun"):
        said = fresh.run(program, "version")
        assert (said.stdout, said.stderr) == (f"v{__version__}\n", "")

    payload = os.urandom(1 << 18)
    listen = fresh.start("listen", "derphole", "listen", "--relay", fresh.desk.relay_url)
    token = listen.await_line(TOKEN_LINE).group(1)
    fresh.start("pipe", "derphole", "pipe", token, stdin=payload).ends_with(0)
    listen.ends_with(0)
    assert listen.stdout == payload

    fresh.run("dpkg", "--purge", "derphole")
    assert fresh.everything() == before
    assert fresh.run("dpkg-query", "--show", "derphole", code=1).stdout == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: f"{unit.parent.name}-{unit.name}")
def test_a_unit_is_a_good_one(unit: Path, tmp_path: Path) -> None:
    needs("systemd-analyze")
    environment = clean_environment(tmp_path)
    is_system = unit.parent.name == "system"
    manager = "--system" if is_system else "--user"
    verify = ["systemd-analyze", manager, "verify", "--man=no", unit]
    done = subprocess.run(
        verify, env=environment, capture_output=True, text=True, timeout=COMMAND_S, check=False
    )
    # It is not installed here; what it says of anything else is a fault.
    assert not [line for line in done.stderr.splitlines() if "is not executable" not in line], done
    if is_system:
        rate = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit]
        subprocess.run(rate, capture_output=True, timeout=COMMAND_S, check=True)
    words = unit.read_text().partition("ExecStart=")[2].splitlines()[0].split()
    assert words[0] == "/usr/bin/derptun"
    shown = subprocess.run(
        [*DERPTUN, words[1], "--help"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    options = re.findall(r"(?<![\w-])--[a-z-]+", unit.read_text().replace("--now", ""))
    for word in set(options) - {"--user", "--output", "--renew"}:
        assert word in shown, word


def test_an_upgrade_leaves_a_running_tunnel_as_it_is(
    fresh: Root, package: Path, tmp_path: Path
) -> None:
    later = repacked(package, tmp_path, LATER)
    before = fresh.everything()
    fresh.install(package)
    [first] = fresh.versions()
    files = fresh.versions()[first]
    make = ["derptun", "token", "server", "--relay", fresh.desk.relay_url]
    fresh.run(*make, "--output", "/etc/derptun/x.dts")
    source = ["--token-file", "/etc/derptun/x.dts"]
    fresh.run("derptun", "token", "client", *source, "--output", "/etc/derptun/x.dtc")

    with TcpServer(echo) as target:
        serve = fresh.start("serve", "derptun", "serve", *source, "--tcp", str(target.port))
        serve.await_line("^serving ")
        port = free_port()
        client = ["--token-file", "/etc/derptun/x.dtc", "--listen", f"127.0.0.1:{port}"]
        opened = fresh.start("open", "derptun", "open", *client)
        opened.await_line(rf"127\.0\.0\.1:{port}")
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as old:
            echoed(old, b"before the upgrade")

            said = fresh.install(later)

            assert f"what runs already goes on with {first}" in said
            current = os.readlink(fresh.root / "usr/lib/derphole/current")
            assert current == f"versions/{LATER}-0123456789ab"
            # Whatever the running program has yet to read is where it was, and what it was.
            assert fresh.versions()[first] == files
            for process in (serve, opened):
                running = os.readlink(f"/proc/{process.pid}/exe")
                assert running.endswith(f"/{VERSIONS}/{first}/derptun")
            echoed(old, os.urandom(1 << 20))
            with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as new:
                echoed(new, b"after the upgrade")
        for process in (opened, serve):
            process.send_signal(15)
            process.ends_with(0)

    # What is written down today is to work after the next upgrade.
    block = fresh.run("derptun", "connect", *client[:2], "--print-ssh-config", "host").stdout
    assert "ProxyCommand /usr/bin/derptun connect" in block
    # Nobody uses the old one any more.
    assert "goes on with" not in fresh.install(later)
    assert set(fresh.versions()) == {f"{LATER}-0123456789ab"}
    assert "later.txt" in str(sorted(fresh.versions()[f"{LATER}-0123456789ab"]))
    for name in ("x.dts", "x.dtc"):
        (fresh.root / "etc/derptun" / name).unlink()
    fresh.run("dpkg", "--purge", "derphole")
    assert fresh.everything() == before


def test_an_upgrade_that_fails_leaves_the_program_that_was_there(
    fresh: Root, package: Path, tmp_path: Path
) -> None:
    later = repacked(package, tmp_path, LATER)
    fresh.install(package)
    [first] = fresh.versions()
    # A download that broke off: it fails when most of it has been unpacked.
    whole = later.read_bytes()
    (fresh.root / "tmp" / later.name).write_bytes(whole[: -len(whole) // 8])
    fresh.run("dpkg", "--install", f"/tmp/{later.name}", code=1)

    assert fresh.run("derptun", "version").stdout == f"v{__version__}\n"
    assert fresh.run("dpkg", "--verify", "derphole").stdout == ""
    assert set(fresh.versions()) == {first}
    assert f"Version: {__version__}-1\n" in fresh.run("dpkg", "--status", "derphole").stdout
