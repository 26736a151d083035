"""What is copied to an end: the helper, the name of the program, and the program itself."""

import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from hosts_lib.trouble import Trouble

HELPER = Path(__file__).with_name("helper.sh")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
PROGRAM = "derphole"
FOLDER = "program"
EXECUTABLE = 0o755


@dataclass(frozen=True, slots=True)
class Cargo:
    """A program for an end.

    Args:
        name: what runs there; relative names lie in the folder of the run.
        source: the folder, file or archive here that is copied; None for what is there already.
    """

    name: str
    source: Path | None = None

    def packed(self, folder: str) -> bytes:
        """Return a tar.gz for the folder of a run at an end."""
        whole = io.BytesIO()
        with tarfile.open(fileobj=whole, mode="w:gz", compresslevel=1) as tar:
            name = f"{folder}/{self.name}" if self.source is not None else self.name
            _add(tar, "program.name", f"{name}\n".encode(), 0o600)
            _add(tar, HELPER.name, HELPER.read_bytes(), 0o600)
            if self.source is None:
                pass
            elif self.source.is_dir():
                tar.add(self.source, FOLDER)
            elif is_archive(self.source):
                _copy_members(self.source, tar)
            else:
                _add(tar, f"{FOLDER}/{PROGRAM}", self.source.read_bytes(), EXECUTABLE)
        return whole.getvalue()


def is_archive(path: Path) -> bool:
    """Tell whether a file is one that holds the program."""
    return path.name.endswith(ARCHIVES)


def cargo_for(text: str) -> Cargo:
    """Return what `--remote-program` means; raises `Trouble` where that is not there.

    ":PATH" is a program that the host has.  Anything else is here and is copied: the folder of a
    build, a file that is the whole program, or an archive of either.
    """
    if text.startswith(":"):
        if not text[1:]:
            raise Trouble("--remote-program : names nothing; write :PATH of a program on HOST")
        return Cargo(text[1:])
    path = Path(text)
    if path.is_dir():
        if not os.access(path / PROGRAM, os.X_OK):
            raise Trouble(f"{path} holds no program {PROGRAM}; scripts/binary builds one")
        return Cargo(f"{FOLDER}/{PROGRAM}", path)
    if not path.is_file():
        raise Trouble(
            f"there is no program {path} to copy; scripts/binary builds dist/derphole, and "
            "--remote-program names another"
        )
    if is_archive(path):
        return Cargo(f"{FOLDER}/{_program_in(path)}", path)
    if not os.access(path, os.X_OK):
        raise Trouble(f"{path} is no program: it may not be executed")
    return Cargo(f"{FOLDER}/{PROGRAM}", path)


def _program_in(path: Path) -> str:
    """Return the name of the program in an archive: the one that lies least deep."""
    try:
        with tarfile.open(path) as tar:
            found = [
                member.name.removeprefix("./")
                for member in tar
                if member.isfile() and Path(member.name).name == PROGRAM and member.mode & 0o100
            ]
    except tarfile.TarError as error:
        raise Trouble(f"{path} cannot be read as an archive: {error}") from None
    if not found:
        raise Trouble(f"{path} holds no program {PROGRAM}")
    return min(found, key=lambda name: name.count("/"))


def _copy_members(path: Path, tar: tarfile.TarFile) -> None:
    with tarfile.open(path) as source:
        for member in source:
            name = member.name.removeprefix("./")
            if name in ("", "."):
                continue
            content = source.extractfile(member) if member.isfile() else None
            member.name = f"{FOLDER}/{name}"
            if member.islnk():
                member.linkname = f"{FOLDER}/{member.linkname.removeprefix('./')}"
            tar.addfile(member, content)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
