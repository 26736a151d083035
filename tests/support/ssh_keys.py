"""Public keys for tests: made by hand from their strings, or by the real ssh-keygen."""

import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import pytest

from derphole.ssh.public_key import PublicKey, parse_public_key

KEYGEN_S = 60
# The base points of the curves, uncompressed: SEC 2, sections 2.4.2, 2.5.1 and 2.6.1.
BASE_POINTS = {
    b"nistp256": bytes.fromhex(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    ),
    b"nistp384": bytes.fromhex(
        "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7"
        "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f"
    ),
    b"nistp521": bytes.fromhex(
        "0400c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66"
        "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650"
    ),
}
SK_ED25519 = b"sk-ssh-ed25519@openssh.com"
SK_ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"


def strings(*parts: bytes) -> bytes:
    """Return a row of strings, each with its size before it."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def line_of(*parts: bytes, comment: bytes = b"") -> bytes:
    """Return the line of a key that consists of these strings, of which the first is its type."""
    words = (parts[0], b64encode(strings(*parts)), comment)
    return b" ".join(filter(None, words))


def number(value: int) -> bytes:
    """Return a number as keys have it."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def ed25519_line(seed: int = 0, comment: bytes = b"") -> bytes:
    """Return the line of a key that differs for each seed; nobody has its private half."""
    return line_of(b"ssh-ed25519", seed.to_bytes(32, "big"), comment=comment)


def ed25519_key(seed: int = 0, comment: str = "") -> PublicKey:
    """Return the same as a key."""
    return parse_public_key(ed25519_line(seed, comment.encode()))


LINES = {
    "ed25519": ed25519_line(7),
    "ecdsa 256": line_of(b"ecdsa-sha2-nistp256", b"nistp256", BASE_POINTS[b"nistp256"]),
    "ecdsa 384": line_of(b"ecdsa-sha2-nistp384", b"nistp384", BASE_POINTS[b"nistp384"]),
    "ecdsa 521": line_of(b"ecdsa-sha2-nistp521", b"nistp521", BASE_POINTS[b"nistp521"]),
    "rsa": line_of(b"ssh-rsa", number(65537), number((1 << 2047) | 1)),
    "ed25519 in hardware": line_of(SK_ED25519, bytes(range(32)), b"ssh:"),
    "ecdsa in hardware": line_of(SK_ECDSA, b"nistp256", BASE_POINTS[b"nistp256"], b"ssh:work"),
}


def needs_keygen() -> None:
    """Skip a test where there is no ssh-keygen."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("not installed: ssh-keygen")


def make_key(path: Path, kind: str, bits: int | None = None, comment: str = "me@here") -> Path:
    """Make a pair of keys; returns the file of the public one."""
    size = [] if bits is None else ["-b", str(bits)]
    command = ["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True, timeout=KEYGEN_S)
    return path.with_name(path.name + ".pub")


def keygen_says(path: Path) -> tuple[int, str] | None:
    """Return bits and fingerprint of the key in a file as ssh-keygen has them; None for none."""
    done = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(path)], capture_output=True, check=False, timeout=KEYGEN_S
    )
    if done.returncode:
        return None
    bits, fingerprint = done.stdout.decode().split()[:2]
    return int(bits), fingerprint
