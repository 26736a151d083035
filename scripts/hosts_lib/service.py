"""A TCP service of this machine that gives everything back, and connections to it by any way."""

import contextlib
import hashlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from hosts_lib.trouble import Trouble

BLOCK = 1 << 16
CONNECT_S = 20.0
LINE_LIMIT = 1 << 12


class Echo:
    """Gives back what comes on each connection, and knows the digest of what came."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.came: list[tuple[int, str]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        digest, size = hashlib.sha256(), 0
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(BLOCK):
                digest.update(data)
                size += len(data)
                connection.sendall(data)
            if size:  # who only looks whether somebody listens sends nothing
                self.came.append((size, digest.hexdigest()))
            connection.shutdown(socket.SHUT_WR)


class Wire:
    """A connection: a socket, or the standard input and output of a command."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes], owner: "_Owner") -> None:
        self._reader, self._writer, self._owner = reader, writer, owner

    @classmethod
    def to_port(cls, port: int) -> "Wire":
        """Connect to a port of the loopback; raises OSError."""
        sock = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_S)
        sock.settimeout(None)  # whoever reads has a limit of their own
        return cls(sock.makefile("rb"), sock.makefile("wb", 0), _Socket(sock))

    @classmethod
    def to_command(cls, command: Sequence[str]) -> "Wire":
        """Speak with a command, such as one that forwards a connection."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        reader = open(process.stdout.fileno(), "rb", closefd=False)  # noqa: SIM115
        return cls(reader, process.stdin, _Command(process))

    def write(self, data: bytes) -> None:
        """Write all of it; raises OSError."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._writer.write(rest) :]

    def end_input(self) -> None:
        """Say that no more is written."""
        self._owner.end_input()

    def read(self) -> bytes:
        """Return what has come, empty at the end; raises OSError."""
        return self._reader.read1(BLOCK)  # type: ignore[attr-defined]

    def line(self) -> bytes:
        """Return the next line, empty at the end; raises OSError."""
        return self._reader.readline(LINE_LIMIT)

    def close(self) -> None:
        """End the connection."""
        self._owner.close()
        with contextlib.suppress(OSError):
            self._reader.close()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Owner(Protocol):
    def end_input(self) -> None: ...

    def close(self) -> None: ...


class _Socket:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def end_input(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


class _Command:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.end_input()
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came back from the service.

    Args:
        size: bytes that came back.
        digest: their SHA-256.
        seconds: from the first byte that went to the last that came.
    """

    size: int
    digest: str
    seconds: float


def exchange(wire: Wire, chunks: Iterator[bytes], limit_s: float) -> Exchange:
    """Send everything and read until the other side has ended; raises `Trouble`."""
    troubles: list[str] = []

    def send() -> None:
        try:
            for chunk in chunks:
                wire.write(chunk)
            wire.end_input()
        except OSError as error:
            troubles.append(f"writing: {error.strerror}")

    def expire() -> None:
        troubles.append(f"nothing ended within {limit_s:g} s")
        wire.close()

    sender = threading.Thread(target=send, daemon=True)
    watchdog = threading.Timer(limit_s, expire)
    digest, size, began = hashlib.sha256(), 0, time.monotonic()
    sender.start()
    watchdog.start()
    try:
        while data := wire.read():
            digest.update(data)
            size += len(data)
    except (OSError, ValueError) as error:
        troubles.append(f"reading: {error}")
    finally:
        watchdog.cancel()
    took_s = time.monotonic() - began
    sender.join(1.0)
    if troubles:
        raise Trouble(f"a connection broke after {size} bytes came back ({troubles[0]})")
    return Exchange(size, digest.hexdigest(), took_s)


def ping(wire: Wire, count: int, limit_s: float) -> list[float]:
    """Send lines and read each back before the next; returns their times, raises `Trouble`.

    Of less than `count` lines that came back the connection has ended, or the time is up.
    """
    times: list[float] = []
    watchdog = threading.Timer(limit_s, wire.close)
    watchdog.start()
    try:
        for number in range(count):
            line = f"ping {number}\n".encode()
            began = time.monotonic()
            wire.write(line)
            if (back := wire.line()) != line:
                if back:
                    raise Trouble(f"line {number} came back as {back!r}")
                break
            times.append(time.monotonic() - began)
    except (OSError, ValueError):
        pass
    finally:
        watchdog.cancel()
    return times


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield the blocks of a file."""
    with path.open("rb") as file:
        while data := file.read(BLOCK):
            yield data
