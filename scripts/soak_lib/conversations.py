"""The conversations of a soak: `listen` and `pipe`, or `share` and `open` with TCP connections.

    feed --stdin--> pipe ~~~ the lab ~~~> listen --stdout--> drain
    tcp_peer client <══TCP══> open ~~~ the lab ~~~ share <══TCP══> tcp_peer server

Each starts its programs, tells what came when and what was said, lets everything come to its end,
and says what was wrong with the end.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab import Lab
from lab_transfers import TOKEN_EVENT, Stage
from support.processes import STOP_S, Process

from soak_lib.flows import Drain, Feed
from soak_lib.judge import Flow, Word
from soak_lib.plan import ConnectionKind, Episode, Talk

# Chosen.
PEER = Path(__file__).with_name("tcp_peer.py")
PORT_LINE = r'"port": (\d+)'
LISTENING_LINE = r'"address": "127\.0\.0\.1:(\d+)"'
STRAYS_SHOWN = 4  # a traceback is many lines


def start_conversation(episode: Episode, lab: Lab, stage: Stage, folder: Path) -> "Conversation":
    """Start what an episode's talk is."""
    kind = PipeConversation if episode.talk is Talk.PIPE else ShareConversation
    return kind(episode, lab, stage, folder)


class Conversation:
    """What both kinds have in common.

    Attributes:
        programs: the program under test on each host.
        started_at: when the claimer was started.
    """

    def __init__(self, episode: Episode, lab: Lab, stage: Stage, folder: Path) -> None:
        self.programs: dict[str, Process] = {}
        self.started_at = 0.0
        self._episode = episode
        self._lab = lab
        self._stage = stage
        self._folder = folder
        self._unix_offset_s = time.time() - time.monotonic()

    # -- what was said ------------------------------------------------------------------------

    def words(self) -> dict[str, list[Word]]:
        """Return the events that each host's program told of."""
        return {
            host: [Word(self._at(event), str(event.get("event"))) for event in self._events(host)]
            for host in self.programs
        }

    def directs(self) -> dict[str, list[float]]:
        """Return when each host's program told that its traffic takes a direct path."""
        return {
            host: [self._at(each) for each in self._events(host) if each.get("direct") is True]
            for host in self.programs
        }

    @property
    def is_direct(self) -> bool:
        """Whether both sides told so at last."""
        last = [
            [bool(each["direct"]) for each in self._events(host) if each.get("event") == "path"]
            for host in self.programs
        ]
        return len(last) == 2 and all(paths and paths[-1] for paths in last)

    @property
    def claimed_at(self) -> float:
        """When the claimer said its first word."""
        events = self._events(self._episode.claimer)
        return self._at(events[0]) if events else self.started_at

    def _at(self, event: dict[str, object]) -> float:
        return float(str(event["time"])) - self._unix_offset_s

    def _events(self, host: str) -> list[dict[str, object]]:
        lines = self.programs[host].lines
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _word_troubles(self) -> list[str]:
        """Return a sentence for each program that said something else than it may."""
        strays = [
            (program, line)
            for program in self.programs.values()
            for line in program.lines
            if not line.startswith("{")
        ]
        relay = self._stage.relay
        strays += [(relay, line) for line in relay.lines if line.startswith("Traceback")]
        return [f"{program.name} said: {line}" for program, line in strays[:STRAYS_SHOWN]]

    # -- how it goes --------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether any program has ended."""
        return not all(program.is_running for program in self.programs.values())

    def flows(self) -> list[Flow]:
        """Return what came of each connection, each way, so far."""
        raise NotImplementedError

    def release(self) -> None:
        """Let everything come to its end."""
        raise NotImplementedError

    def finish(self, limit_s: float) -> list[str]:
        """Wait for the end; returns what was wrong with it."""
        raise NotImplementedError

    def close(self) -> None:
        """End the threads; the programs have ended."""

    @property
    def story(self) -> str:
        """What everybody said."""
        return "\n".join(program.story for program in self.programs.values())

    def _command(self, name: str) -> list[object]:
        options: list[object] = [name, "--json", "--trace", self._folder / f"{name}.trace"]
        return [*options, "--force-relay"] if self._episode.is_relayed else options


class PipeConversation(Conversation):
    """`listen` and `pipe`."""

    def __init__(self, episode: Episode, lab: Lab, stage: Stage, folder: Path) -> None:
        super().__init__(episode, lab, stage, folder)
        self._feed = Feed(episode.size, episode.write_pace)
        self._drain = Drain(episode.read_pace)
        self._ended_at: float | None = None
        if episode.is_brief:
            self._feed.release()
        issuer, claimer = episode.issuer, episode.claimer
        command = [*self._command("listen"), "--relay", stage.url]
        listen = stage.run("listen", lab.host(issuer), *command, stdout=self._drain.writer)
        self._drain.start()
        self.programs[issuer] = listen
        token = listen.await_line(TOKEN_EVENT).group(1)
        self.started_at = time.monotonic()
        command = [*self._command("pipe"), token]
        self.programs[claimer] = stage.run(
            "pipe", lab.host(claimer), *command, stdin=self._feed.reader
        )
        self._feed.start()

    def flows(self) -> list[Flow]:
        """Return the one flow; its last arrival is the end of both programs."""
        ended = [self._ended_at] if self._ended_at is not None else []
        arrivals, is_slow = [*self._drain.arrivals, *ended], self._episode.read_pace > 0
        return [Flow("pipe", self._episode.issuer, arrivals, is_slow)]

    def release(self) -> None:
        """Let the input end."""
        self._feed.release()

    def finish(self, limit_s: float) -> list[str]:
        """Wait for both programs, and compare the digests."""
        codes = {program.name: program.wait(limit_s) for program in self.programs.values()}
        self._ended_at = time.monotonic()
        troubles = [f"{name} ended with {code}" for name, code in codes.items() if code]
        if self._feed.digest() is None or self._feed.digest() != self._drain.digest():
            troubles.append(f"the bytes differ; {self._drain.size} came")
        return troubles + self._word_troubles()

    def close(self) -> None:
        """End the threads; the programs have ended."""
        self._feed.close()


class ShareConversation(Conversation):
    """`share` and `open`, and what goes through them."""

    def __init__(self, episode: Episode, lab: Lab, stage: Stage, folder: Path) -> None:
        super().__init__(episode, lab, stage, folder)
        issuer, claimer = episode.issuer, episode.claimer
        python: list[object] = [sys.executable, "-I", "-u", PEER]
        pipe = subprocess.PIPE
        self._server = stage.start("server", lab.host(issuer), [*python, "server"], pipe)
        port = self._wait_peer_line(self._server)
        command = [*self._command("share"), "--relay", stage.url, port]
        share = self.programs[issuer] = stage.run("share", lab.host(issuer), *command)
        token = share.await_line(TOKEN_EVENT).group(1)
        self.started_at = time.monotonic()
        command = [*self._command("open"), token]
        opened = self.programs[claimer] = stage.run("open", lab.host(claimer), *command)
        bound = opened.await_line(LISTENING_LINE).group(1)
        client = [*python, "client", bound, *episode.connections]
        self._client = stage.start("client", lab.host(claimer), client, pipe)

    def flows(self) -> list[Flow]:
        """Return the flows that never rest."""
        flows = []
        for number, kind in enumerate(self._episode.connections):
            if kind is ConnectionKind.IDLE:
                continue
            if kind is not ConnectionKind.DOWNLOAD:
                came = _arrivals(self._server, number)
                flows.append(Flow(f"{kind} {number} to the server", self._episode.issuer, came))
            if kind is not ConnectionKind.UPLOAD:
                came = _arrivals(self._client, number)
                flows.append(Flow(f"{kind} {number} to the client", self._episode.claimer, came))
        return flows

    def release(self) -> None:
        """Let every connection come to its end."""
        self._client.end_input()
        self._server.end_input()

    def finish(self, limit_s: float) -> list[str]:
        """Wait for the client, compare what was sent and received, and end the commands."""
        troubles = [f"the client ended with {code}"] if (code := self._client.wait(limit_s)) else []
        deadline = time.monotonic() + STOP_S
        count = len(self._episode.connections)
        while len(_endings(self._server)) < count and time.monotonic() < deadline:
            time.sleep(0.02)  # the server tells its end of a connection a moment later
        troubles += _differences(self._episode.connections, self._client, self._server)
        # The claimer first: one whose share ends before it ends with 1.
        for host in (self._episode.claimer, self._episode.issuer):
            program = self.programs[host]
            program.stop()
            if code := program.wait(STOP_S):
                troubles.append(f"{program.name} ended with {code}")
        return troubles + self._word_troubles()

    @staticmethod
    def _wait_peer_line(peer: Process) -> int:
        """Return the port that the server printed."""
        size = 1
        while b"\n" not in (output := peer.await_output(size)):
            size = len(output) + 1
        return int(json.loads(output.splitlines()[0])["port"])


def _lines(peer: Process) -> list[dict[str, object]]:
    """Return what a peer has printed in whole lines."""
    whole, _, _ = peer.stdout.rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]


def _arrivals(peer: Process, number: int) -> list[float]:
    found: list[float] = []
    for line in _lines(peer):
        if line.get("came") == number:
            found += line["at"]  # type: ignore[arg-type]
    return found


def _endings(peer: Process) -> dict[int, dict[str, object]]:
    return {int(str(line["over"])): line for line in _lines(peer) if "over" in line}


def _differences(kinds: Sequence[ConnectionKind], client: Process, server: Process) -> list[str]:
    """Return a sentence for each connection that did not carry what was sent."""
    ours, theirs = _endings(client), _endings(server)
    troubles = []
    for number, kind in enumerate(kinds):
        one, other = ours.get(number), theirs.get(number)
        if one is None or other is None:
            where = "client" if one is None else "server"
            troubles.append(f"{kind} {number} has no end at the {where}")
            continue
        troubles += [f"{kind} {number}: {end['error']}" for end in (one, other) if end["error"]]
        if one["sent"] != other["received"] or one["received"] != other["sent"]:
            troubles.append(f"{kind} {number}: the bytes differ")
    return troubles
