"""The files of a release, as `scripts/release` leaves them; only with --full, for it takes minutes."""

import hashlib
import json
import tarfile
from pathlib import Path

import pytest
from support.builds import frozen_program, run_script
from support.processes import ROOT
from support.programs import needs

from derphole import __version__

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

OUTPUT = ROOT / "dist" / "release"
SHARED = sorted(
    path.relative_to(ROOT / "build").as_posix()
    for folder in ("share", "systemd")
    for path in (ROOT / "build" / folder).rglob("*")
    if path.is_file()
)


@pytest.fixture(scope="module")
def files(is_full: bool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # noqa: FBT001
    if not is_full:
        pytest.skip("optional: takes minutes; runs with --full")
    needs("npm", "dpkg-deb", "objdump")
    frozen_program(tmp_path_factory.mktemp("release"))
    run_script("release", "--keep-binary")
    return {path.name: path for path in OUTPUT.iterdir()}


def named(files: dict[str, Path], end: str) -> Path:
    [found] = [path for name, path in files.items() if name.endswith(end)]
    return found


def test_every_digest_is_that_of_a_file(files: dict[str, Path]) -> None:
    lines = files["SHA256SUMS"].read_text().splitlines()
    told = {name: digest for digest, name in (line.split() for line in lines)}
    assert told.keys() == files.keys() - {"SHA256SUMS"}
    for name, digest in told.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest


def test_the_archive_has_all_that_an_installation_has(files: dict[str, Path]) -> None:
    archive = next(path for name, path in files.items() if name.endswith("64.tar.gz"))
    top = archive.name.removesuffix(".tar.gz")
    wanted = {*SHARED, "derphole", "derptun", "LICENSE", "THIRD-PARTY-LICENSES.txt", "README.md"}
    with tarfile.open(archive) as packed:
        names = packed.getnames()
        assert {f"{top}/{name}" for name in wanted} <= set(names)
        for name in SHARED:
            content = packed.extractfile(f"{top}/{name}").read()
            assert content == (ROOT / "build" / name).read_bytes()
    assert all(name == top or name.startswith(f"{top}/") for name in names)


def test_the_bill_of_materials_has_what_no_package_tells_of(files: dict[str, Path]) -> None:
    bill = json.loads(named(files, ".cdx.json").read_text())
    assert bill["metadata"]["component"]["version"] == __version__
    found = {each["name"]: each for each in bill["components"]}
    libraries = {"OpenSSL", "Python", "libsodium", "libev", "zlib", "Expat", "xxHash"}
    assert libraries | {"gevent", "docopt", "certifi", "netifaces-plus"} <= found.keys()
    assert found["OpenSSL"]["version"].startswith("3.")
    for name in libraries:
        for file in found[name]["components"]:
            content = (ROOT / "dist" / "derphole" / file["name"]).read_bytes()
            assert file["hashes"][0]["content"] == hashlib.sha256(content).hexdigest()
    for name in ("pip", "pyinstaller-hooks-contrib", "pycparser"):  # they only helped to build it
        assert name not in found


def test_the_licence_of_everything_in_the_bill_is_there(files: dict[str, Path]) -> None:
    bill = json.loads(named(files, ".cdx.json").read_text())
    text = named(files, "-licenses.txt").read_text().lower()
    for component in bill["components"]:
        assert f"\n{component['name'].lower()}" in text, component["name"]
