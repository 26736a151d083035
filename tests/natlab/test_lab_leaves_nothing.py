"""The lab leaves nothing behind, whatever happens to it, and says what it lacks."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lab import Lab
from namespaces import (
    RUN_NETNS,
    missing_requirements,
    new_folder,
    remove_leftovers,
    rootless_command,
)
from natlab_support import await_gone, require

HERE = Path(__file__).parent
CRASHING = """
import sys
sys.path.insert(0, sys.argv[1])
from lab import Lab
lab = Lab().__enter__()
sleeper = lab.a.start(["sleep", "1000"])
print(sleeper.pid, lab.a.name, lab.folder, flush=True)
sys.stdin.read()
"""
ROOTLESS = """
import os
import sys
sys.path.insert(0, sys.argv[1])
from lab import Lab
from nat_kinds import NatKind
from reflector import observe, reflecting
from topology import Topology
from wires import Impairment
with Lab(Topology(nat_a=NatKind.SYMMETRIC)) as lab:
    lab.wire("a").impair(Impairment(delay_ms=5))
    with reflecting(lab.public, lab.public_addresses) as reflector:
        print(observe(lab.a, reflector).mapping)
"""
NOBODY = 65534


def test_nothing_is_left_of_a_lab():
    with Lab() as lab:
        names = [lab.public.name, lab.a.name, lab.router("b").name]
        sleeper = lab.a.start(["sleep", "1000"])
        folder = lab.folder
        assert all((RUN_NETNS / name).exists() for name in names)

    assert sleeper.returncode == -signal.SIGKILL
    assert not any((RUN_NETNS / name).exists() for name in names)
    assert not folder.exists()


def test_a_failure_inside_the_lab_takes_it_down():
    name = ""
    with pytest.raises(RuntimeError, match="planted"), Lab() as lab:
        name = lab.a.name
        raise RuntimeError("planted")

    assert not (RUN_NETNS / name).exists()


def test_what_a_killed_run_left_is_removed_with_its_processes():
    crashing = subprocess.Popen(
        [sys.executable, "-c", CRASHING, HERE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with crashing:
        assert crashing.stdout is not None
        pid, name, folder = crashing.stdout.readline().split()
        assert name not in remove_leftovers()  # its owner lives
        assert Path(folder).exists()
        crashing.kill()
        crashing.wait()

    assert name in remove_leftovers()
    assert not (RUN_NETNS / name).exists()
    assert not Path(folder).exists()
    await_gone(lambda: is_running(int(pid)), "a process of the killed run")


def test_a_user_without_rights_can_have_a_lab(tmp_path_factory: pytest.TempPathFactory):
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    require(python, "needs a Python that every user may run: apt-get install python3")
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    may = subprocess.run([*become, "unshare", "--map-root-user", "true"], capture_output=True)
    require(may.returncode == 0, "this kernel lets no user make namespaces")
    folder = open_copy(HERE)
    try:
        command = rootless_command([str(python), "-c", ROOTLESS, str(folder)])
        done = subprocess.run(
            [*become, *command], capture_output=True, text=True, timeout=30, cwd="/"
        )
    finally:
        shutil.rmtree(folder)

    assert done.stdout.strip() == "address-and-port-dependent", done.stderr


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nonexistent")

    assert missing_requirements() == ("the lab needs the packages iproute2, nftables, util-linux")


def is_running(pid: int) -> bool:
    """Whether a process, of whomever, is there and no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return ") Z " not in Path(f"/proc/{pid}/stat").read_text()


def open_copy(source: Path) -> Path:
    """Return a copy of the lab's modules that every user may read."""
    folder = new_folder("copy")
    for module in source.glob("*.py"):
        shutil.copy(module, folder)
        (folder / module.name).chmod(0o644)
    return folder
