"""Usage: compare.py FOLDER FOLDER

Compares two folders of files byte by byte, prints the digest of each file, and fails when one
differs or is missing; of archives it says which members differ.
"""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path


def digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def members(path: Path) -> dict[str, str]:
    """Return what tells one member of an archive from another, by name; {} for no archive."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {
                each.filename: f"{each.date_time} {each.external_attr} {digest(archive.read(each))}"
                for each in archive.infolist()
            }
    if path.suffix == ".deb":
        listed = subprocess.run(
            ["dpkg-deb", "--contents", path], capture_output=True, text=True, check=True
        ).stdout
        return {line.split(maxsplit=5)[5]: line for line in listed.splitlines()}
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            return {
                each.name: f"{each.mode:o} {each.mtime} {each.uid} {each.uname} "
                + (digest(archive.extractfile(each).read()) if each.isreg() else "")
                for each in archive
            }
    return {}


def differences(first: Path, second: Path) -> list[str]:
    """Return a sentence for everything in which two folders differ."""
    names = [{path.name for path in folder.iterdir()} for folder in (first, second)]
    found = [f"{name}: only in one of them" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        if (first / name).read_bytes() == (second / name).read_bytes():
            continue
        found.append(f"{name}: differs")
        one, other = members(first / name), members(second / name)
        for member in sorted(one.keys() | other.keys()):
            if one.get(member) != other.get(member):
                found.append(f"    {member}: {one.get(member)} and {other.get(member)}")
    return found


def main() -> None:
    """Compare, and say so."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    first, second = Path(sys.argv[1]), Path(sys.argv[2])
    for path in sorted(first.iterdir()):
        print(digest(path.read_bytes()), path.name)
    found = differences(first, second)
    if found:
        sys.exit("\n".join(found))
    print("both builds are the same, byte by byte")


if __name__ == "__main__":
    main()
