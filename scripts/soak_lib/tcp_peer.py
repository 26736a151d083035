"""Both ends of the TCP connections that go through `share` and `open`, each a process of its own.

    usage: tcp_peer.py server | client PORT KIND...

The server listens on loopback and prints its port.  The client makes one connection for each kind,
see `plan.ConnectionKind`, and tells number and kind in its first bytes.  Both go on until their
standard input ends, then bring every connection to an orderly end.  Each line of standard output
is one JSON object:

    {"came": connection, "at": [monotonic time, ...]}      bytes came on a connection
    {"over": connection, "sent": [size, digest], "received": [size, digest], "error": ""}

Standard library only, a thread for each direction.
"""

import contextlib
import hashlib
import json
import random
import socket
import sys
import threading
import time

HELLO = "{number:03d} {kind:>10} "
HELLO_SIZE = 15
BLOCK_SIZE = 16 << 10
MAX_QUESTION_SIZE = 4 << 10
MAX_THINK_S = 0.04
IDLE_QUESTION_SIZE = 16
REPORT_S = 0.1

released = threading.Event()
_lock = threading.Lock()


def say(**values: object) -> None:
    with _lock:
        print(json.dumps(values), flush=True)


class Connection:
    """One connection, at either end."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.error = ""
        self._sock = sock
        self._sent, self._received = [0, hashlib.sha256()], [0, hashlib.sha256()]
        self._arrivals: list[float] = []
        self._told_at = time.monotonic()
        self._random = random.Random(f"{sys.argv[1]} {number}")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def play(self, kind: str, is_client: bool) -> None:
        """Do what this end does in a connection of this kind, and tell how it went."""
        try:
            self._play(kind, is_client)
        except OSError as error:
            self.error = f"{type(error).__name__}: {error}"
        self._tell_arrivals()
        values = {
            name: [size, digest.hexdigest()]
            for name, (size, digest) in (("sent", self._sent), ("received", self._received))
        }
        say(over=self.number, error=self.error, **values)
        self._sock.close()

    def _play(self, kind: str, is_client: bool) -> None:
        sends = {"upload": is_client, "download": not is_client, "both": True}.get(kind)
        if sends is None:
            self._ask(is_idle=kind == "idle") if is_client else self._echo()
        elif kind == "both":
            sender = threading.Thread(target=self._send_guarded, daemon=True)
            sender.start()
            self._receive()
            sender.join()
        elif sends and is_client:
            self._send_all()
            self._receive()
        elif sends:
            self._receive()  # the client's half is over at once
            self._send_all()
        elif is_client:
            self._sock.shutdown(socket.SHUT_WR)
            self._receive()
        else:
            self._receive()
            self._sock.shutdown(socket.SHUT_WR)

    def _send_guarded(self) -> None:
        try:
            self._send_all()
        except OSError as error:
            self.error = f"{type(error).__name__}: {error}"

    def _send_all(self) -> None:
        rest = self._random.randbytes(BLOCK_SIZE - 8)
        count = 0
        while not released.is_set():
            self._send(count.to_bytes(8, "big") + rest)
            count += 1
        self._sock.shutdown(socket.SHUT_WR)

    def _ask(self, *, is_idle: bool) -> None:
        def ask(size: int) -> None:
            self._send(self._random.randbytes(size))
            while size:
                size -= len(self._take(size))

        if is_idle:
            ask(IDLE_QUESTION_SIZE)
            released.wait()
            ask(IDLE_QUESTION_SIZE)
        while not released.wait(self._random.uniform(0, MAX_THINK_S)):
            ask(self._random.randint(1, MAX_QUESTION_SIZE))
        self._sock.shutdown(socket.SHUT_WR)
        self._receive()

    def _echo(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                self._send(self._take(BLOCK_SIZE))
        self._sock.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        with contextlib.suppress(EOFError):
            while True:
                self._take(BLOCK_SIZE)

    def _send(self, data: bytes) -> None:
        self._sock.sendall(data)
        self._sent[0] += len(data)
        self._sent[1].update(data)

    def _take(self, size: int) -> bytes:
        data = self._sock.recv(size)
        now = time.monotonic()
        if not data:
            raise EOFError
        self._received[0] += len(data)
        self._received[1].update(data)
        self._arrivals.append(now)
        if now - self._told_at > REPORT_S:
            self._tell_arrivals()
            self._told_at = now
        return data

    def _tell_arrivals(self) -> None:
        if self._arrivals:
            say(came=self.number, at=[round(at, 3) for at in self._arrivals])
            self._arrivals = []


def serve(sock: socket.socket) -> None:
    """Serve a connection; one that says nothing only looked whether somebody listens."""
    hello = b""
    with contextlib.suppress(OSError):
        while len(hello) < HELLO_SIZE and (data := sock.recv(HELLO_SIZE - len(hello))):
            hello += data
    if len(hello) < HELLO_SIZE:
        sock.close()
        return
    number, kind = hello.decode().split()
    Connection(sock, int(number)).play(kind, is_client=False)


def accept(listener: socket.socket) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


def main() -> None:
    threads = []
    if sys.argv[1] == "server":
        listener = socket.create_server(("127.0.0.1", 0))
        say(port=listener.getsockname()[1])
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
    else:
        for number, kind in enumerate(sys.argv[3:]):
            sock = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
            sock.sendall(HELLO.format(number=number, kind=kind).encode())
            connection = Connection(sock, number)
            threads.append(threading.Thread(target=connection.play, args=(kind, True)))
            threads[-1].start()
    sys.stdin.buffer.read()
    released.set()
    for thread in threads:
        thread.join()
    if not threads:
        threading.Event().wait()  # the server's connections end after the client's


if __name__ == "__main__":
    main()
