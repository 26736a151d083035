"""Transfers in the lab: a relay in the public namespace, `listen` on one host, `pipe` on the other.

Processes are those of `support.processes`: every wait is bounded and ends with what the process
had said.  What a transfer tells of itself is read from the events of `--json`.
"""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE

from lab import Host, Lab
from live_transfer import LiveTransfer
from support.processes import PROGRAM, Process, await_true, clean_environment

# Chosen.
RELAY_PORT = 3340
STUN_PORT = 3478
END_LIMIT_S = 60.0
TOKEN_EVENT = r'"event": "token".*"token": "(dhp1_[A-Za-z0-9_-]{20,})"'
DIRECT_EVENT = r'"event": "path".*"direct": true'
# Sends its standard input to the first who asks, and waits until that one has closed; `share`
# connects once to see whether somebody listens, and asks nothing.
SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], file=sys.stderr)
    while not (connection := server.accept()[0]).recv(1):
        pass
with connection:
    while data := sys.stdin.buffer.read1(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
"""
CLIENT = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.sendall(b"?")
    while data := connection.recv(65536):
        sys.stdout.buffer.write(data)
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a transfer ended.

    Args:
        path: "direct" or "relay", what carried the traffic at the end.
        direct_after_s: from the link's start to the first direct path; None without one.
        is_exact: whether the receiver wrote what the sender read, and both ended with 0.
        reason: why it was relayed, or what went wrong, in the words of the programs.
    """

    path: str
    direct_after_s: float | None
    is_exact: bool
    reason: str


class Transfer:
    """One `pipe` on its way to one `listen`."""

    def __init__(self, listen: Process, pipe: Process, payload: bytes) -> None:
        self.listen = listen
        self.pipe = pipe
        self._payload = payload

    def await_received(self, size: int, limit_s: float = END_LIMIT_S) -> None:
        """Wait until the receiver has written that many bytes, or either side has ended."""
        both = (self.listen, self.pipe)
        await_true(
            lambda: self.received_size >= size or not all(side.is_running for side in both),
            f"{size} bytes have come",
            limit_s,
        )
        stories = "\n".join(side.story for side in both)
        assert self.received_size >= size, f"{self.received_size} bytes of {size}\n{stories}"

    @property
    def received_size(self) -> int:
        """Bytes that the receiver has written so far."""
        return self.listen.output_size

    def finish(self, limit_s: float = END_LIMIT_S) -> Outcome:
        """Wait for the end of both and tell how it went; raises AssertionError when none comes."""
        codes = (self.pipe.wait(limit_s), self.listen.wait(limit_s))
        is_exact = self.listen.stdout == self._payload
        return self._outcome(is_exact and codes == (0, 0))

    def _outcome(self, is_exact: bool) -> Outcome:
        events = self.pipe.events
        paths = [event for event in events if event.get("event") == "path"]
        direct = [event for event in paths if event.get("direct")]
        receipt = [event for event in events if event.get("event") == "receipt"]
        errors = [
            f"{process.name}: {event.get('message')}"
            for process in (self.pipe, self.listen)
            for event in process.events
            if event.get("event") == "error"
        ]
        after_s = _time(direct[0]) - _time(paths[0]) if direct else None
        is_direct = bool(paths) and bool(paths[-1].get("direct"))
        reason = str(receipt[-1].get("reason_relayed") or "") if receipt else "; ".join(errors)
        return Outcome("direct" if is_direct else "relay", after_s, is_exact, reason)


class Stage:
    """Starts derphole in a lab; `close` ends what it started."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._folder = folder
        self._processes: list[Process] = []
        self._live: list[LiveTransfer] = []
        self.url = ""
        self._relay: Process | None = None

    def close(self) -> None:
        """Stop what still runs."""
        for process in reversed(self._processes):
            process.stop()
        for live in self._live:
            live.close()

    @property
    def relay(self) -> Process:
        """The relay that was started last."""
        assert self._relay is not None
        return self._relay

    def start_relay(self, address: str = "", stun_port: int | None = STUN_PORT) -> Process:
        """Start a relay, at the first public address if none is given; transfers use the latest.

        Without a port for STUN there is room for another STUN server on its address.
        """
        address = address or self._lab.public_addresses[0]
        host = f"[{address}]" if ":" in address else address
        options = ["--listen", f"{host}:{RELAY_PORT}", "--stun-port", stun_port or "off"]
        relay = self._relay = self.run("relay", self._lab.public, "relay", *options)
        self.url = relay.await_line(r"^relay ready: (http\S+)").group(1)
        return relay

    def transfer(
        self,
        payload: bytes,
        *,
        sender: str = "a",
        receiver: str = "b",
        options: tuple[str, ...] = (),
        is_open: bool = False,
        sender_options: tuple[str, ...] = (),
    ) -> Transfer:
        """Start a transfer through the stage's relay; `options` go to both commands.

        One that `is_open` waits for more input behind the payload until that is ended.
        """
        listen = self._listen(receiver, options)
        token = listen.await_line(TOKEN_EVENT).group(1)
        arguments = ["pipe", "--json", *options, *sender_options, token]
        stdin = PIPE if is_open else payload
        pipe = self.run("pipe", self._lab.host(sender), *arguments, stdin=stdin)
        if is_open:
            pipe.feed(payload)
        return Transfer(listen, pipe, payload)

    def live_transfer(self, size: int, *, options: tuple[str, ...] = ()) -> LiveTransfer:
        """Start a transfer of at least `size` bytes from a to b that goes on until released."""
        traces = {name: self._folder / f"{name}.trace" for name in ("listen", "pipe")}
        listen = self._listen("b", (*options, "--trace", str(traces["listen"])))
        token = listen.await_line(TOKEN_EVENT).group(1)
        arguments = ["pipe", "--json", *options, "--trace", traces["pipe"], token]
        pipe = self.run("pipe", self._lab.a, *arguments, stdin=PIPE)
        live = LiveTransfer(pipe, listen, traces, size)
        self._live.append(live)
        return live

    def live_download(self, size: int, *, options: tuple[str, ...] = ()) -> LiveTransfer:
        """Start a download by b of at least `size` bytes from a server that a shares.

        It is one TCP connection at either end: whoever loses it ends with 1.
        """
        traces = {name: self._folder / f"{name}.trace" for name in ("share", "open")}
        python = [sys.executable, "-u", "-c"]
        server = self.start("server", self._lab.a, [*python, SERVER], stdin=PIPE)
        port = server.await_line(r"^(\d+)$").group(1)
        common = ["--json", *options, "--trace"]
        shared = [*common, traces["share"], "--relay", self.url, port]
        share = self.run("share", self._lab.a, "share", *shared)
        token = share.await_line(TOKEN_EVENT).group(1)
        opened = self.run("open", self._lab.b, "open", *common, traces["open"], token)
        bind = opened.await_line(r'"address": "127\.0\.0\.1:(\d+)"').group(1)
        client = self.start("client", self._lab.b, [*python, CLIENT, bind])
        live = LiveTransfer(share, opened, traces, size, server, client)
        self._live.append(live)
        return live

    def live_tunnel(self, size: int, *, options: tuple[str, ...] = ()) -> LiveTransfer:
        """Start a download by b as `live_download` does, through a tunnel of derptun."""
        traces = {name: self._folder / f"{name}.trace" for name in ("share", "open")}
        server, client = self._folder / "server.dts", self._folder / "client.dtc"
        python = [sys.executable, "-u", "-c"]
        source = self.start("server", self._lab.a, [*python, SERVER], stdin=PIPE)
        port = source.await_line(r"^(\d+)$").group(1)
        made = ("derptun", "token", "server", "--relay", self.url, "--output", server)
        self.run("token server", self._lab.a, *made).ends_with(0)
        made = ("derptun", "token", "client", "--token-file", server, "--output", client)
        self.run("token client", self._lab.a, *made).ends_with(0)
        common = ["--json", *options, "--trace"]
        wanted = [*common, traces["share"], "--token-file", server, "--tcp", f"127.0.0.1:{port}"]
        serve = self.run("serve", self._lab.a, "derptun", "serve", *wanted)
        serve.await_line(r'"event": "serving"')
        words = [*common, traces["open"], "--token-file", client]
        opened = self.run("open", self._lab.b, "derptun", "open", *words)
        bind = opened.await_line(r'"address": "127\.0\.0\.1:(\d+)"').group(1)
        reader = self.start("client", self._lab.b, [*python, CLIENT, bind])
        live = LiveTransfer(serve, opened, traces, size, source, reader)
        self._live.append(live)
        return live

    def transfer_when_direct(self, payload: bytes, direct_limit_s: float) -> Outcome:
        """Move a payload from a to b, its second half when the path is direct or time is up."""
        listen = self._listen("b", ())
        token = listen.await_line(TOKEN_EVENT).group(1)
        pipe = self.run("pipe", self._lab.a, "pipe", "--json", token, stdin=PIPE)
        pipe.feed(payload[: len(payload) // 2])
        with contextlib.suppress(AssertionError):  # staying on the relay is an outcome too
            pipe.await_line(DIRECT_EVENT, direct_limit_s)
        pipe.feed(payload[len(payload) // 2 :])
        pipe.end_input()
        return Transfer(listen, pipe, payload).finish()

    def _listen(self, host: str, options: tuple[str, ...]) -> Process:
        arguments = ["listen", "--json", "--relay", self.url, *options]
        return self.run("listen", self._lab.host(host), *arguments)

    def run(
        self,
        name: str,
        host: Host,
        *arguments: object,
        stdin: bytes | int = DEVNULL,
        stdout: int = PIPE,
    ) -> Process:
        """Start derphole on a host."""
        return self.start(name, host, [PROGRAM, *arguments], stdin, stdout)

    def start(
        self,
        name: str,
        host: Host,
        command: list[object],
        stdin: bytes | int = DEVNULL,
        stdout: int = PIPE,
    ) -> Process:
        """Start a program on a host."""
        environment = clean_environment(self._folder)
        inside = host.command(command)
        process = Process(name, inside, self._folder, environment, stdin=stdin, stdout=stdout)
        self._processes.append(process)
        return process


def _time(event: dict[str, object]) -> float:
    return float(str(event["time"]))
