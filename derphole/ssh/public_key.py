"""PublicKey: one line of an OpenSSH public key, taken apart and checked.

    ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI... me@laptop
    type        key, base64                  comment

The base64 is a row of strings, each with its size before it (RFC 4253, section 6.6): the type once
more, then what the type has (RFC 4253, 5656, 8709; OpenSSH's PROTOCOL.u2f for those in hardware).
Everything is checked: a key that sshd cannot read is refused here, where somebody can be told.
Certificates, and DSA, which no sshd takes any more, are not keys to be handed over.  Pure.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256

from tunnel.units import ByteCount
from tunnel.values import frozen

# Fixed by others: a key of RSA has at most this.
ED25519_SIZE = 32
MAX_RSA_BITS = 16384
# Chosen: sshd takes no shorter ones (its RequiredRSASize); dropbear reads no line of 5000 bytes.
MIN_RSA_BITS = 1024
MAX_LINE: ByteCount = 16 * 1024
MAX_COMMENT: ByteCount = 100
MAX_APPLICATION: ByteCount = 200

# A comment may hold the words; a private key begins a line with them.
PRIVATE = re.compile(rb"-- ?BEGIN [A-Z0-9 ]*PRIVATE KEY|^\s*PuTTY-User-Key-File-", re.MULTILINE)
FOREIGN = b"---- BEGIN SSH2 PUBLIC KEY"
CERTIFICATE = b"-cert-v01@openssh.com"
BLANKS = b" \t"  # what sshd takes a line apart at; nothing else counts


@frozen
class _Curve:
    """y**2 = x**3 - 3 * x + b, modulo p.

    Args:
        p: a prime.
        b: a number below it.
    """

    p: int
    b: int

    def has(self, point: bytes) -> bool:
        """Tell whether a point, which must be uncompressed, is on the curve."""
        size = (self.p.bit_length() + 7) // 8
        if len(point) != 1 + 2 * size or point[0] != UNCOMPRESSED:
            return False
        x, y = (int.from_bytes(part, "big") for part in (point[1 : 1 + size], point[1 + size :]))
        if max(x, y) >= self.p:
            return False
        return (y * y - (x * x * x - 3 * x + self.b)) % self.p == 0


# Fixed by others: SEC 1, section 2.3.3, and SEC 2, sections 2.4.2, 2.5.1 and 2.6.1.
UNCOMPRESSED = 4
CURVES = {
    b"nistp256": _Curve(
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    b"nistp384": _Curve(
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        int(
            "B3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE814112"
            "0314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF",
            16,
        ),
    ),
    b"nistp521": _Curve(
        2**521 - 1,
        int(
            "0051953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF1"
            "09E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00",
            16,
        ),
    ),
}


class KeyUnusable(ValueError):
    """What was given is no key to hand over; its text goes on from "it"."""


@frozen
class PublicKey:
    """A key that was checked.

    Args:
        type: as in the line.
        blob: the key itself, as in the base64.
        comment: short and printable; may be empty.
    """

    type: str
    blob: bytes
    comment: str = ""

    @property
    def text(self) -> str:
        """The key in base64."""
        return b64encode(self.blob).decode()

    @property
    def line(self) -> str:
        """The line that every server reads: single blanks, no options."""
        return " ".join(filter(None, (self.type, self.text, self.comment)))

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        return "SHA256:" + b64encode(sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def bits(self) -> int:
        """How long it is, as `ssh-keygen -l` counts."""
        return _BITS[self.type](_strings(self.blob))


def parse_public_key(data: bytes) -> PublicKey:
    """Return the one key in a file or message.

    Raises `KeyUnusable` for anything else: a private key, several keys, options before a key, a
    type that is not handed over, a key that is damaged.
    """
    if PRIVATE.search(data):
        raise KeyUnusable(
            "is a private key, which must never leave this machine; use its .pub file"
        )
    if FOREIGN in data:
        raise KeyUnusable(
            "is in another format; `ssh-keygen -i -f FILE` makes an OpenSSH key of it"
        )
    if len(data) > MAX_LINE:
        raise KeyUnusable(f"has more than {MAX_LINE} bytes, which no public key has")
    lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    lines = [line for line in lines if not line.lstrip().startswith(b"#")]
    if not lines:
        raise KeyUnusable("is empty")
    if len(lines) > 1:
        raise KeyUnusable(f"has {len(lines)} lines, and one key is one line")
    return parse_line(lines[0])


def parse_line(line: bytes) -> PublicKey:
    """Return the key in a line without options; raises `KeyUnusable`."""
    words = re.split(rb"[ \t]+", _trimmed(line), maxsplit=2)
    kind = words[0]
    if kind.endswith(CERTIFICATE):
        raise KeyUnusable("is a certificate; hand over the key that it is for")
    name = kind.decode("ascii", "replace")
    if name not in _CHECKS:
        is_behind = any(word in _CHECKS for word in line.decode("ascii", "replace").split()[1:])
        if is_behind:
            raise KeyUnusable("has options before the key")
        if kind == b"ssh-dss":
            raise KeyUnusable("is a DSA key, which servers do not take any more; make another one")
        raise KeyUnusable("is no OpenSSH public key")
    if len(words) < 2:
        raise KeyUnusable("is cut: there is nothing behind the type")
    try:
        blob = b64decode(words[1], validate=True)
    except binascii.Error as error:
        raise KeyUnusable("is damaged: its base64 cannot be read") from error
    if b64encode(blob) != words[1]:
        raise KeyUnusable("is damaged: its base64 has bits too many")
    strings = _strings(blob)
    if strings[:1] != [kind]:
        raise KeyUnusable("is damaged: its type and its key do not belong together")
    _CHECKS[name](strings)
    return PublicKey(name, blob, short_comment(words[2] if len(words) > 2 else b""))


def _trimmed(line: bytes) -> bytes:
    return line.lstrip(BLANKS).rstrip(BLANKS + b"\r\n")


def short_comment(data: bytes) -> str:
    """Return a comment that every server reads and every terminal can show."""
    text = " ".join(data.decode("utf-8", "replace").split())
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown.encode()[:MAX_COMMENT].decode("utf-8", "ignore").strip()


def _strings(blob: bytes) -> list[bytes]:
    """Return the strings that a key consists of; raises `KeyUnusable`."""
    strings, at = [], 0
    while at < len(blob):
        size = int.from_bytes(blob[at : at + 4], "big")
        string = blob[at + 4 : at + 4 + size]
        if len(blob) < at + 4 or len(string) != size:
            raise KeyUnusable("is damaged or cut")
        strings.append(string)
        at += 4 + size
    return strings


def _check_count(strings: list[bytes], count: int) -> None:
    if len(strings) != count:
        raise KeyUnusable("is damaged or cut")


def _check_ed25519(strings: list[bytes]) -> None:
    _check_count(strings, 2)
    if len(strings[1]) != ED25519_SIZE:
        raise KeyUnusable("is damaged: an ed25519 key has 32 bytes")


def _check_ecdsa(strings: list[bytes]) -> None:
    _check_count(strings, 3)
    kind, curve, point = strings
    if kind != b"ecdsa-sha2-" + curve or not CURVES[curve].has(point):
        raise KeyUnusable("is damaged: it is no point of its curve")


def _check_rsa(strings: list[bytes]) -> None:
    _check_count(strings, 3)
    exponent, modulus = (_number(string) for string in strings[1:])
    bits = modulus.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise KeyUnusable(f"is an RSA key of {bits} bits, which servers do not take")
    if exponent < 3 or not exponent % 2 or not modulus % 2:
        raise KeyUnusable("is damaged: these are no numbers of RSA")


def _check_hardware_ed25519(strings: list[bytes]) -> None:
    _check_count(strings, 3)
    _check_ed25519(strings[:2])
    _check_application(strings[2])


def _check_hardware_ecdsa(strings: list[bytes]) -> None:
    _check_count(strings, 4)
    if strings[1] != b"nistp256" or not CURVES[strings[1]].has(strings[2]):
        raise KeyUnusable("is damaged: it is no point of its curve")
    _check_application(strings[3])


def _check_application(application: bytes) -> None:
    if not 0 < len(application) <= MAX_APPLICATION:
        raise KeyUnusable("is damaged: it does not say what it is for")


def _number(string: bytes) -> int:
    """Return a number, which has a bit in front of it that is 0, and no byte too many."""
    number = int.from_bytes(string, "big")
    size = number.bit_length() // 8 + 1
    if not string or len(string) != size:
        raise KeyUnusable("is damaged: a number in it has another size")
    return number


_CHECKS: Mapping[str, Callable[[list[bytes]], None]] = {
    "ssh-ed25519": _check_ed25519,
    "ecdsa-sha2-nistp256": _check_ecdsa,
    "ecdsa-sha2-nistp384": _check_ecdsa,
    "ecdsa-sha2-nistp521": _check_ecdsa,
    "ssh-rsa": _check_rsa,
    "sk-ssh-ed25519@openssh.com": _check_hardware_ed25519,
    "sk-ecdsa-sha2-nistp256@openssh.com": _check_hardware_ecdsa,
}
_BITS: Mapping[str, Callable[[list[bytes]], int]] = {
    "ssh-ed25519": lambda _: 256,
    "ecdsa-sha2-nistp256": lambda _: 256,
    "ecdsa-sha2-nistp384": lambda _: 384,
    "ecdsa-sha2-nistp521": lambda _: 521,
    "ssh-rsa": lambda strings: int.from_bytes(strings[2], "big").bit_length(),
    "sk-ssh-ed25519@openssh.com": lambda _: 256,
    "sk-ecdsa-sha2-nistp256@openssh.com": lambda _: 256,
}
