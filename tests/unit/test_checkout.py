"""A checkout runs, tests find what they need, and what a run costs is told."""

import configparser
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_programs_of_administrators_are_found_by_everybody() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import conftest, os; print(os.environ['PATH'])"],
        cwd=ROOT / "tests",
        env={**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )

    assert {"/usr/sbin", "/sbin"} <= set(done.stdout.strip().split(os.pathsep))


def test_uv_can_run_a_checkout_and_leaves_nothing_that_git_sees() -> None:
    """It takes a folder for a project by its name here; all the rest is told to be in setup.cfg."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    elsewhere = {
        "version": ("metadata", "version"),
        "description": ("metadata", "description"),
        "readme": ("metadata", "long_description"),
        "license": ("metadata", "license"),
        "dependencies": ("options", "install_requires"),
        "optional-dependencies": ("options.extras_require", "test"),
    }

    assert project["name"] == "derphole"
    assert sorted(project["dynamic"]) == sorted(elsewhere)
    assert all(config.has_option(*place) for place in elsewhere.values())
    for program in config["options"]["scripts"].split():  # which no table of a project may name
        assert os.access(ROOT / program, os.X_OK)
    assert "uv.lock" in (ROOT / ".gitignore").read_text().split()


def test_the_script_tells_how_long_everything_takes() -> None:
    done = subprocess.run(
        [ROOT / "scripts/test", "--help"], capture_output=True, text=True, timeout=15, check=True
    )

    assert "45\nminutes on a machine with two processors" in done.stdout
    assert "some hours with --full" in done.stdout
