"""Pairs of `send` and `receive`, as people start them."""

import os
from pathlib import Path

from desk import Desk, token_of
from support.processes import Process

TREE_FILES = 60


def send(desk: Desk, *words: str | Path, name: str = "send", **rest: object) -> Process:
    """Start a sender at the desk's relay."""
    return desk.derphole(name, "send", "--relay", desk.relay_url, *words, **rest)  # type: ignore[arg-type]


def receive(
    desk: Desk, sender: Process, *words: str | Path, name: str = "receive", **rest: object
) -> Process:
    """Start a receiver with the code that the sender printed."""
    return desk.derphole(name, "receive", *words, token_of(sender), **rest)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(os.listdir(folder))


def part_size(folder: Path) -> int:
    """Return how much of an unfinished file there is."""
    parts = [folder / ".large.bin.derphole-part", folder / ".photo.jpg.derphole-part"]
    return sum(path.stat().st_size for path in parts if path.exists())


def make_tree(root: Path, files: int = TREE_FILES) -> Path:
    """Make a tree with everything that a tree may have, and return it."""
    (root / "sub" / "empty").mkdir(parents=True)
    for number in range(files):
        path = root / "sub" / f"file {number}"
        path.write_bytes(bytes([number % 251]) * (number * 37))
        os.utime(path, ns=(number * 10**9, number * 10**9 + 1))
    (root / "ünï\ncode").write_bytes(b"name")
    (root / "-dash").write_bytes(b"")
    with open(os.fsencode(root) + b"/\xff\xfe", "wb") as file:
        file.write(b"not UTF-8")
    os.chmod(root / "-dash", 0o755)
    (root / "link").symlink_to("sub/file 1")
    os.chmod(root / "sub" / "empty", 0o700)
    return root


def facts(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Return everything about a tree that has to arrive: contents, modes, times, links."""
    found: dict[bytes, tuple[object, ...]] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            key = os.path.relpath(path, top)
            if os.path.islink(path):
                found[key] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                found[key] = ("folder", status.st_mode, status.st_mtime_ns)
            else:
                with open(path, "rb") as file:
                    found[key] = ("file", status.st_mode, status.st_mtime_ns, file.read())
    return found
