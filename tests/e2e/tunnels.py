"""Tunnels of real processes: token files of a server and its clients, and what serves and opens."""

import os
import re
import subprocess
from pathlib import Path

from desk import DERPTUN, Desk
from support.processes import Process, clean_environment, free_port

TOKEN_S = 60


class Tunnel:
    """A server token, its client tokens, and the processes that use them.

    Args:
        desk: where everything runs.
        relay_url: the relay that the token names; None for the desk's.
        name: of the server's token file.
    """

    def __init__(self, desk: Desk, relay_url: str | None = None, name: str = "server") -> None:
        self.desk = desk
        self.folder = desk.folder / "tokens"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.server = self.folder / f"{name}.dts"
        self.relay_url = relay_url or desk.relay_url
        self.derptun("token", "server", "--relay", self.relay_url, "--output", str(self.server))

    def derptun(
        self, *words: str, code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        done = subprocess.run(
            [*DERPTUN, *words],
            capture_output=True,
            text=True,
            timeout=TOKEN_S,
            env={**clean_environment(self.desk.folder), **variables},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done

    def client(self, name: str = "client", *words: str) -> Path:
        """Make a client token; returns its file."""
        path = self.folder / f"{name}.dtc"
        source = ("--token-file", str(self.server))
        self.derptun("token", "client", *source, "--name", name, "--output", str(path), *words)
        return path

    def id_of(self, client: Path) -> str:
        """Return the id of a client token."""
        shown = self.derptun("token", "show", "--token-file", str(client))
        found = re.search(r"^id: +([0-9a-f]{16})$", shown.stderr, re.MULTILINE)
        assert found is not None, shown
        return found[1]

    def serve(
        self, port: int, *words: str, name: str = "serve", is_ready: bool = True, **rest: object
    ) -> Process:
        """Start a server of a port of this machine."""
        source = ("--token-file", str(self.server), "--tcp", f"127.0.0.1:{port}")
        process = self.desk.derptun(name, "serve", *source, *words, **rest)
        if is_ready:
            process.await_line(r"^serving 127\.0\.0\.1:\d+ as server [0-9a-f]{16} on relay ")
        return process

    def open(
        self, client: Path, *words: str, name: str = "open", is_ready: bool = True, **rest: object
    ) -> tuple[Process, int]:
        """Start `open`; returns it with its port."""
        port = free_port()
        source = ("--token-file", str(client), "--listen", f"127.0.0.1:{port}")
        process = self.desk.derptun(name, "open", *source, *words, **rest)
        if is_ready:
            process.await_line(rf"^listening on 127\.0\.0\.1:{port}$")
        return process, port

    def connect(self, client: Path, *words: str, name: str = "connect", **rest: object) -> Process:
        """Start `connect --stdio`."""
        source = ("--stdio", "--token-file", str(client))
        return self.desk.derptun(name, "connect", *source, *words, **rest)

    def proxy(self, client: Path, *words: str) -> str:
        """Return what goes behind ssh's ProxyCommand."""
        return " ".join(
            [*map(str, DERPTUN), "connect", "--stdio", "--token-file", str(client), *words]
        )

    def processes(self) -> dict[int, str]:
        """Return the command lines of all processes that use a token of ours."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != str(os.getpid()):
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:
                    continue
                if str(self.folder) in line:
                    found[int(entry.name)] = line
        return found
