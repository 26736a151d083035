"""What programs that we start get, the keys that a person has, and the config that is added to."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from derphole.edges.programs import clean_environment
from derphole.edges.public_keys import key_in_file, keys_in_folder, own_keys
from derphole.edges.ssh_config import append_block
from derphole.errors import ConfigUnwritable, KeyRefused, NoKeyFound
from derphole.ssh.public_key import PublicKey

pytestmark = pytest.mark.net


def key(number: int, comment: str = "") -> PublicKey:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32
    return PublicKey("ssh-ed25519", blob, comment)


def test_an_ordinary_environment_is_kept():
    environ = {"PATH": "/bin", "LD_LIBRARY_PATH": "/my/own", "GIT_DIR": "x"}

    assert clean_environment(environ, "GIT_DIR") == {"PATH": "/bin", "LD_LIBRARY_PATH": "/my/own"}


def test_a_frozen_program_s_libraries_are_not_handed_on():
    frozen = {"_PYI_ARCHIVE_FILE": "x", "_PYI_APPLICATION_HOME_DIR": "y", "PATH": "/bin"}

    assert clean_environment({**frozen, "LD_LIBRARY_PATH": "/tmp/_MEI"}) == {
        "PATH": "/bin",
        "PYINSTALLER_RESET_ENVIRONMENT": "1",
    }
    before = {"LD_LIBRARY_PATH": "/tmp/_MEI:/old", "LD_LIBRARY_PATH_ORIG": "/old"}
    assert clean_environment({**frozen, **before})["LD_LIBRARY_PATH"] == "/old"


def test_keys_of_a_folder_come_with_the_usual_one_first(tmp_path: Path):
    (tmp_path / "a.pub").write_text(key(1, "a").line + "\n")
    (tmp_path / "id_ed25519.pub").write_text(key(2).line)
    (tmp_path / "id_ed25519").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (tmp_path / "broken.pub").write_text("nothing\n")
    (tmp_path / "folder.pub").mkdir()

    found = keys_in_folder(str(tmp_path))

    assert [each.key for each in found] == [key(2), key(1, "a")]
    assert keys_in_folder(str(tmp_path / "missing")) == []


def test_a_file_that_is_no_key_is_told_with_its_name(tmp_path: Path):
    path = tmp_path / "id"
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(KeyRefused, match=f"{path} is a private key"):
        key_in_file(str(path))
    with pytest.raises(KeyRefused, match="missing cannot be read: no such file"):
        key_in_file(str(tmp_path / "missing"))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.pub")
    with pytest.raises(KeyRefused, match="is not a file"):
        key_in_file(str(tmp_path / "a.pub"))
    assert keys_in_folder(str(tmp_path)) == []


def test_who_has_only_a_private_key_is_told_how_to_make_the_public_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_rsa").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NoKeyFound, match=r"`ssh-keygen -y -f \S+id_rsa > \S+id_rsa.pub`$"):
        own_keys({})


def test_keys_of_the_agent_and_of_the_home_are_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "work.pub").write_text(key(1, "work").line)
    monkeypatch.setenv("HOME", str(tmp_path))
    lines = f"{key(1, 'the same').line}\n{key(3, 'card').line}\nnonsense\n"

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(command, 0, lines.encode())

    monkeypatch.setattr(subprocess, "run", run)

    assert [each.key for each in own_keys({})] == [key(1, "work")]
    found = own_keys({"SSH_AUTH_SOCK": "/agent"})
    assert [(each.key, each.place) for each in found] == [
        (key(1, "work"), str(folder / "work.pub")),
        (key(3, "card"), "the agent"),
    ]


def test_who_has_no_key_is_told_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NoKeyFound, match=r"\.ssh or the agent; make one with `ssh-keygen"):
        own_keys({"SSH_AUTH_SOCK": str(tmp_path / "no agent")})


def test_a_block_is_put_behind_what_is_there_and_once_only(tmp_path: Path):
    block = "Host desk\n    HostName 192.0.2.1"
    path = append_block(str(tmp_path), "desk", block)

    config = tmp_path / ".ssh" / "config"
    assert path == str(config)
    assert config.read_text() == block + "\n"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert append_block(str(tmp_path), "desk", block) is None

    config.write_text("Host other desk2\n    User me")  # without an end
    append_block(str(tmp_path), "desk", block)
    assert config.read_text() == f"Host other desk2\n    User me\n\n{block}\n"
    config.write_text("host  other Desk\n")
    assert append_block(str(tmp_path), "desk", block) is None


def test_a_config_that_cannot_be_changed_is_told(tmp_path: Path):
    (tmp_path / ".ssh").write_text("")
    with pytest.raises(ConfigUnwritable, match="is handed over, but .*config cannot be changed"):
        append_block(str(tmp_path), "desk", "Host desk")
    assert os.listdir(tmp_path) == [".ssh"]
