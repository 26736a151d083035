"""Every module can be imported where POSIX-only modules and constants are missing, as on Windows."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BARE = Path(__file__).with_name("bare_system.py")
LIMIT_S = 18


def imported_on_a_bare_system(packages: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, BARE, packages],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_every_module_is_imported_without_what_windows_lacks() -> None:
    done = imported_on_a_bare_system(ROOT)

    assert (done.returncode, done.stderr) == (0, "")
    modules = done.stdout.split()
    files = [
        path
        for package in ("tunnel", "derphole")
        for path in (ROOT / package).rglob("*.py")
        if path.parent != ROOT / package or path.name not in ("__init__.py", "__main__.py")
    ]
    assert len(modules) == len(files) > 200


def test_what_windows_lacks_is_missed(tmp_path: Path) -> None:
    faults = {
        "a_module": "import fcntl",
        "a_constant": "import os\nx = os.O_NONBLOCK",
        "a_signal": "from signal import SIGHUP",
        "a_family": "from gevent.socket import AF_UNIX",
        "nothing": "import os\nx = os.O_RDONLY",
    }
    for package in ("tunnel", "derphole"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    for name, text in faults.items():
        (tmp_path / "tunnel" / f"{name}.py").write_text(text)

    done = imported_on_a_bare_system(tmp_path)

    assert done.returncode == 1
    assert done.stdout.split() == ["tunnel.nothing"]
    failed = sorted(line.split(":")[0] for line in done.stderr.splitlines())
    assert failed == [f"tunnel.{name}" for name in sorted(faults) if name != "nothing"]
