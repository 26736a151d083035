"""What is copied to a host: a folder, one file, an archive of either, or nothing."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from hosts_lib.cargo import Cargo, cargo_for
from hosts_lib.trouble import Trouble


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\necho v1\n")
    path.chmod(mode)
    return path


def tree(folder: Path) -> Path:
    """A folder like that of a build, with a library and a link."""
    program(folder / "derphole")
    (folder / "_internal").mkdir()
    (folder / "_internal" / "lib.so.1").write_bytes(b"lib")
    (folder / "_internal" / "lib.so").symlink_to("lib.so.1")
    return folder


def unpacked(cargo: Cargo, folder: Path) -> Path:
    """Unpack a cargo as a host does, and return its program."""
    with tarfile.open(fileobj=io.BytesIO(cargo.packed(str(folder)))) as tar:
        tar.extractall(folder, filter="data")
    assert (folder / "helper.sh").exists()
    return Path((folder / "program.name").read_text().strip())


def archive(path: Path, source: Path, name: str) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        tar.add(source, name)
    return path


@pytest.mark.parametrize("form", ["folder", "file", "archive", "archive of all", "bare archive"])
def test_every_form_of_a_program_runs_where_it_was_unpacked(tmp_path: Path, form: str):
    built, there = tree(tmp_path / "built" / "derphole"), tmp_path / "there"
    named = {
        "folder": built,
        "file": built / "derphole",
        "archive": archive(tmp_path / "a.tar.gz", built, "derphole"),
        "archive of all": archive(tmp_path / "b.tgz", built.parent, "derphole-linux-x64"),
        "bare archive": archive(tmp_path / "c.tar.gz", built, "."),
    }[form]

    found = unpacked(cargo_for(str(named)), there)

    assert found.is_relative_to(there)
    assert found.read_text() == (built / "derphole").read_text()
    assert os.access(found, os.X_OK)
    if form != "file":
        assert (found.parent / "_internal" / "lib.so").readlink() == Path("lib.so.1")
        assert (found.parent / "_internal" / "lib.so").read_bytes() == b"lib"


def test_what_a_host_has_already_is_not_copied(tmp_path: Path):
    assert unpacked(cargo_for(":derphole"), tmp_path) == Path("derphole")
    assert sorted(os.listdir(tmp_path)) == ["helper.sh", "program.name"]


def test_what_is_no_program_is_refused_with_a_sentence(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    other = archive(tmp_path / "other.tar.gz", program(tmp_path / "other"), "other")
    plain = program(tmp_path / "plain", 0o644)
    for named, words in (
        (tmp_path / "nowhere", "there is no program"),
        (tmp_path / "empty", "holds no program derphole"),
        (tmp_path / "broken.tar.gz", "cannot be read as an archive"),
        (other, "holds no program derphole"),
        (plain, "may not be executed"),
        (":", "names nothing"),
    ):
        with pytest.raises(Trouble, match=words):
            cargo_for(str(named))
