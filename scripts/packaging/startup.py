"""Usage: startup.py FOLDER ONEFILE

Measures the frozen programs, side by side with a bare interpreter: how large they are, how long
`derptun version` takes, and how long it is from the start of `derptun connect` until its first
packet is at a relay.  Medians of 20, taken in turns; prints a table with what they must be, and
fails when a size is not.  On a machine that is not at rest the times say little: the shortest and
the machine's load stand beside the medians.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

RUNS = 20
MEGABYTE = 1_000_000
WAIT_S = 20.0
HTTP_REQUEST = b"GET "


@dataclass
class Row:
    """A line of the table.

    Args:
        what: is measured.
        take: measures it once, in the unit of `must`.
        must: at most; None for what only compares.
        unit: of the figures.
    """

    what: str
    take: Callable[[], float]
    must: float | None
    unit: str = "ms"
    samples: list[float] = field(default_factory=list)

    @property
    def is_met(self) -> bool:
        """Whether it is what it must be."""
        return self.must is None or median(self.samples) <= self.must


def size_of(path: Path) -> float:
    """Return the megabytes of a file, or of all files in a folder."""
    parts = path.rglob("*") if path.is_dir() else [path]
    files = [part for part in parts if part.is_file() and not part.is_symlink()]
    return sum(part.stat().st_size for part in files) / MEGABYTE


def run_ms(*command: str | Path) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - began)


def first_packet_ms(derptun: Path, token: Path, relay: socket.socket) -> float:
    """Return how long after its start `connect` has asked a relay to let it in."""
    quiet = subprocess.DEVNULL
    began = time.perf_counter()
    with subprocess.Popen(
        [derptun, "connect", "--stdio", "--token-file", token],
        stdin=subprocess.PIPE,
        stdout=quiet,
        stderr=quiet,
    ) as process:
        connection, _ = relay.accept()
        with connection:
            connection.settimeout(WAIT_S)
            request = connection.recv(4096)
            took_s = time.perf_counter() - began
            process.terminate()
    if not request.startswith(HTTP_REQUEST):
        raise RuntimeError(f"the first packet is {request[:40]!r}")
    return 1000 * took_s


def client_token(tree: Path, folder: Path, port: int) -> Path:
    """Make a token to connect with; its relay is there only meanwhile."""
    server, client = folder / "server.dts", folder / "client.dtc"
    address = f"127.0.0.1:{port}"
    relay = [tree / "derphole", "relay", "--listen", address, "--stun-port", "off"]
    with subprocess.Popen(relay, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it says that it is ready
        at = ["--relay", f"http://{address}?stun=off"]
        for kind, path, options in (
            ("server", server, at),
            ("client", client, ["--token-file", server]),
        ):
            command = [tree / "derptun", "token", kind, *options, "--output", path]
            subprocess.run(command, check=True, capture_output=True)
        process.terminate()
    return client


def rows(tree: Path, onefile: Path, derptun: Path, token: Path, relay: socket.socket) -> list[Row]:
    """Return what is measured."""
    python = Path(sys.executable)
    alone = tree / "derptun"

    def first_packet(program: Path) -> Callable[[], float]:
        return lambda: first_packet_ms(program, token, relay)

    return [
        Row("a bare interpreter, python -I -S", lambda: run_ms(python, "-I", "-S", "-c", ""), None),
        Row("the folder: size", lambda: size_of(tree), 50.0, "MB"),
        Row("the folder: version", lambda: run_ms(alone, "version"), 50.0),
        Row("the folder: first packet of connect", first_packet(alone), 140.0),
        Row("one file: size", lambda: size_of(onefile), 30.0, "MB"),
        Row("one file: version", lambda: run_ms(derptun, "version"), 80.0),
        Row("one file: first packet of connect", first_packet(derptun), 200.0),
    ]


def table(measured: list[Row]) -> str:
    """Return it in columns, with how many times the first row each time is."""
    bare = median(measured[0].samples)
    lines = [("what", "median", "at best", "must", "x interpreter")]
    for row in measured:
        middle, best = median(row.samples), min(row.samples)
        must = "" if row.must is None else f"<= {row.must:g} {row.unit}"
        times = f"{middle / bare:.1f}" if row.unit == "ms" else ""
        missed = "" if row.is_met else "  MISSED"
        shown = f"{middle:.1f} {row.unit}{missed}", f"{best:.1f} {row.unit}"
        lines.append((row.what, *shown, must, times))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def main() -> None:
    """Measure, print and judge."""
    if len(sys.argv) != 3 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    tree, onefile = (Path(argument).resolve() for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="derphole-startup-") as name:
        folder = Path(name)
        derptun = folder / "derptun"
        derptun.symlink_to(onefile)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        token = client_token(tree, folder, port)
        with socket.create_server(("127.0.0.1", port)) as relay:
            relay.settimeout(WAIT_S)
            measured = rows(tree, onefile, derptun, token, relay)
            load = os.getloadavg()[0]
            for _ in range(RUNS):
                for row in measured:
                    row.samples.append(row.take())
    print(f"medians of {RUNS}; load before {load:.2f}")
    print(table(measured))
    too_large = [row.what for row in measured if row.unit == "MB" and not row.is_met]
    if too_large:
        sys.exit(f"too large: {', '.join(too_large)}")


if __name__ == "__main__":
    main()
