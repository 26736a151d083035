"""What `scripts/publish` would do, and what it refuses."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NPM = {
    "derphole-cli-linux-x64-1.0.0.tgz": "@derphole/cli-linux-x64",
    "derphole-cli-darwin-arm64-1.0.0.tgz": "@derphole/cli-darwin-arm64",
    "derphole-1.0.0.tgz": "derphole",
    "derptun-1.0.0.tgz": "derptun",
}
OTHERS = ("derphole-1.0.0-py3-none-any.whl", "derphole-1.0.0.tar.gz", "derphole_1.0.0-1_amd64.deb")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, package in NPM.items():
        text = json.dumps({"name": package, "version": "1.0.0", "end": 0}, indent=2).encode()
        member = tarfile.TarInfo("package/package.json")
        member.size = len(text)
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            archive.addfile(member, io.BytesIO(text))
    for name in OTHERS:
        (tmp_path / name).write_text(name)
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(tmp_path.iterdir())
    ]
    (tmp_path / "SHA256SUMS").write_text("".join(sums))
    return tmp_path


def published(*words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [ROOT / "scripts" / "publish", *words, "--dry-run"],
        capture_output=True, text=True, timeout=15, check=False,
    )  # fmt: skip
    assert done.returncode == code, done
    return done


def test_npm_gets_the_programs_before_what_starts_them(files: Path) -> None:
    lines = published("npm", files, "--tag", "v1.0.0").stdout.splitlines()
    order = [line.split()[2].removeprefix("./") for line in lines]
    assert order == [
        "derphole-cli-darwin-arm64-1.0.0.tgz",
        "derphole-cli-linux-x64-1.0.0.tgz",
        "derphole-1.0.0.tgz",
        "derptun-1.0.0.tgz",
    ]
    for line in lines:
        assert line.startswith("npm publish ")
        assert line.endswith("--access public --tag latest --provenance")


def test_what_is_no_release_goes_to_another_channel(files: Path) -> None:
    lines = published("npm", files).stdout.splitlines()
    assert all(line.endswith("--tag dev --provenance") for line in lines)


def test_pypi_gets_wheel_and_source_and_no_password(files: Path) -> None:
    assert published("pypi", files).stdout.split() == (
        f"uv publish --trusted-publishing always {OTHERS[0]} {OTHERS[1]}".split()
    )


def test_github_gets_everything(files: Path) -> None:
    said = published("github", files, "--tag", "v1.0.0").stdout
    assert said.startswith("gh release create v1.0.0 --verify-tag ")
    assert all(name in said.split() for name in (*NPM, *OTHERS, "SHA256SUMS"))
    assert "needs --tag" in published("github", files, code=1).stderr


def test_files_that_are_not_those_that_were_built_are_refused(files: Path) -> None:
    (files / OTHERS[0]).write_text("somebody was here")
    said = published("pypi", files, code=1).stderr
    assert "not those of SHA256SUMS" in said
    (files / "SHA256SUMS").unlink()
    assert "no SHA256SUMS" in published("pypi", files, code=1).stderr


def test_a_file_that_is_missing_is_named(files: Path) -> None:
    (files / "derptun-1.0.0.tgz").unlink()
    (files / "SHA256SUMS").write_text("")
    sums = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in files.iterdir()
        if path.name != "SHA256SUMS"
    )
    (files / "SHA256SUMS").write_text(sums)
    assert "no derptun-[0-9]*.tgz" in published("npm", files, code=1).stderr
