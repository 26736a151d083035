"""What `completion` prints, in the shells themselves."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support.processes import PROGRAM, clean_environment

pytestmark = pytest.mark.e2e

CASES = [
    ("derphole comp", {"completion"}),
    ("derphole receive 12-048219-cac", {"12-048219-cactus"}),
    ("derphole receive 12-048219-cactus-denti", {"12-048219-cactus-dentist"}),
    (
        "derphole pipe 7-000000-act",
        {f"7-000000-{word}" for word in ("act", "action", "actor", "actress", "actual")},
    ),
    ("derphole ssh inv", {"invite"}),
    ("derphole send --exc", {"--exclude"}),
    ("derphole ssh invite --code-w", {"--code-words"}),
    ("derptun token cl", {"client"}),
    ("derptun serve --qr", {"--qr"}),
]
IN_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_derphole
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(tmp_path: Path, shell: str) -> Path:
    if shutil.which(shell) is None:
        pytest.skip(f"optional: not installed: {shell}")
    path = tmp_path / f"derphole.{shell}"
    with path.open("wb") as file:
        command = [PROGRAM, "completion", shell]
        subprocess.run(command, stdout=file, env=clean_environment(tmp_path), check=True)
    return path


def said(*command: str | Path) -> set[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done
    return {line.partition("\t")[0] for line in done.stdout.splitlines() if line}


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_bash_completes(tmp_path: Path, line: str, offered: set[str]):
    path = script(tmp_path, "bash")
    assert said("bash", "-c", IN_BASH, "bash", path, *line.split()) == offered


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_fish_completes(tmp_path: Path, line: str, offered: set[str]):
    path = script(tmp_path, "fish")
    assert said("fish", "-c", f"source {path}; complete -C '{line}'") == offered


def test_zsh_reads_its_script(tmp_path: Path):
    path = script(tmp_path, "zsh")
    assert said("zsh", "-f", "-c", f"source {path}; whence -w _derphole") == {"_derphole: function"}


def test_another_shell_is_not_known(tmp_path: Path):
    done = subprocess.run(
        [PROGRAM, "completion", "csh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert 'unknown shell "csh": use bash, zsh or fish' in done.stderr
