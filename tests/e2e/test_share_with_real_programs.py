"""Programs that know nothing of us, through `share` and `open`."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from desk import Desk
from shared_port import await_path, shared_port, web_server
from support.processes import free_port
from support.programs import await_listener, needs

from tunnel.units import MIB

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PROGRAM_S = 120.0
FULL_S = 1200.0
IDLE_S = 40.0
AT_ONCE_S = 3.0
paths = pytest.mark.parametrize("flags", [(), ("--force-relay",)], ids=["direct", "relay"])


def run(desk: Desk, name: str, *command: str | Path, timeout_s: float = PROGRAM_S) -> str:
    """Run a program to its good end; returns its standard output."""
    process = desk.run(name, [str(part) for part in command])
    process.ends_with(0, timeout_s=timeout_s)
    return process.stdout.decode()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_random(path: Path, size: int) -> str:
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    return sha256_of(path)


@paths
def test_fifty_downloads_at_once_are_exact(desk: Desk, flags: tuple[str, ...]) -> None:
    needs("curl")
    site, got = desk.folder / "site", desk.folder / "got"
    site.mkdir()
    got.mkdir()
    digests = {}
    for number in range(50):
        path = site / f"file{number}"
        path.write_bytes(os.urandom(1000 + 3000 * number))
        digests[path.name] = sha256_of(path)
    link = shared_port(desk, web_server(desk, site), *flags)
    await_path(link, flags)

    url = f"http://127.0.0.1:{link.port}/file[0-49]"
    parallel = ("--parallel", "--parallel-max", "50", "--no-progress-meter", "--fail")
    run(desk, "curl", "curl", *parallel, url, "-o", got / "file#1")

    assert {path.name: sha256_of(path) for path in got.iterdir()} == digests
    link.stop()


@paths
def test_a_large_download_is_exact(desk: Desk, is_full: bool, flags: tuple[str, ...]) -> None:
    needs("curl")
    site = desk.folder / "site"
    site.mkdir()
    digest = write_random(site / "large", (500 if is_full else 10) * MIB)
    link = shared_port(desk, web_server(desk, site), *flags)
    await_path(link, flags)

    copy = desk.folder / "copy"
    url = f"http://127.0.0.1:{link.port}/large"
    run(desk, "curl", "curl", "-sSf", "-o", copy, url, timeout_s=FULL_S if is_full else PROGRAM_S)

    assert sha256_of(copy) == digest
    link.stop()


def test_an_event_stream_stays_open_and_each_event_comes_at_once(desk: Desk, is_full: bool) -> None:
    needs("curl")
    port = free_port()
    source = Path(__file__).with_name("event_source.py")
    desk.run("events", [sys.executable, source, str(port)])
    await_listener(port)
    link = shared_port(desk, port)
    base = f"http://127.0.0.1:{link.port}"
    reader = desk.run("reader", ["curl", "-sSN", f"{base}/events"])

    expected = b""
    for number in range(10):
        if number == 5:
            time.sleep(IDLE_S if is_full else 1)  # longer than any pause between pings
        run(desk, f"say {number}", "curl", "-sSf", f"{base}/say?word{number}")
        expected += b"data: word%d\n\n" % number
        assert reader.await_output(len(expected), timeout_s=AT_ONCE_S) == expected

    assert reader.is_running
    reader.stop()
    link.stop()


def test_redis_and_its_benchmark(desk: Desk) -> None:
    needs("redis-server", "redis-cli", "redis-benchmark")
    port = free_port()
    quiet = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir", desk.folder)
    desk.run("redis", ["redis-server", "--port", str(port), *quiet])
    await_listener(port)
    link = shared_port(desk, port)

    value = "v" * 100_000
    client = ("redis-cli", "-p", str(link.port))
    assert run(desk, "set", *client, "SET", "key", value).strip() == "OK"
    assert run(desk, "get", *client, "GET", "key").strip() == value
    benchmark = ("redis-benchmark", "-p", str(link.port), "-q", "--csv")
    said = run(desk, "benchmark", *benchmark, "-n", "2000", "-c", "50", "-t", "set,get,lpush")

    assert [line.partition(",")[0] for line in said.splitlines()[-3:]] == [
        '"SET"',
        '"GET"',
        '"LPUSH"',
    ]
    link.stop()


def test_sftp_over_openssh_is_exact_both_ways(desk: Desk, is_full: bool) -> None:
    needs("sshd", "sftp", "ssh-keygen")
    folder = desk.folder / "ssh"
    folder.mkdir(mode=0o700)
    port = start_sshd(desk, folder)
    link = shared_port(desk, port)
    digest = write_random(folder / "original", (200 if is_full else 4) * MIB)
    batch = folder / "batch"
    batch.write_text(f"put {folder}/original {folder}/there\nget {folder}/there {folder}/back\n")

    options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
               "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", folder / "user",
               "-P", str(link.port), "-b", batch)  # fmt: skip
    user = f"{os.environ.get('USER') or 'root'}@127.0.0.1"
    run(desk, "sftp", "sftp", *options, user, timeout_s=FULL_S if is_full else PROGRAM_S)

    assert sha256_of(folder / "there") == sha256_of(folder / "back") == digest
    link.stop()


def start_sshd(desk: Desk, folder: Path) -> int:
    """Run an OpenSSH server of our own; returns its port."""
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True, timeout=PROGRAM_S)
    port = free_port()
    settings = folder / "sshd_config"
    settings.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it gives up its rights
    desk.run("sshd", [shutil.which("sshd") or "sshd", "-D", "-e", "-f", settings])
    await_listener(port)
    return port


@paths
@pytest.mark.parametrize("direction", ["up", "down"])
def test_iperf3_runs_to_its_end_in_both_directions(
    desk: Desk, is_full: bool, direction: str, flags: tuple[str, ...]
) -> None:
    needs("iperf3")
    port = free_port()
    desk.run("iperf3 server", ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(port)])
    await_listener(port)
    link = shared_port(desk, port, *flags)
    await_path(link, flags)

    size = (256 if is_full else 8) * MIB
    client = ("iperf3", "-c", "127.0.0.1", "-p", str(link.port), "-n", str(size), "-P", "2", "-J")
    said = json.loads(run(desk, "iperf3", *client, *(["-R"] if direction == "down" else [])))

    assert "error" not in said
    # Its receiver stops counting when the sender's word of the end comes, by another connection.
    assert said["end"]["sum_sent"]["bytes"] >= size
    assert 0 < said["end"]["sum_received"]["bytes"] <= said["end"]["sum_sent"]["bytes"]
    link.stop()


def test_a_name_with_several_addresses_is_reached_on_the_one_that_listens(desk: Desk) -> None:
    """localhost is 127.0.0.1 and ::1; this server has the second alone."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        link = shared_port(desk, f"localhost:{listener.getsockname()[1]}")
        with link.connect() as client:
            served, _ = listener.accept()
            served.sendall(b"six")
            served.close()
            assert client.recv(10) == b"six"
    link.stop()
