"""The key file of a relay, interchangeable with derper's `-c` file.

    {"PrivateKey": "privkey:" and 64 hexadecimal digits}

Other members are kept out of it and ignored.  Source: tailscale types/key/node.go,
cmd/derper/derper.go.  Blocks on the disk: for start-up only.
"""

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from derphole.errors import KeyFileUnusable
from tunnel.crypto.keys import KeyPair
from tunnel.units import KEY_SIZE
from tunnel.values import frozen

# Fixed by derper.
PREFIX = "privkey:"
_KEY = re.compile(rf"{PREFIX}([0-9a-fA-F]{{{2 * KEY_SIZE}}})")

# Chosen: derper's file has 90 bytes.
MAX_FILE_SIZE = 64 << 10
FILE_MODE = 0o600
FOREIGN_BITS = 0o077


@frozen
class LoadedKey:
    """A relay's key pair.

    Args:
        keys: the pair.
        is_new: there is no file; `write_new` makes it.
        is_exposed: others on this machine may read the file.
    """

    keys: KeyPair
    is_new: bool = False
    is_exposed: bool = False


def load_or_make(path: Path, entropy: Callable[[int], bytes]) -> LoadedKey:
    """Read a key file, or make a key for one that is still to be written.

    Raises `KeyFileUnusable`.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        return LoadedKey(KeyPair.from_secret(entropy(KEY_SIZE)), is_new=True)
    except OSError as error:
        raise KeyFileUnusable(f"{path} cannot be read: {error.strerror}") from error


def _load(path: Path) -> LoadedKey:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        data = file.read(MAX_FILE_SIZE + 1)
    keys = KeyPair.from_secret(_decode(path, data))
    is_exposed = os.name == "posix" and bool(stat.S_IMODE(mode) & FOREIGN_BITS)
    return LoadedKey(keys, is_exposed=is_exposed)


def _decode(path: Path, data: bytes) -> bytes:
    try:
        document = json.loads(data) if len(data) <= MAX_FILE_SIZE else None
    except (ValueError, RecursionError):
        document = None
    text = document.get("PrivateKey") if isinstance(document, dict) else None
    match = _KEY.fullmatch(text) if isinstance(text, str) else None
    # Without from: the cause would carry the file's bytes.
    if match is None or not any(secret := bytes.fromhex(match[1])):
        raise KeyFileUnusable(
            f"{path} is not a relay key file: it must hold "
            f'{{"PrivateKey":"{PREFIX}<64 hex digits>"}}'
        )
    return secret


def write_new(path: Path, keys: KeyPair) -> None:
    """Write a key into a new file for its owner only; raises `KeyFileUnusable`."""
    text = json.dumps({"PrivateKey": PREFIX + keys.secret.hex()}) + "\n"
    try:
        # O_EXCL: two relays that start at once must not end up with one file and two keys.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    except FileExistsError as error:
        raise KeyFileUnusable(
            f"{path} was written by another program just now", "start the relay again"
        ) from error
    except OSError as error:
        raise KeyFileUnusable(f"{path} cannot be written: {error.strerror}") from error
