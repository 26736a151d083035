"""What scripts/two-hosts does in each of its modes."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from hosts_lib.end import TOKEN_EVENT, End, Program
from hosts_lib.report import Row, rate_text, seconds_text
from hosts_lib.service import Echo, chunks_of, exchange, ping
from hosts_lib.transfer import (
    DIRECT_EVENT,
    DIRECT_LIMIT_S,
    PAYLOAD,
    TOKEN,
    Wish,
    move,
    path_rows,
    transfer_rows,
)
from hosts_lib.trouble import Trouble

# Chosen.
PINGS = 80
PING_S = 60.0
RETURN_LIMIT_S = 30.0  # from the start of a server or client to bytes through it
TRY_S = 5.0
POLL_S = 0.1
RESTARTS = 2
SERVER, CLIENT, SECOND = "server.dts", "client.dtc", "second.dtc"
LISTENING = r'"event": "listening".*"address": "127\.0\.0\.1:(\d+)"'
ENDED_OK = 0


@dataclass
class Check:
    """A check that goes on.

    Args:
        near, far: both ends.
        wish: how much is moved, over which relay.
        rows: what was seen so far.
        say: called with what begins.
    """

    near: End
    far: End
    wish: Wish
    rows: list[Row]
    say: Callable[[str], None]

    def turns(self) -> list[tuple[End, End]]:
        """Both ends as giver and taker, each way."""
        return [(self.near, self.far), (self.far, self.near)]


def smoke(check: Check) -> None:
    """Both directions, the second half once both sides are direct."""
    _transfers(check, replace(check.wish, is_gated=True))


def relay(check: Check) -> None:
    """Both directions, kept on the relay."""
    _transfers(check, replace(check.wish, is_relayed=True, is_gated=True))


def promotion(check: Check) -> None:
    """Both directions at full speed, from the relay to a direct path under way."""
    _transfers(check, check.wish)


def _transfers(check: Check, wish: Wish) -> None:
    for sender, receiver in check.turns():
        what = f"{receiver.name} receives" if receiver.is_far else f"{sender.name} sends"
        check.say(what)
        check.rows += transfer_rows(what, move(sender, receiver, wish), wish)


def share(check: Check) -> None:
    """A service of each end, used from the other one: two requests, each exact."""
    for server, client in check.turns():
        what = f"{server.name} shares"
        check.say(what)
        with _Service(check) as service:
            port = server.service_port(service.port)
            shared = server.start(
                "share", "share", "--json", "--no-code", *check.wish.relay_options, port
            )
            client.do("put", TOKEN, stdin=shared.await_event(TOKEN_EVENT, "a token").encode())
            opened = client.start("open", "open", "--json", "--token-file", client.path(TOKEN))
            there = int(opened.await_event(LISTENING, "opened a port"))
            _await_direct(shared, opened)
            for number in (1, 2):
                check.rows.append(service.request(f"{what}: request {number}", client, there))
            server.note_sockets()
            client.note_sockets()
            check.rows += path_rows(what, (shared.flow, opened.flow), check.wish)
            check.rows += _ends(what, opened, shared)
            client.do("forget", TOKEN)


def derptun(check: Check) -> None:
    """A tunnel served at each end, used from the other, its server and its client restarted."""
    for server, client in check.turns():
        what = f"{server.name} serves"
        check.say(what)
        with _Service(check) as service:
            _Tunnel(check, what, server, client, service).run()


class _Tunnel:
    """A tunnel of derptun from one end to the other."""

    def __init__(
        self, check: Check, what: str, server: End, client: End, service: "_Service"
    ) -> None:
        self._check, self._what = check, what
        self._server, self._client, self._service = server, client, service
        self._target = 0
        self._port = 0

    def run(self) -> None:
        self._target = self._server.service_port(self._service.port)
        self._make_tokens()
        serve = self._serve("serve")
        opened = self._open("open")
        _await_direct(serve, opened)
        self._check.rows += path_rows(self._what, (serve.flow, opened.flow), self._check.wish)
        self._speak_by_stdio()
        self._row(self._service.request(f"{self._what}: bytes", self._client, self._port))
        serve = self._restart_server(serve)
        for number in range(RESTARTS):
            opened = self._restart_client(opened, number)
        self._server.note_sockets()
        self._client.note_sockets()
        self._check.rows += _ends(self._what, opened, serve)
        self._server.do("forget", SERVER, CLIENT, SECOND)
        self._client.do("forget", CLIENT, SECOND)

    def _row(self, row: Row) -> None:
        self._check.rows.append(row)

    def _make_tokens(self) -> None:
        where = self._server.path(SERVER)
        words = ["derptun", "token", "server", *self._check.wish.relay_options, "--output", where]
        self._server.do("start", "token", *words)
        for name in (CLIENT, SECOND):
            words = ["derptun", "token", "client", "--token-file", where, "--name", name[:6]]
            text = self._server.do("start", "token", *words)
            self._client.do("put", name, stdin=text.encode())

    def _serve(self, name: str) -> Program:
        words = ["derptun", "serve", "--json", "--token-file", self._server.path(SERVER)]
        serve = self._server.start(name, *words, "--tcp", f"127.0.0.1:{self._target}")
        serve.await_event('"event": "serving"', "begun to serve")
        return serve

    def _open(self, name: str) -> Program:
        words = ["derptun", "open", "--json", "--token-file", self._client.path(CLIENT)]
        opened = self._client.start(name, *words, "--listen", f"127.0.0.1:{self._port}")
        port = int(opened.await_event(LISTENING, "opened a port"))
        if self._port not in (0, port):
            raise Trouble(f"{opened.who} was told port {self._port} and took {port}")
        self._port = port
        return opened

    def _speak_by_stdio(self) -> None:
        words = ["derptun", "connect", "--stdio", "--token-file", self._client.path(SECOND)]
        with self._client.spoken("connect", *words) as wire:
            times = ping(wire, PINGS, PING_S)
        took = f", {1000 * median(times):.1f} ms each" if times else ""
        self._row(
            Row(
                f"{self._what}: lines by connect --stdio",
                f"{len(times)} came back{took}",
                f"{PINGS}",
                len(times) == PINGS,
            )
        )

    def _restart_server(self, serve: Program) -> Program:
        """End the server while a connection is in use, and start it again with its token."""
        with self._client.dial(self._port) as held:
            before = len(ping(held, PINGS // 2, PING_S))
            code = serve.end()
            broken = ping(held, 1, PING_S)
        what = f"{self._what}: the server ended in the middle of a tunnel"
        seen = f"after {before} lines, exit code {code}, the connection {_fate(broken)}"
        is_ok = before == PINGS // 2 and code == ENDED_OK and not broken
        self._row(Row(what, seen, "0, it ends", is_ok))
        began = time.monotonic()
        again = self._serve("serve-again")
        self._row(self._back(f"{self._what}: server started again, bytes after", began))
        self._row(self._service.request(f"{self._what}: bytes after", self._client, self._port))
        return again

    def _restart_client(self, opened: Program, number: int) -> Program:
        opened.end("KILL")
        began = time.monotonic()
        again = self._open(f"open-again-{number + 1}")
        what = f"{self._what}: client killed and started again, bytes after"
        self._row(self._back(what, began))
        return again

    def _back(self, what: str, began: float) -> Row:
        """Try until a line comes back."""
        is_back = False
        while not is_back and time.monotonic() < began + RETURN_LIMIT_S:
            try:
                with self._client.dial(self._port) as wire:
                    is_back = bool(ping(wire, 1, TRY_S))
            except OSError:
                pass
            if not is_back:
                time.sleep(POLL_S)  # nobody tells when somebody listens again
        took_s = time.monotonic() - began
        seen = seconds_text(took_s if is_back else None)
        return Row(what, seen, f"{RETURN_LIMIT_S:g} s", is_back)


class _Service:
    """The service of a check, and requests to it that must come back as they went."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._echo = Echo()
        self._digest = ""

    def __enter__(self) -> "_Service":
        return self

    def __exit__(self, *_: object) -> None:
        self._echo.close()
        self._check.near.do("forget", PAYLOAD)

    @property
    def port(self) -> int:
        """Where it listens, here."""
        return self._echo.port

    def request(self, what: str, client: End, port: int) -> Row:
        """Send the payload by a port of an end, and compare what came there and back."""
        near, size = self._check.near, self._check.wish.size
        if not self._digest:
            self._digest = near.do("payload", PAYLOAD, size).split()[1]
        before = len(self._echo.came)
        try:
            with client.dial(port) as wire:
                chunks = chunks_of(Path(near.path(PAYLOAD)))
                back = exchange(wire, chunks, self._check.wish.limit_s)
        except (OSError, Trouble) as error:
            return Row(what, str(error), "exact", is_ok=False)
        # What another connection had may be told only now.
        has_come = (size, self._digest) in self._echo.came[before:]
        is_exact = has_come and (back.size, back.digest) == (size, self._digest)
        same = "the same SHA-256 both ways"
        if not is_exact:
            same = "another SHA-256 " + ("on the way back" if has_come else "when it had come")
        rate = rate_text(2 * size, back.seconds)
        return Row(what, f"{back.size} of {size} came back, {same}, {rate}", "exact", is_exact)


def _await_direct(*programs: Program) -> None:
    """Wait until all take a direct path; who does not is told by its row."""
    deadline = time.monotonic() + DIRECT_LIMIT_S
    for program in programs:
        program.has_told(DIRECT_EVENT, max(0.0, deadline - time.monotonic()))


def _ends(what: str, *programs: Program) -> list[Row]:
    """End programs that run until they are told to."""
    codes = [program.end() for program in programs]
    told = ", ".join(
        f"{program.name} {'still runs' if code is None else code}"
        for program, code in zip(programs, codes, strict=True)
    )
    return [Row(f"{what}: exit codes", told, "0", codes == [ENDED_OK] * len(codes))]


def _fate(lines: list[float]) -> str:
    return "went on" if lines else "ended"


MODES: dict[str, Callable[[Check], None]] = {
    "smoke": smoke,
    "relay": relay,
    "share": share,
    "derptun": derptun,
    "promotion": promotion,
}
SIZES = {"smoke": "1M", "relay": "1M", "share": "1M", "derptun": "1M", "promotion": "1G"}
