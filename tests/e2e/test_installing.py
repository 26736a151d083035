"""Installations by pip, pipx and uv into clean environments, on every Python that is here.

Nothing is compiled: there is no compiler, and every package that is fetched must be a wheel.
"""

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from desk import Desk, token_of
from support.builds import run_script
from support.processes import ROOT, clean_environment

from derphole import __version__

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

INSTALL_S = 300
# All that an installed program uses of the system; no compiler is among it.
SYSTEM_PROGRAMS = ("sh", "readlink", "date", "env", "uname")
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
SHARED_FILES = (
    "share/man/man1/derphole.1",
    "share/man/man1/derptun.1",
    "share/bash-completion/completions/derphole",
    "share/bash-completion/completions/derptun",
    "share/fish/vendor_completions.d/derphole.fish",
    "share/fish/vendor_completions.d/derptun.fish",
)


def pythons() -> dict[str, Path]:
    """Return an interpreter for each supported Python of this machine, oldest first."""
    found: dict[str, Path] = {}
    for version in SUPPORTED:
        versions = Path.home() / ".pyenv" / "versions"
        places = [*sorted(versions.glob(f"{version}.*/bin/python")), *on_path(f"python{version}")]
        for place in places:
            command = [place, "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"]
            told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            if told.stdout.strip() == version:
                found.setdefault(version, place)
    return found


def on_path(name: str) -> list[Path]:
    place = shutil.which(name)
    return [Path(place)] if place else []


@pytest.fixture(scope="session")
def interpreters() -> dict[str, Path]:
    found = pythons()
    if not found:
        pytest.skip("not installed: a Python from 3.11 on that can make virtual environments")
    return found


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the source distribution of this checkout."""
    folder = tmp_path_factory.mktemp("packages")
    run_script("wheel", "--output", folder)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="session")
def tools(interpreters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pipx and uv."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([next(iter(interpreters.values())), "-m", "venv", folder], check=True)
    pins = ROOT / "scripts" / "constraints.txt"
    done = subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "-q", "-c", pins, "pipx", "uv"],
        capture_output=True, text=True, timeout=INSTALL_S, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"not installed: pipx and uv, for they cannot be fetched: {done.stderr[-500:]}")
    return folder / "bin"


class Clean:
    """An environment in which nothing is installed, and from which no compiler can be reached.

    Args:
        folder: everything is written below it.
        python: the interpreter to install for.
        tools: where pipx and uv are.
    """

    def __init__(self, folder: Path, python: Path, tools: Path) -> None:
        self.folder, self.python, self.tools = folder, python, tools
        self.bin = folder / "bin"
        system = folder / "system"
        system.mkdir()
        for name in SYSTEM_PROGRAMS:
            (system / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
        home = folder / "home"
        home.mkdir()
        kept = {
            name: value
            for name, value in clean_environment(folder).items()
            if not name.startswith(("PYTHON", "PIP_NO_", "VIRTUAL_ENV"))
            and name not in ("CC", "CXX")
        }
        self.environment = {
            **kept,
            "HOME": str(home),
            "PATH": str(system),
            "PIP_CACHE_DIR": cache("pip"),
            "UV_CACHE_DIR": cache("uv"),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_TOOL_DIR": str(folder / "uv"),
            "UV_TOOL_BIN_DIR": str(self.bin),
            "PIPX_HOME": str(folder / "pipx"),
            "PIPX_BIN_DIR": str(self.bin),
            "PIPX_DEFAULT_BACKEND": "pip",
        }
        for compiler in ("cc", "gcc", "g++", "clang", "c++"):
            assert shutil.which(compiler, path=str(system)) is None

    def run(self, *command: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=INSTALL_S, check=False,
        )  # fmt: skip
        assert done.returncode == code, done
        return done

    def by_pip(self, *what: str | Path) -> None:
        self.run(self.python, "-m", "venv", self.folder)
        self.run(self.bin / "python", "-m", "pip", "install", "--only-binary", ":all:", *what)

    def by_pipx(self, *what: str | Path) -> None:
        self.run(self.tools / "pipx", "install", "--python", self.python, *what)

    def by_uv(self, *what: str | Path) -> None:
        self.run(self.tools / "uv", "tool", "install", "--python", self.python, *what)

    def start_both(self) -> None:
        """See that both programs start, and that nobody is warned of anything."""
        for name, words, code in (
            ("derphole", ["version"], 0),
            ("derptun", ["version"], 0),
            ("derphole", ["help", "send"], 0),
            ("derptun", ["token", "show", "nonsense"], 1),
        ):
            said = self.run(self.bin / name, *words, code=code)
            assert not re.search("warning|Traceback", said.stderr, re.IGNORECASE), said.stderr
            assert code or not said.stderr
            if words == ["version"]:
                assert said.stdout == f"v{__version__}\n"


def cache(name: str) -> str:
    """Return where fetched packages are kept for the next test."""
    return str(ROOT / ".build" / "package-cache" / name)


def checkout(folder: Path) -> Path:
    """Return a copy of what git has of this checkout; an installation writes into its source."""
    copy = folder / "checkout"
    copy.mkdir()
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


def spread(interpreters: dict[str, Path], installers: Sequence[str]) -> list[tuple[str, str]]:
    """Pair each way to install with one Python, so that each of both is there."""
    versions = list(interpreters)
    return [(way, versions[number % len(versions)]) for number, way in enumerate(installers)]


WAYS = ("by_uv", "by_pipx", "by_pip")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_checkout_is_installed_and_moves_bytes(
    way: str,
    interpreters: dict[str, Path],
    tools: Path,
    tmp_path: Path,
    relay_url: str,
    is_full: bool,  # noqa: FBT001
) -> None:
    pairs = [(each, version) for each in WAYS for version in interpreters]
    for each, version in pairs if is_full else spread(interpreters, WAYS):
        if each != way:
            continue
        folder = tmp_path / version
        folder.mkdir()
        clean = Clean(folder, interpreters[version], tools)
        getattr(clean, way)(checkout(folder))
        clean.start_both()
        moves_bytes(clean, relay_url)


def moves_bytes(clean: Clean, relay_url: str) -> None:
    payload = os.urandom(1 << 18)
    place = clean.folder / "desk"
    place.mkdir()
    desk = Desk(place, relay_url)
    path = {"PATH": clean.environment["PATH"]}
    try:
        listen = desk.run(
            "listen", [clean.bin / "derphole", "listen", "--relay", relay_url], variables=path
        )
        pipe = [clean.bin / "derphole", "pipe", token_of(listen)]
        desk.run("pipe", pipe, stdin=payload, variables=path).ends_with(0)
        listen.ends_with(0)
        assert listen.stdout == payload
    finally:
        desk.close()


def test_the_wheel_needs_nothing_but_wheels(
    packages: dict[str, Path], interpreters: dict[str, Path], tools: Path, tmp_path: Path
) -> None:
    """And its second program is found under the name of the package, as uvx takes it."""
    python = list(interpreters.values())[-1]
    clean = Clean(tmp_path, python, tools)
    clean.by_pip(packages["wheel"])
    clean.start_both()
    for name in SHARED_FILES:
        assert (tmp_path / name).read_bytes() == (ROOT / "build" / name).read_bytes()
    uvx = [tools / "uv", "tool", "run", "--no-build", "--python", python]
    said = clean.run(*uvx, "--from", packages["wheel"], "derptun", "version")
    assert said.stdout == f"v{__version__}\n"


def test_an_older_python_is_refused_with_the_reason(
    packages: dict[str, Path], tools: Path, interpreters: dict[str, Path], tmp_path: Path
) -> None:
    old = sorted((Path.home() / ".pyenv" / "versions").glob("3.10.*/bin/python"))
    if not old:
        pytest.skip("optional: not installed: Python 3.10")
    clean = Clean(tmp_path, old[0], tools)
    done = clean.run(tools / "uv", "tool", "install", "--python", old[0], packages["wheel"], code=1)
    assert "Python>=3.11" in done.stderr


def test_the_licences_go_with_what_is_in_the_wheel(packages: dict[str, Path]) -> None:
    with zipfile.ZipFile(packages["wheel"]) as wheel:
        names = wheel.namelist()
        prefix = f"derphole-{__version__}.dist-info"
        metadata = wheel.read(f"{prefix}/METADATA").decode()
    assert {
        f"{prefix}/licenses/LICENSE",
        f"{prefix}/licenses/derphole/cli/vendored/docopt-LICENSE-MIT",
        "derphole/cli/vendored/docopt.py",
    } <= set(names)
    assert "docopt" not in metadata.partition("\n\n")[0].replace("docopt-LICENSE-MIT", "")
    assert not any(name.startswith(("tests/", "build/", "scripts/")) for name in names)
