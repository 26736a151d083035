"""Asks git what belongs to a folder.  Blocks."""

import os
import subprocess
from collections.abc import Iterator

from derphole.edges.programs import clean_environment
from derphole.transfer.names import path_fault
from derphole.transfer.selection import GitListing, git_listing
from tunnel.units import Seconds

# Chosen.
MAX_LISTING = 1 << 28  # bytes
MAX_NESTING = 32  # repositories in each other
GIT_TIMEOUT_S: Seconds = 300.0

# A file system monitor is a program that the repository names, and it may be anybody's.
COMMAND = ("git", "-c", "core.fsmonitor=false", "ls-files", "-z", "-co", "--exclude-standard")
# What would make git speak of another repository than the one of the folder.
MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_LITERAL_PATHSPECS")


def listed_by_git(folder: bytes) -> GitListing | None:
    """Return what git lists in a folder: tracked files, and others that it does not ignore.

    None where git is not installed, the folder is in no repository, or git refuses to answer.
    Repositories in it are asked too.
    """
    paths = _listed(folder)
    return None if paths is None else git_listing(_nested(folder, paths, b"", 0))


def _nested(folder: bytes, paths: list[bytes], prefix: bytes, depth: int) -> Iterator[bytes]:
    for path in paths:
        inner = path.rstrip(b"/")
        whole = prefix + inner
        if path_fault(whole) is not None:
            continue
        # Git names another repository, or a submodule, and does not look into it.
        below = os.path.join(folder, inner)
        if not _is_folder(below):
            yield whole
            continue
        yield whole + b"/."  # so that the folder counts, even with nothing in it
        inside = _listed(below) if depth < MAX_NESTING else None
        yield from _nested(below, inside or [], whole + b"/", depth + 1)


def _is_folder(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _listed(folder: bytes) -> list[bytes] | None:
    environment = clean_environment(os.environ, *MISLEADING)
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(  # noqa: S603 - the command is a constant
            COMMAND,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode or len(done.stdout) > MAX_LISTING:
        return None
    return [path for path in done.stdout.split(b"\0") if path]
