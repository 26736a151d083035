"""What judges and packs the files of a release."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import archive
import compare
import glibc
import pytest
import sizes

SYMBOLS = """
DYNAMIC SYMBOL TABLE:
0000000000000000      DF *UND*  0000000000000000 (GLIBC_2.2.5) free
0000000000000000      DF *UND*  0000000000000000  GLIBC_2.34  pthread_create
0000000000000000  w   DF *UND*  0000000000000000 (GLIBC_2.9)  pipe2
0000000000001000 g    DF .text  0000000000000010  GLIBC_2.99  its_own
0000000000000000      DO *UND*  0000000000000000 (OPENSSL_3.0.0) x
"""


def test_the_newest_symbol_that_is_asked_for_counts_as_a_number() -> None:
    assert glibc.newest_in(SYMBOLS) == (2, 34)
    assert glibc.newest_in(SYMBOLS.replace("GLIBC_2.34", "GLIBC_2.4")) == (2, 9)
    assert glibc.newest_in("") == ()


def test_more_glibc_than_promised_is_a_failure() -> None:
    if shutil.which("objdump") is None or not sys.platform.startswith("linux"):
        pytest.skip("not installed: objdump, for programs of Linux")
    script = [sys.executable, glibc.__file__, "--most"]
    for most, code, says in (("99.0", 0, ""), ("2.1", 1, "and 2.1 is promised to do")):
        done = subprocess.run(
            [*script, most, sys.executable], capture_output=True, text=True, timeout=15, check=False
        )
        assert done.returncode == code
        assert says in done.stderr
        assert re.match(r"2\.\d+ /", done.stdout)


def test_a_folder_without_a_program_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no program"):
        glibc.floor_of([tmp_path])


def test_a_file_that_has_outgrown_its_bound_is_named() -> None:
    good = {
        "derphole-0.1.0-py3-none-any.whl": 900_000,
        "derphole-0.1.0.dev20260101000000.tar.gz": 700_000,
        "derphole-0.1.0-linux-x86_64.tar.gz": 15_000_000,
        "derphole-0.1.0-linux-x86_64": 25_000_000,
        "derphole-cli-linux-x64-0.1.0-dev.3.tgz": 16_000_000,
        "derptun-0.1.0-dev.3.tgz": 3000,
    }
    assert sizes.faults(good) == []
    assert sizes.faults({**good, "derptun-0.1.0-dev.3.tgz": 200_000}) == [
        "derptun-0.1.0-dev.3.tgz: 0.2 MB, over 0.1 MB"
    ]
    assert sizes.faults({"derphole-0.1.0-py3-none-any.whl": 0, "core": 1}) == [
        "derphole-0.1.0-py3-none-any.whl: empty",
        "core: no bound is set for such a file",
    ]


def planted(folder: Path, mode: int, time: int) -> Path:
    folder.mkdir()
    for name, content in (("b/program", b"#!/bin/sh\n"), ("a", b"text")):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode if name == "a" else mode | 0o100)
        os.utime(path, (time, time))
    (folder / "link").symlink_to("a")
    return folder


def test_an_archive_tells_nothing_of_who_packed_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    one = archive.of_folder(planted(tmp_path / "one", 0o600, 1), "x")
    other = archive.of_folder(planted(tmp_path / "other", 0o644, 99), "x")
    assert one == other

    path = tmp_path / "x.tar.gz"
    path.write_bytes(one)
    assert archive.of_archive(path) == one
    with tarfile.open(path) as packed:
        told = {each.name: (oct(each.mode), each.mtime) for each in packed if not each.issym()}
        assert packed.extractfile("x/link").read() == b"text"
    assert set(told.values()) == {("0o755", 1700000000), ("0o644", 1700000000)}
    assert told["x/b/program"][0] == "0o755"


def test_a_difference_is_found_down_to_the_member(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    folders = [tmp_path / "first", tmp_path / "second"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        source = planted(tmp_path / f"source{number}", 0o644, 1)
        (folder / "same").write_text("same")
        (folder / "x.tar.gz").write_bytes(archive.of_folder(source, "x"))
    assert compare.differences(*folders) == []

    (tmp_path / "source1" / "a").write_text("other")
    (folders[1] / "x.tar.gz").write_bytes(archive.of_folder(tmp_path / "source1", "x"))
    (folders[1] / "more").write_text("")
    found = compare.differences(*folders)
    assert found[:2] == ["more: only in one of them", "x.tar.gz: differs"]
    assert [line.partition(":")[0].strip() for line in found[2:]] == ["x/a"]
