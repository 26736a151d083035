"""The person's own ssh config: a block is put behind what is there.  Blocks."""

import os
import re

from derphole.edges.destination import PRIVATE_FILE, PRIVATE_FOLDER
from derphole.edges.stdio import reason_text
from derphole.errors import ConfigUnwritable


def append_block(home: str, alias: str, block: str) -> str | None:
    """Append a block for a host to `~/.ssh/config`, made if it is missing.

    Returns the file's path, or None where it has a block of that name.  Raises `ConfigUnwritable`.
    """
    folder = os.path.join(home, ".ssh")
    path = os.path.join(folder, "config")
    try:
        os.makedirs(folder, PRIVATE_FOLDER, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE_FILE)
        with os.fdopen(fd, "r+b") as file:
            contents = file.read()
            # More patterns may stand in one line.
            if re.search(
                rb"(?mi)^\s*Host\s+(?:\S+\s+)*" + re.escape(alias.encode()) + rb"(?:\s|$)", contents
            ):
                return None
            gap = b"" if not contents else (b"\n" if contents.endswith(b"\n") else b"\n\n")
            file.write(gap + block.encode() + b"\n")
    except OSError as error:
        raise ConfigUnwritable(path, reason_text(error)) from error
    return path
