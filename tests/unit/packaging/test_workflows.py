"""The workflows are good ones: they only call our scripts, and trust nobody more than they must."""

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
# An action by its owner and name, pinned to a commit, with the version that a person reads.
PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
# What is no script of ours: git has to be told that the checkout is not somebody else's.
OTHERS = {'git config --global --add safe.directory "$GITHUB_WORKSPACE"'}
PUBLISHERS = {"npm": "id-token", "pypi": "id-token", "github": "contents"}
# Systems and processors of runners, as npm names them.
PLATFORM = {
    "ubuntu-22.04": "linux-x64",
    "ubuntu-22.04-arm": "linux-arm64",
    "macos-15": "darwin-arm64",
    "macos-15-intel": "darwin-x64",
    "windows-2025": "win32-x64",
}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def workflow(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def jobs(path: Path) -> dict[str, dict]:
    return workflow(path)["jobs"]


def steps(path: Path) -> list[dict]:
    return [step for job in jobs(path).values() for step in job["steps"]]


@cache
def help_of(script: Path) -> str:
    done = subprocess.run(
        [script, "--help"], capture_output=True, text=True, timeout=15, check=True
    )
    return done.stdout


def test_there_are_workflows() -> None:
    assert [path.name for path in FILES] == ["release.yml", "test.yml"]


@each_file
def test_actions_are_pinned_to_commits(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    assert len(used) == sum("uses" in step for step in steps(path))
    assert not [action for action in used if not PINNED.fullmatch(action)]


def test_an_action_has_one_commit_everywhere() -> None:
    used = {name for path in FILES for name in re.findall(r"uses: (.*)", path.read_text())}
    assert len(used) == len({name.partition("@")[0] for name in used})


@each_file
def test_every_command_is_a_script_with_options_that_it_has(path: Path) -> None:
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    for command in commands:
        assert "\n" not in command
        if command in OTHERS:
            continue
        program, *words = shlex.split(command)
        script = ROOT / program
        assert script.is_file(), command
        assert script.stat().st_mode & 0o100, command
        shown = help_of(script)
        for word in words:
            if word.startswith("-"):
                assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", shown), command


@each_file
def test_nothing_from_outside_becomes_part_of_a_command(path: Path) -> None:
    """What `${{ }}` brings is put into the text of the script before a shell reads it."""
    assert not [step["run"] for step in steps(path) if "${{" in step.get("run", "")]
    assert "pull_request_target" not in path.read_text()
    assert "secrets." not in path.read_text()


@each_file
def test_a_job_may_do_what_it_must_and_ends(path: Path) -> None:
    assert workflow(path)["permissions"] == {"contents": "read"}
    for name, job in jobs(path).items():
        assert job["timeout-minutes"] <= 120
        may_write = [what for what, how in job.get("permissions", {}).items() if how == "write"]
        if name in PUBLISHERS:
            assert may_write == [PUBLISHERS[name]]
        elif name != "collect":
            assert not may_write
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_all_platforms_are_built_that_npm_packages_are_named_for() -> None:
    names = (ROOT / "scripts" / "npm_packages.py").read_text()
    wanted = re.findall(r'"([\w-]+)"', re.search(r"PLATFORMS = \((.*)\)", names)[1])
    rows = jobs(FOLDER / "release.yml")["build"]["strategy"]["matrix"]["include"]
    assert sorted(PLATFORM[row["runner"]] for row in rows) == sorted(wanted)


def test_a_tag_is_a_release_and_main_a_development_build() -> None:
    path = FOLDER / "release.yml"
    on = workflow(path)[True]  # for YAML 1.1 `on` is a truth value
    assert on == {"push": {"branches": ["main"], "tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}
    for step in steps(path):
        command, condition = step.get("run", ""), step.get("if", "")
        if "--tag" in command:
            assert condition == "github.ref_type == 'tag'" or "github dist/all" in command
        if command == "scripts/dev_version":
            assert condition == "github.ref_type != 'tag'"
    assert jobs(path)["github"]["if"] == "github.ref_type == 'tag'"


def test_nothing_is_published_before_all_of_it_is_built_and_the_same_twice() -> None:
    release = jobs(FOLDER / "release.yml")
    assert release["collect"]["needs"] == "build"
    for name in ("npm", "pypi"):
        assert release[name]["needs"] == ["collect", "reproduce"]
        assert "needs.collect.result == 'success'" in release[name]["if"]
        assert "needs.reproduce.result != 'failure'" in release[name]["if"]
        assert release[name]["environment"] == name
    assert release["github"]["needs"] == ["npm", "pypi"]
