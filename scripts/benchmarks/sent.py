"""`send` and `receive`, whole processes: a file beside `pipe`, a tree beside tar and scp over ssh.

Each is measured from the start of the side that is started last until both have ended; the side
that waits was ready before.  The tree lies in memory (/dev/shm) where there is such a thing, so
that the programs are measured and not the disk.  Rivals need root and an sshd (a namespace with
nothing but a loopback); without them their rows are missing.
"""

import filecmp
import getpass
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from figure import Figure
from processes import DERPHOLE, Process, Usage, listen, pipe, relay
from relayed import check_copy, timed, write_random
from rivals import LOOPBACK, ROOT, SSH_PORT, Scp, Site

sys.path += [str(ROOT / "tests" / part) for part in ("natlab", "")]

from namespaces import Namespace, ip_batch, missing_requirements, own_name, remove_namespaces

MIB = 1 << 20
SIZE, QUICK_SIZE = 1024 * MIB, 64 * MIB
FILES, QUICK_FILES = 20_000, 500
MANY, QUICK_MANY = 100_000, 2_000
SMALLEST, LARGEST = 1 << 10, 8 << 10
PER_FOLDER = 200
SSH_OPTIONS = ["-q", "-F", "none", "-o", "BatchMode=yes"]
SSH_OPTIONS += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]


def run(rounds: int, is_quick: bool) -> list[Figure]:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="derphole-bench-", dir=memory) as folder:
        place = Path(folder)
        figures = file_figures(rounds, place, QUICK_SIZE if is_quick else SIZE)
        figures += tree_figures(rounds, place, QUICK_FILES if is_quick else FILES)
        figures += code_figures(rounds, place, QUICK_MANY if is_quick else MANY)
    return figures


def file_figures(rounds: int, place: Path, size: int) -> list[Figure]:
    """One file: the rate of `send` as a share of that of `pipe`, and what it costs."""
    source, copy = place / "source", place / "copy"
    digest = write_random(source, size)
    shares, rates, peaks = [], [], []
    for _ in range(rounds):
        with relay() as url:
            receiver, token = listen(url, copy)
            piped_s, _ = timed(lambda url=url, token=token: pipe(url, token, source), receiver)
            check_copy(copy, digest)
            copy.unlink()
            sent_s, usages = send_once(url, source, copy)
            check_copy(copy, digest)
            copy.unlink()
        shares.append(piped_s / sent_s)
        rates.append(size / sent_s / 1e6)
        peaks.append(max(usage.peak_mb for usage in usages))
    source.unlink()
    return [
        Figure("send of one file, direct, vs pipe", "x", shares, 0.95),
        Figure("  the same, rate", "MB/s", rates),
        Figure("  peak memory of the larger process", "MB", peaks, 100, is_upper_bound=True),
    ]


def send_once(url: str, source: Path, output: Path) -> tuple[float, list[Usage]]:
    """Return the seconds from the receiver's start to the end of both, and what both cost."""
    sender = Process(
        [*DERPHOLE, "send", "--relay", url, str(source)], subprocess.DEVNULL, subprocess.DEVNULL
    )
    code = sender.wait_line(r"dhp1_\S+")
    command = [*DERPHOLE, "receive", "-o", str(output), code]
    return timed(lambda: Process(command, subprocess.DEVNULL, subprocess.DEVNULL), sender)


def tree_figures(rounds: int, place: Path, files: int) -> list[Figure]:
    """A tree of small files, beside scp -r and tar over ssh."""
    tree, copy = place / "tree", place / "copy"
    make_tree(tree, files)
    samples: dict[str, list[float]] = {"send": [], "scp -r": [], "tar | ssh tar": []}
    peaks = []
    with ExitStack() as stack:
        site = ssh_site(stack, place)
        for _ in range(rounds):
            with relay() as url:
                seconds, usages = send_once(url, tree, copy)
            check_tree(tree, copy)
            samples["send"].append(seconds)
            peaks.append(max(usage.peak_mb for usage in usages))
            if site is not None:
                for name, move in (("scp -r", scp_tree), ("tar | ssh tar", tar_tree)):
                    samples[name].append(move(site, tree, copy))
                    check_tree(tree, copy)
    shutil.rmtree(tree)
    figures = [Figure(f"send of {files} small files", "s", samples["send"])]
    figures.append(
        Figure("  peak memory of the larger process", "MB", peaks, 100, is_upper_bound=True)
    )
    if site is None:
        return figures
    faster, longer = (
        [other / mine for mine, other in zip(samples["send"], samples[name], strict=True)]
        for name in ("scp -r", "tar | ssh tar")
    )
    longer = [1 / ratio for ratio in longer]
    return [
        *figures,
        Figure("  scp -r takes that many times as long", "x", faster, 3.0),
        Figure("  send against tar | ssh tar", "x", longer, 1.6, 1.25, is_upper_bound=True),
        Figure("  scp -r", "s", samples["scp -r"], is_other=True),
        Figure("  tar | ssh tar", "s", samples["tar | ssh tar"], is_other=True),
    ]


def ssh_site(stack: ExitStack, place: Path) -> Site | None:
    """Return where ssh runs, with an sshd; None where there can be none."""
    if Scp().lacks() or missing_requirements():
        return None
    name = own_name("bench", "lo")
    ip_batch([f"netns add {name}"])
    stack.callback(remove_namespaces, [name])
    namespace = Namespace(name)
    namespace.ip("link set lo up")
    private = place / "ssh"
    private.mkdir()
    site = Site(namespace.command([]), private)
    stack.enter_context(Scp().servers(site))
    return site


def scp_tree(site: Site, tree: Path, copy: Path) -> float:
    key = ["-P", str(SSH_PORT), "-i", str(site.folder / "user")]
    target = f"{getpass.getuser()}@{LOOPBACK}:{copy}"
    return seconds_of(site.command("scp", "-r", "-p", *SSH_OPTIONS, *key, tree, target))


def tar_tree(site: Site, tree: Path, copy: Path) -> float:
    copy.mkdir()
    key = f"-p {SSH_PORT} -i {site.folder / 'user'} {getpass.getuser()}@{LOOPBACK}"
    ssh = f"ssh {' '.join(SSH_OPTIONS)} {key}"
    line = f"tar -C {tree} -cf - . | {ssh} tar -C {copy} -xpf -"
    return seconds_of(site.command("sh", "-c", line))


def seconds_of(command: list[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode(errors='replace')}")
    return time.perf_counter() - began


def code_figures(rounds: int, place: Path, files: int) -> list[Figure]:
    """How long a person waits for the code of a large tree."""
    tree = place / "many"
    make_tree(tree, files, smallest=1, largest=100)
    samples = []
    with relay() as url:
        for _ in range(2 * rounds):
            began = time.perf_counter()
            sender = Process(
                [*DERPHOLE, "send", "--relay", url, str(tree)],
                subprocess.DEVNULL,
                subprocess.DEVNULL,
            )
            sender.wait_line(r"dhp1_\S+")
            samples.append(time.perf_counter() - began)
            sender.stop()
    return [Figure(f"code of a tree of {files} files", "s", samples, 0.4, is_upper_bound=True)]


def make_tree(tree: Path, files: int, smallest: int = SMALLEST, largest: int = LARGEST) -> None:
    """Make a tree of random files."""
    chance = random.Random(1)
    for number in range(files):
        folder = tree / f"{number // PER_FOLDER}"
        if not number % PER_FOLDER:
            folder.mkdir(parents=True)
        (folder / f"{number}").write_bytes(chance.randbytes(chance.randint(smallest, largest)))


def check_tree(tree: Path, copy: Path) -> None:
    """Raise `RuntimeError` unless a copy is the tree, and remove it."""
    for folder in tree.iterdir():
        names = [path.name for path in folder.iterdir()]
        same, *others = filecmp.cmpfiles(folder, copy / folder.name, names, shallow=False)
        if len(same) != len(names) or any(others):
            raise RuntimeError("the copy of the tree differs")
    shutil.rmtree(copy)
