"""The public keys of the person who runs us: those of the agent, and those in ~/.ssh.  Blocks."""

import os
import stat
import subprocess
from collections.abc import Iterator, Mapping

from derphole.edges.programs import clean_environment
from derphole.edges.stdio import reason_text
from derphole.errors import KeyRefused, NoKeyFound
from derphole.ssh.public_key import MAX_LINE, KeyUnusable, PublicKey, parse_public_key
from tunnel.units import Seconds
from tunnel.values import frozen

# Chosen.
AGENT_TIMEOUT_S: Seconds = 5.0
MAX_FOUND = 100
FIRST = "id_ed25519.pub"
SUFFIX = ".pub"


@frozen
class FoundKey:
    """A key, and where it is from.

    Args:
        key: it.
        place: a file, or "the agent".
    """

    key: PublicKey
    place: str


def key_in_file(path: str) -> FoundKey:
    """Return the key in a file; raises `KeyRefused`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe is waited for else
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise KeyRefused(path, "is not a file")
            data = file.read(MAX_LINE + 1)
    except OSError as error:
        raise KeyRefused(path, f"cannot be read: {reason_text(error)}") from error
    try:
        return FoundKey(parse_public_key(data), path)
    except KeyUnusable as error:
        raise KeyRefused(path, str(error)) from error


def keys_in_folder(folder: str) -> list[FoundKey]:
    """Return the keys in the .pub files of a folder, `id_ed25519.pub` first."""
    try:
        names = [name for name in os.listdir(folder) if name.endswith(SUFFIX)]
    except OSError:
        return []
    found = []
    for name in sorted(names, key=lambda each: (each != FIRST, each))[:MAX_FOUND]:
        try:
            found.append(key_in_file(os.path.join(folder, name)))
        except KeyRefused:
            continue  # a certificate lies beside its key
    return found


def own_keys(environ: Mapping[str, str]) -> list[FoundKey]:
    """Return the keys of this person, each once; raises `NoKeyFound` where there is none."""
    folder = os.path.join(os.path.expanduser("~"), ".ssh")
    found: dict[bytes, FoundKey] = {}
    for each in [*keys_in_folder(folder), *_keys_of_agent(environ)]:
        found.setdefault(each.key.blob, each)
    if not found:
        raise NoKeyFound(f"{folder} or the agent", _private_in(folder))
    return list(found.values())


def _private_in(folder: str) -> str | None:
    """Return a private key whose public one can be made of it, if there is one."""
    paths = (os.path.join(folder, f"id_{kind}") for kind in ("ed25519", "ecdsa", "rsa"))
    return next((path for path in paths if os.path.isfile(path)), None)


def _keys_of_agent(environ: Mapping[str, str]) -> Iterator[FoundKey]:
    if "SSH_AUTH_SOCK" not in environ:
        return
    try:
        done = subprocess.run(
            ["ssh-add", "-L"],  # noqa: S607 - the person's own
            env=clean_environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=AGENT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.returncode:
        return
    for line in done.stdout.splitlines()[:MAX_FOUND]:
        try:
            yield FoundKey(parse_public_key(line), "the agent")
        except KeyUnusable:
            continue
