"""Usage: glibc.py [--most VERSION] PATH...

Prints the oldest glibc on which the programs and libraries in these files and folders run, as the
symbols say that they ask for (objdump -T), and which file asks for it.  With --most it fails when
that is newer than what is promised.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ELF = b"\x7fELF"
NEEDED = re.compile(r"\(?GLIBC_(\d+(?:\.\d+)+)\)?")

Version = tuple[int, ...]


def version_of(text: str) -> Version:
    """Return a version that compares as one."""
    return tuple(int(part) for part in text.split("."))


def written(version: Version) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


def programs(paths: list[Path]) -> Iterator[Path]:
    """Yield the ELF files among files and in folders."""
    for start in paths:
        for path in (start, *sorted(start.rglob("*"))):
            if path.is_file() and not (path.is_symlink() and path != start):
                with path.open("rb") as file:
                    if file.read(len(ELF)) == ELF:
                        yield path


def newest_in(symbols: str) -> Version:
    """Return the newest version among what `objdump -T` prints of a file; () for none."""
    asked = (line for line in symbols.splitlines() if "*UND*" in line)
    return max((version_of(found) for line in asked for found in NEEDED.findall(line)), default=())


def newest_of(path: Path) -> Version:
    """Return the newest version that a file asks for."""
    done = subprocess.run(["objdump", "-T", path], capture_output=True, text=True, check=True)
    return newest_in(done.stdout)


def floor_of(paths: list[Path]) -> tuple[Version, Path]:
    """Return the oldest glibc that will do, and one of the files that need it."""
    asked = [(newest_of(path), path) for path in programs(paths)]
    if not asked:
        sys.exit(f"glibc: no program in {', '.join(map(str, paths))}")
    return max(asked)


def main() -> None:
    """Print the version, and judge it."""
    arguments = sys.argv[1:]
    most: Version | None = None
    if arguments[:1] == ["--most"] and len(arguments) > 1:
        most, arguments = version_of(arguments[1]), arguments[2:]
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__)
    floor, path = floor_of([Path(argument) for argument in arguments])
    print(written(floor), path)
    if most is not None and floor > most:
        sys.exit(f"glibc: {path} needs {written(floor)}, and {written(most)} is promised to do")


if __name__ == "__main__":
    main()
