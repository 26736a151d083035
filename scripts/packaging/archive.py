"""Usage: archive.py FOLDER NAME FILE.tar.gz
       archive.py --again FILE.tar.gz

Packs a folder under a name, or packs an archive once more, so that the bytes tell of what is in it
and of nothing else: names in their order, no owner, the time of SOURCE_DATE_EPOCH, and modes that
tell programs from other files.
"""

import gzip
import io
import os
import stat
import sys
import tarfile
from pathlib import Path

NEWEST_COMPRESSION = 9


def stamped(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Take everything from a member that depends on who packed it, where and when."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = int(os.environ["SOURCE_DATE_EPOCH"])
    member.pax_headers = {}
    is_program = member.isdir() or bool(member.mode & stat.S_IXUSR)
    if not member.issym():
        member.mode = 0o755 if is_program else 0o644
    return member


def packed(members: dict[str, tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """Return a compressed archive of members by name."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(members):
            member, content = members[name]
            archive.addfile(stamped(member), io.BytesIO(content))
    out = io.BytesIO()
    # Neither a name nor a time in the head of the compressed file.
    with gzip.GzipFile("", "wb", NEWEST_COMPRESSION, out, mtime=0) as file:
        file.write(tar.getvalue())
    return out.getvalue()


def of_folder(folder: Path, name: str) -> bytes:
    """Return an archive of a folder, which has another name there."""
    members = {}
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as scratch:
        for path in (folder, *folder.rglob("*")):
            inside = path.relative_to(folder).as_posix()
            member = scratch.gettarinfo(path, name if inside == "." else f"{name}/{inside}")
            if member.islnk():  # two names of one file: both are packed whole
                member.type, member.linkname = tarfile.REGTYPE, ""
                member.size = path.stat().st_size
            content = path.read_bytes() if member.isreg() else b""
            members[member.name] = (member, content)
    return packed(members)


def of_archive(path: Path) -> bytes:
    """Return an archive of what is in another."""
    members = {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            members[member.name] = (member, file.read() if file else b"")
    return packed(members)


def main() -> None:
    """Do what the command line says."""
    match sys.argv[1:]:
        case ["--again", file]:
            Path(file).write_bytes(of_archive(Path(file)))
        case [folder, name, file]:
            Path(file).write_bytes(of_folder(Path(folder), name))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
