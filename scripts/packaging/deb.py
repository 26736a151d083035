"""Usage: deb.py STAGE PROGRAM VERSION

Lays out in the folder STAGE what dpkg-deb packs, from the folder PROGRAM of the frozen program:
files with the modes that they are installed with, and the control files.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import glibc

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "build"
HOME = "usr/lib/derphole"
NEEDED = re.compile(r"NEEDED\s+(\S+)")
# What the frozen program takes from the system, and the package that has it; all of it is glibc.
OF_THE_SYSTEM = re.compile(r"(libc|libm|libdl|librt|libpthread|libutil|ld-linux[-\w]*)\.so\.\d+")
PROGRAMS = ("derphole", "derptun")
LICENCES = ("LICENSE", "THIRD-PARTY-LICENSES.txt")

MAINTAINER = "The derphole authors <derphole@packages.invalid>"
CONTROL = """\
Package: derphole
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size}
Depends: libc6 (>= {glibc})
Suggests: openssh-client
Section: net
Priority: optional
Description: move bytes between two machines without ports or accounts
 Files, folders, byte streams and TCP connections go from one machine to
 another that needs no open port, no account and no server. Both meet on a
 DERP relay, which sees only sealed packets, and move to a direct encrypted
 UDP path when one is found.
 .
 The package has two programs: derphole, and derptun for tunnels that last
 for months, with units of systemd for the latter. An upgrade ends no tunnel
 that runs.
"""
CHANGES = """\
derphole ({version}) unstable; urgency=medium

  * What a user would notice is in changelog.gz.

 -- {maintainer}  {date}
"""
COPYRIGHT = """\
derphole is built from its own sources; the licence of derphole comes first, then those of the works
of others that the program contains.

"""


def write(path: Path, content: bytes, *, is_program: bool = False) -> None:
    """Write a file with the mode that it is installed with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if is_program else 0o644)


def compressed(content: bytes) -> bytes:
    """Return a file as gzip -9n writes it."""
    return gzip.compress(content, 9, mtime=0)


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a folder with their names in it, in their order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def copy_program(program: Path, stage: Path, version: str) -> None:
    """Copy the frozen program, and write the name that its version has where it is installed."""
    content = hashlib.sha256()
    for name, path in files_of(program):
        if name in LICENCES:
            continue
        is_program = name in PROGRAMS
        data = path.read_bytes()
        content.update(f"{name}\0{is_program}\0{len(data)}\0".encode() + data)
        write(stage / HOME / "tree" / name, data, is_program=is_program)
    identity = f"{version}-{content.hexdigest()[:12]}"
    write(stage / HOME / "tree" / "id", f"{identity}\n".encode())
    for name in PROGRAMS:
        link = stage / "usr" / "bin" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../lib/derphole/current/{name}")


def copy_rest(program: Path, stage: Path, version: str) -> None:
    """Copy manual pages, completions, units and texts."""
    share = stage / "usr" / "share"
    for name, path in files_of(RECIPES / "share"):
        is_page = name.startswith("man/")
        content = path.read_bytes()
        target = share / (f"{name}.gz" if is_page else name)
        write(target, compressed(content) if is_page else content)
    for name, path in files_of(RECIPES / "systemd"):
        write(stage / "usr" / "lib" / "systemd" / name, path.read_bytes())
    texts = [(program / name).read_text(encoding="utf-8") for name in LICENCES]
    documents = share / "doc" / "derphole"
    write(documents / "copyright", (COPYRIGHT + "\n\n".join(texts)).encode())
    write(documents / "changelog.gz", compressed((ROOT / "CHANGELOG.md").read_bytes()))
    date = formatdate(int(os.environ["SOURCE_DATE_EPOCH"]))
    changes = CHANGES.format(version=version, maintainer=MAINTAINER, date=date)
    write(documents / "changelog.Debian.gz", compressed(changes.encode()))
    (stage / "etc" / "derptun").mkdir(parents=True)


def check_needs(tree: Path) -> None:
    """End the script when the program needs a library that is neither its own nor glibc's."""
    own = {path.name for path in tree.rglob("*")}
    for path in glibc.programs([tree]):
        done = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True)
        for library in NEEDED.findall(done.stdout):
            if library not in own and not OF_THE_SYSTEM.fullmatch(library):
                sys.exit(f"deb: {path} needs {library}: name its package in {__file__}")


def write_control(stage: Path, version: str) -> None:
    """Write the control files."""
    floor, _ = glibc.floor_of([stage / HOME / "tree"])
    command = ["dpkg", "--print-architecture"]
    architecture = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    installed = list(files_of(stage))
    control = CONTROL.format(
        version=version,
        maintainer=MAINTAINER,
        architecture=architecture.strip(),
        size=sum(-(-path.stat().st_size // 1024) for _, path in installed),
        glibc=glibc.written(floor),
    )
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {name}\n"
        for name, path in installed
        if not path.is_symlink()
    ]
    write(stage / "DEBIAN" / "control", control.encode())
    write(stage / "DEBIAN" / "md5sums", "".join(sums).encode())
    for script in ("postinst", "prerm", "postrm"):
        content = (RECIPES / "deb" / script).read_bytes()
        write(stage / "DEBIAN" / script, content, is_program=True)


def main() -> None:
    """Lay everything out."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    stage, program, version = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    copy_program(program, stage, version)
    copy_rest(program, stage, version)
    check_needs(stage / HOME / "tree")
    write_control(stage, version)
    for path in (stage, *stage.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


if __name__ == "__main__":
    main()
