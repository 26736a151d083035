"""The npm packages, from the packed files: what goes in and out, signals, ends, and what is missing."""

import fcntl
import hashlib
import json
import os
import platform
import pty
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import (
    OPTIONAL_SKIP,
    PROGRAM,
    ROOT,
    WAIT_S,
    Process,
    await_true,
    clean_environment,
    record_figure,
)

pytestmark = pytest.mark.e2e

INSTALL_S = 120
NODES = ("18", "20", "22", "latest")  # what the registry serves as packages
NPM_OF_ALL = "npm@10"  # the newest that runs on the oldest of them
# Stands for the program: what it is told to do, it does.
STAND_IN = """\
#!/bin/sh
case $1 in
version) echo "$0 $DERPHOLE_NPM" ;;
code) exit "$2" ;;
cat) cat ;;
wait)
    trap 'echo TERM; exit 5' TERM
    trap 'echo INT; exit 6' INT
    trap 'echo HUP; exit 7' HUP
    echo "ready $$" >&2
    while :; do sleep 0.05; done ;;
count)
    exec "$PYTHON" -c '
import signal
signals = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", flush=True)
while (number := signal.sigwait(signals)) == signal.SIGINT:
    print("INT", flush=True)
raise SystemExit(5)' ;;
die) kill -KILL $$ ;;
flood) while :; do echo y; done ;;
node) readlink "/proc/$PPID/exe" ;;
held) echo "$DERPHOLE_SHIM" "$PPID" ;;
esac
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pack a program that stands for ours; returns the packed files by package."""
    if shutil.which("npm") is None:
        pytest.skip("optional: not installed: npm")
    folder = tmp_path_factory.mktemp("npm")
    program = folder / "program"
    program.mkdir()
    for name in ("derphole", "derptun"):
        (program / name).write_text(STAND_IN)
        (program / name).chmod(0o700)  # whatever it was, everybody can run it when it is packed
    work = folder / "work"
    work.mkdir()
    script = ROOT / "scripts" / "npm_packages.py"
    python = Path(PROGRAM).with_name("python")
    subprocess.run([python, script, work, program, "latest"], check=True)
    packed = {}
    for package in work.iterdir():
        done = subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", folder],
            cwd=package,
            env=npm_environment(folder),
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=True,
        )
        packed[package.name.partition("-")[0]] = folder / done.stdout.strip()
    assert set(packed) == {"derphole", "derptun", "cli"}
    return packed


def npm_environment(folder: Path) -> dict[str, str]:
    environment = {**clean_environment(folder), "PATH": os.environ["PATH"]}
    return {**environment, "npm_config_cache": str(folder / "cache"), "npm_config_offline": "true"}


def installed(folder: Path, *files: Path) -> Path:
    """Install packed files; returns the folder of their programs."""
    folder.mkdir()
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", *files],
        cwd=folder,
        env=npm_environment(folder),
        capture_output=True,
        timeout=INSTALL_S,
        check=True,
    )
    return folder / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def programs(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield installed(tmp_path_factory.mktemp("project") / "all", *packages.values())


def run(program: Path, *words: str, **rest: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**npm_environment(program.parent), **rest.pop("variables", {})}
    return subprocess.run(
        [program, *words], capture_output=True, env=environment, timeout=60, check=False, **rest
    )


@pytest.mark.parametrize("name", ["derphole", "derptun"])
def test_the_program_of_this_machine_is_started_under_its_name(programs: Path, name: str):
    done = run(programs / name, "version")
    assert done.returncode == 0, done
    where, spec = done.stdout.decode().split()
    assert where.endswith(f"/dist/{name}")
    assert spec == f"{name}@latest"
    assert os.stat(where).st_mode & 0o777 == 0o755


def test_the_program_is_told_who_only_holds_it(programs: Path):
    told, parent = run(
        programs / "derphole", "held", variables={"DERPHOLE_SHIM": "1"}
    ).stdout.split()
    assert told == parent


def test_what_goes_in_comes_out_and_nothing_else(programs: Path):
    payload = os.urandom(3 << 20)
    done = run(programs / "derphole", "cat", input=payload)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(payload).digest()
    assert not done.stderr


@pytest.mark.parametrize("code", [0, 1, 2, 7, 130])
def test_the_exit_code_is_the_program_s(programs: Path, code: int):
    assert run(programs / "derphole", "code", str(code)).returncode == code


def test_the_end_by_a_signal_is_the_program_s(programs: Path):
    assert run(programs / "derphole", "die").returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 5), (signal.SIGINT, 6), (signal.SIGHUP, 7)]
)
def test_signals_are_passed_on_once(programs: Path, tmp_path: Path, number: int, code: int):
    environment = npm_environment(tmp_path)
    process = Process("shim", [programs / "derphole", "wait"], tmp_path, environment)
    try:
        process.await_line("^ready ")
        process.send_signal(number)
        process.ends_with(code)
        assert process.stdout.decode().split() == [signal.Signals(number).name.removeprefix("SIG")]
    finally:
        process.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_ends_when_npx_was_ended(packages: dict[str, Path], tmp_path: Path, number: int):
    words = ("-p", packages["cli"], "-p", packages["derphole"], "--", "derphole", "wait")
    environment = npm_environment(tmp_path)
    process = Process("npx", ["npx", "--logs-max=0", "-y", *words], tmp_path, environment)
    try:
        pid = int(process.await_line(r"^ready (\d+)", INSTALL_S).group(1))
        process.send_signal(number)
        await_true(lambda: not Path(f"/proc/{pid}").exists(), "the program has ended")
    finally:
        process.stop()


def test_a_missing_package_is_named_with_the_way_out(packages: dict[str, Path], tmp_path: Path):
    folder = installed(tmp_path / "alone", packages["derphole"])
    done = run(folder / "derphole", "version")
    assert done.returncode == 1
    assert b"install again without --omit=optional" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_machine_that_is_not_known_is_told_another_way(packages: dict[str, Path], tmp_path: Path):
    folder = installed(tmp_path / "alone", packages["derphole"])
    package = tmp_path / "alone" / "node_modules" / "derphole" / "package.json"
    content = json.loads(package.read_text())
    content["optionalDependencies"] = {}
    package.write_text(json.dumps(content))
    done = run(folder / "derphole", "version")
    assert done.returncode == 1
    assert b"pipx install derphole" in done.stderr


def test_what_the_other_side_is_to_run_begins_with_npx(programs: Path, tmp_path: Path):
    variables = {"DERPHOLE_BINARY": PROGRAM}
    done = run(programs / "derphole", "help", "send", variables=variables)
    assert b"npx -y derphole@latest send photo.jpg" in done.stdout
    done = run(programs / "derphole", "help", variables=variables)
    assert b"npx -y derphole@latest COMMAND" in done.stdout


def test_a_flood_into_a_pipe_that_closed_ends_by_the_same_signal(programs: Path, tmp_path: Path):
    assert_flood_ends([programs / "derphole"], npm_environment(tmp_path))


def test_control_c_reaches_the_program_once(programs: Path, tmp_path: Path):
    assert_control_c_comes_once([programs / "derphole"], npm_environment(tmp_path))


def assert_flood_ends(shim: list[Path], environment: dict[str, str]) -> None:
    """Read one line, close the pipe: the shim ends by SIGPIPE, as the program does."""
    with subprocess.Popen([*shim, "flood"], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(WAIT_S) == -signal.SIGPIPE


def assert_control_c_comes_once(shim: list[Path], environment: dict[str, str]) -> None:
    """Type Ctrl-C on a terminal: the program gets one SIGINT, that of the terminal."""
    keyboard, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            [*shim, "count"],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=terminal,
            env={**environment, "PYTHON": sys.executable},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            os.write(keyboard, b"\x03")
            assert process.stdout.readline() == b"INT\n"
            process.send_signal(signal.SIGTERM)  # after whatever else was to be passed on
            assert process.stdout.read() == b""
            assert process.wait(WAIT_S) == 5
    finally:
        os.close(keyboard)
        os.close(terminal)


@pytest.fixture(scope="module", params=NODES)
def node(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, is_full: bool
) -> Path:
    """Install a Node of that version, with an npm, from the registry; returns its program."""
    if not is_full:
        pytest.skip(f"{OPTIONAL_SKIP}downloads four versions of Node; runs with --full")
    folder = tmp_path_factory.mktemp("node")
    processor = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    package = f"node-linux-{processor}"
    done = subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder]
        + [f"{package}@{request.param}", NPM_OF_ALL],
        env={**npm_environment(folder), "npm_config_offline": "false"},
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"npm got no {package}@{request.param}: {done.stderr}")
    program = folder / "node_modules" / package / "bin" / "node"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    record_figure("npm shim: Node", version.stdout.strip(), "18, 20, 22 and the newest")
    if request.param != "latest":
        assert version.stdout.startswith(f"v{request.param}.")
    return program


def of_node(node: Path, folder: Path) -> dict[str, str]:
    environment = npm_environment(folder)
    return {**environment, "PATH": f"{node.parent}{os.pathsep}{environment['PATH']}"}


@pytest.mark.slow
def test_each_node_starts_the_program_and_passes_its_end_on(
    node: Path, programs: Path, tmp_path: Path
):
    environment = of_node(node, tmp_path)

    def ran(*words: str) -> subprocess.CompletedProcess[bytes]:
        command = [node, programs / "derphole", *words]
        return subprocess.run(
            command, env=environment, capture_output=True, timeout=WAIT_S, check=False
        )

    assert ran("node").stdout.decode().strip() == str(node)
    assert ran("version").stdout.split()[1] == b"derphole@latest"
    for code in (0, 1, 2, 7, 130):
        done = ran("code", str(code))
        assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    assert ran("die").returncode == -signal.SIGKILL


@pytest.mark.slow
def test_each_node_passes_signals_on(node: Path, programs: Path, tmp_path: Path):
    environment = of_node(node, tmp_path)
    shim = [node, programs / "derphole"]
    for number, code in ((signal.SIGTERM, 5), (signal.SIGINT, 6), (signal.SIGHUP, 7)):
        process = Process("shim", [*shim, "wait"], tmp_path, environment)
        try:
            process.await_line("^ready ")
            process.send_signal(number)
            process.ends_with(code)
            name = signal.Signals(number).name.removeprefix("SIG")
            assert process.stdout.decode().split() == [name]
        finally:
            process.stop()
    assert_flood_ends(shim, environment)
    assert_control_c_comes_once(shim, environment)


@pytest.mark.slow
def test_each_node_names_a_missing_package(node: Path, packages: dict[str, Path], tmp_path: Path):
    folder = installed(tmp_path / "alone", packages["derphole"])
    command = [node, folder / "derphole", "version"]
    done = subprocess.run(command, env=of_node(node, tmp_path), capture_output=True, check=False)
    assert done.returncode == 1
    processor = {"x86_64": "x64", "aarch64": "arm64"}[platform.machine()]
    assert f"npm left out the package @derphole/cli-linux-{processor}".encode() in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["derphole", "derptun"])
def test_npx_of_each_node_starts_packed_files(
    node: Path, packages: dict[str, Path], tmp_path: Path, name: str
):
    npx = node.parents[2] / "npm" / "bin" / "npx-cli.js"
    words = ("--logs-max=0", "-y", "-p", packages["cli"], "-p", packages[name], "--", name)
    for asked, answer in (("version", f"/dist/{name} {name}@latest"), ("node", str(node))):
        done = subprocess.run(
            [node, npx, *words, asked],
            cwd=tmp_path,
            env=of_node(node, tmp_path),
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
        )
        assert done.returncode == 0, done
        assert done.stdout.strip().endswith(answer)
