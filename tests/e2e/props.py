"""What scenes are played with: files, a page, a database, and a machine to log in to by ssh."""

import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

from stage import Stage
from support.processes import free_port
from support.programs import await_listener, needs
from support.real_sshd import Machine

PAGE = b"the page"
_SHARED: "dict[type, Machine | Page]" = {}
_Prop = TypeVar("_Prop", "Machine", "Page")


def _shared(kind: type[_Prop]) -> _Prop:
    """Return the one thing of its kind that all scenes use."""
    prop = _SHARED.get(kind) or _SHARED.setdefault(kind, kind())
    assert isinstance(prop, kind)
    return prop


def put_away() -> None:
    """End what scenes share."""
    while _SHARED:
        _SHARED.popitem()[1].close()


def fill(path: Path, size: int = 300_000) -> bytes:
    """Write a file of random bytes; returns them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = os.urandom(size)
    path.write_bytes(data)
    return data


def fill_folder(path: Path, entries: int = 5) -> None:
    """Make a folder with that many entries, itself included."""
    path.mkdir()
    (path / "inner").mkdir()
    for number in range(entries - 2):
        fill(path / "inner" / f"file {number}", 4500)


def contents(path: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # noqa: N802
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Page:
    """A web server of one page, on a port of the loopback."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="page", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_port

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def page_port() -> int:
    """Return the port of a web server of one page."""
    needs("curl")
    return _shared(Page).port


def shows_page(stage: Stage, address: str) -> bool:
    """Tell whether the page is seen at an address, there."""
    curl = stage.aside(stage.there, "curl", "-sS", "--max-time", "30", f"http://{address}/")
    curl.ends_with(0)
    return curl.stdout == PAGE


def serve_redis(stage: Stage) -> int:
    needs("redis-server", "redis-cli")
    port = free_port()
    quiet = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir", str(stage.here))
    at_once = ("--repl-diskless-sync-delay", "0")
    stage.aside(stage.here, "redis-server", "--port", str(port), *quiet, *at_once)
    await_listener(port)
    return port


def machine_with_key(stage: Stage, places: tuple[Path, ...]) -> Machine:
    """Return a machine with a real sshd; whoever is at these places has the key that lets in."""
    needs("sshd", "ssh", "scp")
    machine = _shared(Machine)
    machine.empty_home()
    (machine.home / ".ssh").mkdir(mode=0o700)
    machine.keys.write_bytes(Path(f"{machine.key}.pub").read_bytes())
    machine.keys.chmod(0o600)
    for path in (machine.home / ".ssh", machine.keys):
        machine.give(path)
    for place in places:
        (place / ".ssh").mkdir(mode=0o700)
        (place / ".ssh" / "config").write_text(ssh_settings(machine, place))
        (place / ".ssh" / "config").chmod(0o600)
    # These ask the user database for the home, and not the variable.
    stage.program("ssh", f'exec {shutil.which("ssh")} -F "$HOME/.ssh/config" "$@"')
    stage.program("scp", f'exec {shutil.which("scp")} -S "{stage.programs}/ssh" "$@"')
    return machine


def ssh_settings(machine: Machine, place: Path) -> str:
    return (
        f"IdentityFile {machine.key}\nIdentitiesOnly yes\nIdentityAgent none\nBatchMode yes\n"
        f"StrictHostKeyChecking accept-new\nUserKnownHostsFile {place}/known\nLogLevel ERROR\n"
    )
