"""The tasks of mise are names for scripts that are there, with options that those explain."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "scripts"), str(ROOT / "tests")]

from hosts_lib.modes import MODES  # noqa: E402
from hosts_lib.report import parse_size  # noqa: E402

TASKS: dict[str, str] = tomllib.loads((ROOT / "mise.toml").read_text())["tasks"]
HOST = re.compile(r"\$\{REMOTE_HOST:\?[^}]*\}")
NAMED = {  # what people know from the tool of the same name
    "check",
    "build",
    "smoke-local",
    "smoke-remote",
    "smoke-remote-relay",
    "smoke-remote-share",
    "smoke-remote-derptun",
    "promotion-1g",
}

each_task = pytest.mark.parametrize("name", sorted(TASKS))


def words_of(name: str) -> list[str]:
    return shlex.split(HOST.sub("HOST", TASKS[name]))


def test_every_task_that_people_know_is_there():
    assert set(TASKS) >= NAMED


@each_task
def test_a_task_is_one_script_that_is_there(name: str):
    script = words_of(name)[0]

    assert re.fullmatch(r"scripts/[a-z-]+", script)
    assert os.access(ROOT / script, os.X_OK)
    assert not re.search(r"[;&|<>`\n]|\$(?!\{REMOTE_HOST:\?)", TASKS[name])


@each_task
def test_the_options_of_a_task_are_explained_by_its_script(name: str):
    script, *rest = words_of(name)
    done = subprocess.run(
        [ROOT / script, "--help"], capture_output=True, text=True, timeout=15, check=True
    )

    assert done.stdout.startswith(f"Usage: {script}")
    for word in rest:
        if word.startswith("-"):
            assert re.search(rf"^  {word} ", done.stdout, re.MULTILINE)


@each_task
def test_a_task_between_two_hosts_names_the_host_a_mode_and_a_size(name: str):
    script, *rest = words_of(name)
    if script != "scripts/two-hosts":
        assert "REMOTE_HOST" not in TASKS[name]
        return

    host, mode, *options = rest

    assert host == "HOST"
    assert mode in MODES
    assert options in ([], ["--size", "1G"])
    assert all(parse_size(size) for size in options[1:])


def test_a_task_without_its_host_says_what_is_missing():
    environment = {key: value for key, value in os.environ.items() if key != "REMOTE_HOST"}
    done = subprocess.run(
        ["sh", "-c", TASKS["smoke-remote"]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )

    assert done.returncode != 0
    assert "REMOTE_HOST" in done.stderr
    assert "must be a host that ssh reaches" in done.stderr
