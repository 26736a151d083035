"""Usage: sizes.py FOLDER

Prints the sizes of the files of a release, and fails when one has outgrown its bound: a module that
nobody meant to freeze shows here first.
"""

import re
import sys
from pathlib import Path

MEGABYTE = 1_000_000
# The first pattern that fits a name bounds it, in megabytes.
BOUNDS = (
    (r".*\.whl", 1.5),
    (r"derphole-[\d.]+(dev\d+)?\.tar\.gz", 1.5),
    (r".*-licenses\.txt|.*\.cdx\.json|SHA256SUMS", 0.5),
    (r"derp(hole|tun)-[\d.]+(-dev\.\d+)?\.tgz", 0.1),
    (r".*\.tar\.gz|.*\.tgz|.*\.deb|.*\.zip", 18.0),
    (r"derphole-.*", 28.0),  # the program in one file
)


def bound_of(name: str) -> float | None:
    """Return how large a file may be, in megabytes; None when no pattern fits."""
    return next((most for pattern, most in BOUNDS if re.fullmatch(pattern, name)), None)


def faults(sizes: dict[str, int]) -> list[str]:
    """Return a sentence for every file that is too large, or that nobody knows."""
    found = []
    for name, size in sizes.items():
        most = bound_of(name)
        if most is None:
            found.append(f"{name}: no bound is set for such a file")
        elif size > most * MEGABYTE:
            found.append(f"{name}: {size / MEGABYTE:.1f} MB, over {most} MB")
        elif size == 0:
            found.append(f"{name}: empty")
    return found


def main() -> None:
    """Print and judge."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    files = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_file())
    sizes = {path.name: path.stat().st_size for path in files}
    for name, size in sizes.items():
        print(f"{size / MEGABYTE:7.2f} MB of {bound_of(name) or 0:5.1f}  {name}")
    found = faults(sizes)
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
