"""Usage: npm_packages.py WORK PROGRAM CHANNEL

Writes the npm packages as folders into WORK: the two that start the program, and the one that
holds it for this machine, from the folder PROGRAM.  Modes are set here: npm keeps them as packed.
"""

import json
import platform
import re
import shutil
import stat
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from derphole import __version__  # noqa: E402

SCOPE = "@derphole"
# What releases are built for, as npm names systems and processors.
PLATFORMS = ("linux-x64", "linux-arm64", "darwin-x64", "darwin-arm64", "win32-x64")
CPU = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
COMMON = {
    "license": "BSD-3-Clause",
    "engines": {"node": ">=16"},
}
SUMMARY = {
    "derphole": "Move bytes between two machines that have no open port, no account and no server",
    "derptun": "Keep an encrypted TCP tunnel between two machines for months",
}
READ_ME = """\
# {name}

{summary}.

```sh
npx -y {name}@{channel} help
```

npx writes its command lines to a log that other users of the machine can read, so give secrets
otherwise (`--token-stdin`, `DERPHOLE_TOKEN`), or use `npx --logs-max=0`. Each start asks the
registry whether there is a newer version; `npx --prefer-offline` does not. For repeated use:
`npm install -g {name}`. Not for services or ssh's ProxyCommand: an installed program starts sooner
and gets every signal.
"""


def version_of(channel: str) -> str:
    """Return the version as npm writes it."""
    plain = re.sub(r"\.?dev", "-dev.", __version__)
    return plain if channel == "latest" or "-" in plain else f"{plain}-dev.0"


def this_platform() -> str:
    """Return this machine as npm names it."""
    system = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}[platform.system()]
    return f"{system}-{CPU[platform.machine().lower()]}"


def write(folder: Path, name: str, text: str, mode: int = 0o644) -> None:
    """Write a file of a package."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def write_starter(work: Path, name: str, channel: str) -> None:
    """Write the package that starts a program."""
    folder, version = work / name, version_of(channel)
    package = {
        "name": name,
        "version": version,
        "description": SUMMARY[name],
        **COMMON,
        "scope": SCOPE,
        "bin": {name: f"bin/{name}.js"},
        "files": ["bin"],
        "optionalDependencies": {f"{SCOPE}/cli-{each}": version for each in PLATFORMS},
    }
    write(folder, "package.json", json.dumps(package, indent=2) + "\n")
    shim = (ROOT / "build" / "npm" / "shim.js").read_text(encoding="utf-8")
    write(folder, f"bin/{name}.js", shim, 0o755)
    read_me = READ_ME.format(name=name, summary=SUMMARY[name], channel=channel)
    write(folder, "README.md", read_me)
    write(folder, "LICENSE", (ROOT / "LICENSE").read_text(encoding="utf-8"))


def write_program(work: Path, program: Path, channel: str) -> None:
    """Write the package that holds the program; npm drops links, so there are none."""
    key = this_platform()
    system, cpu = key.split("-")
    folder = work / f"cli-{key}"
    shutil.copytree(program, folder / "dist", symlinks=False)
    for path in folder.rglob("*"):
        is_program = path.is_dir() or bool(path.stat().st_mode & stat.S_IXUSR)
        path.chmod(0o755 if is_program else 0o644)
    package = {
        "name": f"{SCOPE}/cli-{key}",
        "version": version_of(channel),
        "description": f"The programs derphole and derptun for {key}",
        **COMMON,
        "os": [system],
        "cpu": [cpu],
        **({"libc": ["glibc"]} if system == "linux" else {}),
        "preferUnplugged": True,
        "files": ["dist"],
    }
    write(folder, "package.json", json.dumps(package, indent=2) + "\n")
    write(folder, "LICENSE", (ROOT / "LICENSE").read_text(encoding="utf-8"))


def main() -> None:
    """Write all of them."""
    work, program, channel = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    for name in SUMMARY:
        write_starter(work, name, channel)
    write_program(work, program, channel)


if __name__ == "__main__":
    if re.fullmatch(r"-h|--help", "".join(sys.argv[1:])):
        print(__doc__)
    else:
        main()
