"""What a frozen program is made of: Python packages, and libraries in C that no package tells of.

The packages are those that derphole requires, and what they require in turn.  The libraries are
found by their files; a file that nobody knows is an error, for its licence would be missing.

Run by the Python of the environment that was frozen, which knows the versions.
"""

import re
import ssl
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ROOT / "build" / "licenses"
NAME = re.compile(r"[A-Za-z0-9._-]+")
LICENCE_FILE = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)", re.IGNORECASE)
# Required, and yet not in the frozen program: cffi reads declarations in C with it when it builds.
NOT_FROZEN = {"pycparser"}
# In it, and yet not required: every frozen program begins in its bootloader.
FROZEN_TOO = ("pyinstaller",)


@dataclass(frozen=True)
class Library:
    """A library in C.

    Args:
        name: of the project that makes it.
        licence: as SPDX writes it.
        text: the file in build/licenses, or of the package that brings it.
        files: what its files are called, or the extension module that it is linked into.
        version: of the one in this environment; empty where nothing tells.
        owner: the package in whose files it is, when it has none of its own.
    """

    name: str
    licence: str
    text: str
    files: str
    version: Callable[[], str]
    owner: str = ""


def numbers(text: str) -> str:
    """Return the version in what a library says of itself."""
    found = re.search(r"\d+(\.\d+)+[a-z]?", text)
    return found[0] if found else ""


def by_debian(library: str) -> Callable[[], str]:
    """Return what asks the package manager for the version of a library, where there is one."""

    def ask() -> str:
        architecture = sys.implementation._multiarch
        command = ["dpkg-query", "--search", f"*/{architecture}/{library}"]
        try:
            owner = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            package = owner.split(": ")[0]
            command = ["dpkg-query", "--show", "-f", "${Version}", package]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return ""

    return ask


def openssl_version() -> str:
    return numbers(ssl.OPENSSL_VERSION)


def zlib_version() -> str:
    return zlib.ZLIB_RUNTIME_VERSION


def libev_version() -> str:
    from gevent.libev import corecext

    return numbers(corecext.get_version())


def expat_version() -> str:
    import pyexpat

    return numbers(pyexpat.EXPAT_VERSION)


def xxhash_version() -> str:
    import xxhash

    return xxhash.XXHASH_VERSION


def python_version() -> str:
    return sys.version.split()[0]


LIBRARIES = (
    Library(
        "Python",
        "PSF-2.0",
        "python.txt",
        r"libpython3[.\d]*(so|dylib).*|Python|python3\d+\.dll|.*/lib-dynload/.*",
        python_version,
    ),
    Library("OpenSSL", "Apache-2.0", "openssl.txt", r"lib(crypto|ssl)[-.].*", openssl_version),
    Library("zlib", "Zlib", "zlib.txt", r"libz\.(so|dylib|1).*", zlib_version),
    Library("libffi", "MIT", "libffi.txt", r"libffi[-.].*", by_debian("libffi.so.8")),
    Library("Expat", "MIT", "expat.txt", r"libexpat\..*", expat_version),
    Library(
        "GCC runtime",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
        "gcc-runtime.txt",
        r"lib(gcc_s|stdc\+\+)\..*",
        by_debian("libgcc_s.so.1"),
    ),
    Library("libev", "BSD-2-Clause", "libev.txt", r"gevent/libev/.*", libev_version, "gevent"),
    Library("libsodium", "ISC", "", r"nacl/_sodium\..*", lambda: "", "PyNaCl"),
    Library("xxHash", "BSD-2-Clause", "xxhash.txt", r"xxhash/_xxhash\..*", xxhash_version),
)
# Folders and modules of packages whose extension modules are their own code.
OF_PACKAGES = re.compile(r"(gevent|greenlet|zope|nacl|xxhash)/.*|_cffi_backend\..*|_netifaces\..*")
BINARY = re.compile(r".*\.(so(\.\d+)*|dylib|dll|pyd)|Python")


def packages() -> list[metadata.Distribution]:
    """Return the Python packages that are frozen, in the order of their names."""
    waiting, found = ["derphole"], {}
    while waiting:
        name = waiting.pop()
        distribution = metadata.distribution(name)
        for requirement in distribution.requires or []:
            needed = NAME.match(requirement)[0]
            is_extra = "extra ==" in requirement
            if (
                not is_extra
                and needed not in found
                and needed not in NOT_FROZEN
                and installed(needed)
            ):
                found[needed] = metadata.distribution(needed)
                waiting.append(needed)
    found |= {name: metadata.distribution(name) for name in FROZEN_TOO}
    return sorted(found.values(), key=lambda each: each.name.lower())


def installed(name: str) -> bool:
    """Tell whether a package is here; some are required on other systems alone."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def libraries(tree: Path) -> Iterator[tuple[Library, list[Path]]]:
    """Yield the libraries whose files are in a frozen program; an unknown file ends the script."""
    inside = tree / "_internal"
    files = [path.relative_to(inside) for path in sorted(inside.rglob("*")) if path.is_file()]
    binaries = [path for path in files if BINARY.fullmatch(path.name)]
    known: set[Path] = {path for path in binaries if OF_PACKAGES.fullmatch(path.as_posix())}
    for library in LIBRARIES:
        pattern = re.compile(library.files)
        here = [path for path in files if pattern.fullmatch(path.as_posix())]
        known.update(here)
        if here:
            yield library, [inside / path for path in here]
    strangers = sorted(path.as_posix() for path in set(binaries) - known)
    if strangers:
        sys.exit(
            f"whose are these, and under which licence? {', '.join(strangers)}: see {__file__}"
        )


def texts_of(distribution: metadata.Distribution) -> list[str]:
    """Return the texts of the licences that a package brings."""
    files = [file for file in distribution.files or [] if ".dist-info" in file.parts[0]]
    own = sorted(str(file) for file in files if LICENCE_FILE.search(file.name))
    return [Path(distribution.locate_file(name)).read_text(encoding="utf-8") for name in own]
