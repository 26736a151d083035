r"""Names of files from another machine: which are refused or changed, and how they are shown.

    refused           empty, `.`, `..`, with a separator or NUL, longer than a file system has them
    reserved          what an unfinished transfer is called: `.NAME.derphole`, `.NAME.derphole-part`
    Windows changes   < > : " | ? * \ and control characters, a dot or space at the end, what is not
                      UTF-8, and the names of devices (CON, NUL, COM1 ...)
    macOS changes     what is not UTF-8

Elsewhere a name is kept byte for byte.  Names are bytes, since that is what Linux has; a path is
its parts with `/` between them, relative, and never ends with one.  Names that a file system takes
for the same (`twin`) are told by folding case and Unicode form.  Pure.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from enum import Enum
from hashlib import blake2b

# Fixed by file systems: what Linux, macOS and Windows all have.
MAX_PART = 255  # bytes of one name
MAX_PATH = 4096  # bytes
# Chosen.
MAX_DEPTH = 256  # parts of a path; a folder that is open costs a descriptor
MAX_SHOWN = 200  # characters of a path that a person is shown
MAX_EXTENSION = 32  # bytes
MAX_NUMBER = 9999  # of `NAME (NUMBER)`

JOURNAL_SUFFIX = b".derphole"
PART_SUFFIX = b".derphole-part"

WINDOWS_CHANGES = {ord(letter): "_" for letter in '<>:"|?*\\'} | dict.fromkeys(range(32), "_")
WINDOWS_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789¹²³"]
)


class System(Enum):
    """Whose rules for names hold."""

    LINUX = "linux"
    MACOS = "macos"
    WINDOWS = "windows"


def system_named(platform: str) -> System:
    """Return the system that `sys.platform` stands for; what is unknown is like Linux."""
    return {"darwin": System.MACOS, "win32": System.WINDOWS}.get(platform, System.LINUX)


def part_fault(part: bytes) -> str | None:
    """Say why a name is refused, as a phrase that follows it; None for a good one."""
    if part in (b"", b".", b".."):
        return "names a folder that is there already" if part else "is empty"
    if b"/" in part:
        return "has a separator in it"
    if b"\0" in part:
        return "has a NUL in it"
    if len(part) > MAX_PART:
        return f"is longer than {MAX_PART} bytes"
    return None


def path_fault(path: bytes) -> str | None:
    """Say why a path is refused, as a phrase that follows it; None for a good one."""
    if len(path) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if path.startswith(b"/"):
        return "begins at the root of the file system"
    parts = path.split(b"/")
    if len(parts) > MAX_DEPTH:
        return f"is deeper than {MAX_DEPTH} folders"
    if b"\0" in path:
        return "has a NUL in it"
    for part in parts:
        if part in (b"", b".", b"..") or len(part) > MAX_PART:
            fault = part_fault(part)
            return f"has a part that {fault}"
    return None


def is_reserved(part: bytes) -> bool:
    """Tell whether a name is one that belongs to an unfinished transfer."""
    if not part.startswith(b"."):
        return False
    lower = part.lower()
    name = lower.removesuffix(PART_SUFFIX).removesuffix(JOURNAL_SUFFIX)
    return lower != name and len(name) > 1


def part_name(name: bytes) -> bytes:
    """Return what a file is called until it is complete."""
    return _beside(name, PART_SUFFIX)


def journal_name(name: bytes) -> bytes:
    """Return what the journal of a transfer to this name is called."""
    return _beside(name, JOURNAL_SUFFIX)


def _beside(name: bytes, suffix: bytes) -> bytes:
    """Return `.NAME` with a suffix; a digest stands for a name that is too long."""
    whole = b"." + name + suffix
    if len(whole) <= MAX_PART:
        return whole
    return b"." + blake2b(name, digest_size=16).hexdigest().encode() + suffix


def order_key(path: bytes) -> bytes:
    """Return what paths of an archive are sorted by: a folder before what is in it."""
    return path.replace(b"/", b"\0")


def local_part(part: bytes, system: System) -> bytes:
    """Return the name that a file gets on a system; the same bytes wherever that has them."""
    if system is System.LINUX or (part.isascii() and system is System.MACOS):
        return part
    text = part.decode("utf-8", "replace" if system is System.WINDOWS else "surrogateescape")
    if system is System.MACOS:
        return "".join(map(_percent, text)).encode()[:MAX_PART]
    text = text.translate(WINDOWS_CHANGES)
    kept = text.rstrip(". ")
    text = kept + "_" * (len(text) - len(kept))
    if text.partition(".")[0].rstrip(" ").upper() in WINDOWS_DEVICES:
        text = f"_{text}"
    return text.encode()


def _percent(letter: str) -> str:
    """Spell a byte that is not UTF-8 as %FF."""
    return f"%{ord(letter) - 0xDC00:02X}" if "\udc80" <= letter <= "\udcff" else letter


def fold(part: bytes) -> str:
    """Return what is equal for names that a file system may take for the same."""
    text = part.decode("utf-8", "surrogateescape")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def twin(part: bytes, present: Iterable[bytes]) -> bytes | None:
    """Return another name among those present that this one was taken for.

    None where the very name is present, or no other one is like it.
    """
    names = list(present)
    if part in names:
        return None
    folded = fold(part)
    return next((name for name in names if fold(name) == folded), None)


def numbered(name: bytes) -> Iterator[bytes]:
    """Yield `NAME (1).EXTENSION` and so on, for who wants a name that is free."""
    stem, extension = _split_extension(name)
    for number in range(1, MAX_NUMBER + 1):
        end = b" (%d)" % number + extension
        yield _cut(stem, MAX_PART - len(end)) + end


def _split_extension(name: bytes) -> tuple[bytes, bytes]:
    """Return a name without its extension, and that with its dot: `.tar.gz` is one."""
    stem, dot, last = name.rpartition(b".")
    if not stem.strip(b".") or len(last) > MAX_EXTENSION:
        return name, b""
    if stem.endswith(b".tar") and len(stem) > len(b".tar"):
        return stem.removesuffix(b".tar"), b".tar" + dot + last
    return stem, dot + last


def _cut(name: bytes, size: int) -> bytes:
    """Return at most so many bytes of a name, not ending in a cut character where it is UTF-8."""
    if len(name) <= size:
        return name
    cut = name[: max(0, size)]
    return cut.decode("utf-8", "ignore").encode() or cut


def shown(path: bytes) -> str:
    r"""Return a path as one line for a person: what is not a letter is spelled as \x1b or \u202e.

    Bytes that are not UTF-8 are spelled as \xff.  A long one is cut in its middle.
    """
    text = _spelled(path)
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[: MAX_SHOWN // 2]}…{text[-MAX_SHOWN // 2 :]}"


def _spelled(path: bytes) -> str:
    text = path.decode("utf-8", "backslashreplace")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter
        if unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text
    )
