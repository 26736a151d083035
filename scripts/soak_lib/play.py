"""Plays one episode: a lab, a conversation, the faults at their instants, the end, the verdict."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab import Lab
from lab_transfers import Stage
from support.processes import await_true
from topology import Topology
from wires import Impairment

from soak_lib.conversations import Conversation, start_conversation
from soak_lib.faults import FaultMaker
from soak_lib.flows import Lateness
from soak_lib.judge import Seen, Verdict, judge
from soak_lib.plan import HOSTS, Episode, Fault
from soak_lib.ways import Network

# Chosen.
SETTLED_LIMIT_S = 20.0  # from the start of both commands to bytes on every connection
QUEUE_MS = 100
# Long enough to see how long a stall is that the link itself would end after 60 s.
MOVES_AGAIN_LIMIT_S = 90.0
WATCH_S = 1.0  # after the first byte that follows the last heal: what comes is no accident
END_LIMIT_S = 90.0


def play(episode: Episode, keep: Path) -> Verdict:
    """Play an episode; what its programs said and traced stays in `keep` if it fails."""
    with tempfile.TemporaryDirectory(prefix="derphole-soak-") as name:
        folder = Path(name)
        player = Player(episode, folder)
        verdict = player.play()
        if verdict.violations:
            keep.mkdir(parents=True, exist_ok=True)
            for trace in folder.glob("*.trace"):
                (keep / trace.name).write_bytes(trace.read_bytes())
            told = [str(episode), *verdict.violations, *player.diary, player.story]
            (keep / "story.txt").write_text("\n".join(told) + "\n")
    return verdict


class Player:
    """One episode in the making.

    Attributes:
        diary: when every fault was made and healed.
        story: what everybody said.
    """

    def __init__(self, episode: Episode, folder: Path) -> None:
        self.diary: list[str] = []
        self.story = ""
        self._episode = episode
        self._folder = folder
        self._troubles: list[str] = []

    def play(self) -> Verdict:
        """Return what came of it."""
        nat_a, nat_b = self._episode.nats
        lateness = Lateness()
        try:
            with Lab(Topology(nat_a=nat_a, nat_b=nat_b)) as lab:
                stage = Stage(lab, self._folder)
                try:
                    rate = f"{self._episode.rate_mbit}mbit"
                    lab.wire("a").impair(Impairment(rate=rate, queue_ms=QUEUE_MS))
                    stage.start_relay()
                    seen = self._converse(lab, stage)
                finally:
                    stage.close()
        finally:
            lateness.close()
        self.diary.append(f"this machine was {lateness.worst_s:.3f} s late at the worst")
        return judge(self._episode, Seen(*seen, self._troubles, lateness.worst_s))

    def _converse(self, lab: Lab, stage: Stage) -> tuple[Network, list, dict]:
        conversation = start_conversation(self._episode, lab, stage, self._folder)
        maker = FaultMaker(lab, stage, conversation.programs)
        try:
            if not self._episode.is_brief:
                self._await("bytes come", lambda: self._is_settled(conversation), SETTLED_LIMIT_S)
            self._make_faults(conversation, maker)
            if not self._episode.is_brief:
                self._await_bytes_again(conversation)
            released_at = time.monotonic()
            conversation.release()
            self._finish(conversation)
            ended_at = time.monotonic()
        finally:
            maker.heal_all()
            self.story = conversation.story
            for program in conversation.programs.values():
                program.stop()
            conversation.close()
        applied = maker.applied()
        began = min((each.began for each in applied), default=ended_at)
        self._write_diary(conversation, applied)
        network = Network(
            applied,
            max(began, conversation.claimed_at),
            ended_at if self._episode.is_brief else released_at,
            self._episode.can_be_direct,
            conversation.directs(),
        )
        return network, conversation.flows(), conversation.words()

    def _make_faults(self, conversation: Conversation, maker: FaultMaker) -> None:
        """Make and heal each fault at its instant; none begins once the conversation is over."""
        zero = conversation.started_at if self._episode.is_brief else time.monotonic()
        steps: list[tuple[float, bool, Fault]] = []
        for fault in self._episode.faults:
            steps += [(fault.at_s, True, fault), (fault.until_s, False, fault)]
        for at_s, is_beginning, fault in sorted(steps, key=lambda step: (step[0], not step[1])):
            while (left_s := zero + at_s - time.monotonic()) > 0 and not conversation.is_over:
                time.sleep(min(left_s, 0.1))  # an instant has nothing to await
            if is_beginning and not conversation.is_over:
                maker.begin(fault)
            elif not is_beginning:
                maker.heal(fault)
        maker.heal_all()

    def _is_settled(self, conversation: Conversation) -> bool:
        has_bytes = all(flow.arrivals for flow in conversation.flows())
        return has_bytes and (conversation.is_direct or not self._episode.can_be_direct)

    def _await_bytes_again(self, conversation: Conversation) -> None:
        healed_at = time.monotonic()

        def came() -> bool:
            return all(
                flow.arrivals and flow.arrivals[-1] > healed_at for flow in conversation.flows()
            )

        self._await("bytes come after the last heal", came, MOVES_AGAIN_LIMIT_S)
        over_at = time.monotonic() + WATCH_S
        while time.monotonic() < over_at and not conversation.is_over:
            time.sleep(0.05)

    def _await(self, what: str, condition: Callable[[], bool], limit_s: float) -> None:
        """Wait for something, and note it if it did not come."""
        try:
            await_true(condition, what, limit_s)
        except AssertionError as error:
            self._troubles.append(str(error))

    def _finish(self, conversation: Conversation) -> None:
        try:
            self._troubles += conversation.finish(END_LIMIT_S)
        except AssertionError as error:
            self._troubles.append(str(error).splitlines()[0])

    def _write_diary(self, conversation: Conversation, applied: list) -> None:
        zero = conversation.started_at
        for each in applied:
            times = f"{each.began - zero:.2f} to {each.healed - zero:.2f} s"
            self.diary.append(f"{times} after the claimer's start: {each.fault.kind}")
        for host in HOSTS:
            for word in conversation.words()[host]:
                self.diary.append(f"{word.at - zero:8.2f} s {host}: {word.name}")
        for flow in conversation.flows():
            quiet = [
                f"{one - zero:.2f} to {other - zero:.2f} s"
                for one, other in zip(flow.arrivals, flow.arrivals[1:], strict=False)
                if other - one > 1.0
            ]
            self.diary.append(f"{flow.name}: nothing came from {', '.join(quiet) or 'never'}")
