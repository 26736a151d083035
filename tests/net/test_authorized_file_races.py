"""A user who changes the way to the file while root adds a key leads root nowhere."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ssh_keys import ed25519_key

from derphole.edges.accounts import Account
from derphole.edges.authorized_file import AuthorizedFile
from derphole.errors import KeysUnwritable

pytestmark = pytest.mark.net

NOBODY = 65534
RUN_S, FULL_RUN_S = 2.0, 30.0
SWAPPER = """
import ctypes, os, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
os.chdir(sys.argv[1])
exchange = ctypes.CDLL(None).renameat2
print("ready", flush=True)
while True:
    exchange(-100, b".ssh", -100, sys.argv[2].encode(), 2)
"""


@pytest.fixture
def ground() -> Iterator[Path]:
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("acts as root for another user, on Linux")
    with tempfile.TemporaryDirectory(prefix="derphole-race-") as name:
        ground = Path(name)
        ground.chmod(0o755)
        (ground / "home").mkdir()
        os.chown(ground / "home", NOBODY, NOBODY)
        (ground / "roots").mkdir(mode=0o700)
        (ground / "roots" / "authorized_keys").write_bytes(b"keys of root\n")
        yield ground


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("other", ["folder of root's", "file of root's"])
def test_root_writes_to_nothing_and_gives_away_nothing_outside(
    ground: Path, other: str, is_full: bool
):
    home, roots = ground / "home", ground / "roots"
    (home / ".ssh").symlink_to(roots)
    os.chown(home / ".ssh", NOBODY, NOBODY, follow_symlinks=False)
    if other == "folder of root's":
        (home / "x").mkdir()
    else:
        (home / "x").write_bytes(b"secret")
    account = Account("nobody", NOBODY, NOBODY, str(home))
    swapper = subprocess.Popen(
        [sys.executable, "-c", SWAPPER, str(home), "x"], stdout=subprocess.PIPE
    )
    assert swapper.stdout is not None
    assert swapper.stdout.readline() == b"ready\n"
    until, tries = time.monotonic() + (FULL_RUN_S if is_full else RUN_S), 0
    try:
        while time.monotonic() < until:
            tries += 1
            try:
                AuthorizedFile(account).add(ed25519_key(tries))
            except KeysUnwritable:
                continue
    finally:
        swapper.kill()
        swapper.communicate()

    assert tries > 10
    assert (roots / "authorized_keys").read_bytes() == b"keys of root\n"
    assert os.listdir(roots) == ["authorized_keys"]
    owners = {path.name: path.lstat().st_uid for path in home.iterdir()}
    links = [path.name for path in home.iterdir() if path.is_symlink()]
    assert [name for name, owner in owners.items() if owner == NOBODY] == links
