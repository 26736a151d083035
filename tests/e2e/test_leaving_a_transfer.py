"""Who leaves a transfer, at whatever stage, is named on the other side at once; both exit codes hold.

stage       the sender                      the receiver
unclaimed   has printed its code            -
unsent      -                               has printed its token
asked       waits for an answer             its person is asked
typed       reads what a person types       waits for more
flowing     sends a file                    writes it
tree        sends a folder                  writes it
resumed     compares and sends the rest     reads what it held, and writes
unread      has sent a piece of it          nobody reads its standard output
"""

import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from desk import Desk, token_of
from sending import make_tree, names, part_size, receive, send
from support.processes import Process, await_true, record_figure

pytestmark = pytest.mark.e2e

LARGE = 48 << 20
LIMIT_S = 1.0
SLACK = 3
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}

Both = tuple[Process | None, Process | None]


class Scene:
    """Brings a pair to a stage.

    Args:
        desk: starts processes.
        here: where what is sent is made.
        there: what is received into.
        stack: closes what was opened.
    """

    def __init__(self, desk: Desk, here: Path, there: Path, stack: ExitStack) -> None:
        self.desk = desk
        self.here = here
        self.there = there
        self._stack = stack

    def large(self) -> Path:
        path = self.here / "large.bin"
        path.write_bytes(os.urandom(LARGE))
        return path

    def unclaimed(self) -> Both:
        sender = send(self.desk, self.large())
        token_of(sender)
        return sender, None

    def unsent(self) -> Both:
        receiver = self.desk.derphole("receive", "receive", "--relay", self.desk.relay_url)
        token_of(receiver)
        return None, receiver

    def asked(self) -> Both:
        (self.there / "large.bin").write_bytes(b"precious")
        keyboard, stdin = pty.openpty()
        self._stack.callback(os.close, keyboard)
        self._stack.callback(os.close, stdin)
        sender = send(self.desk, self.large())
        receiver = receive(self.desk, sender, "-o", self.there, stdin=stdin, on_terminal=True)
        receiver.await_line(r"replace it\? \[y/N\]")
        sender.await_line("^waiting for the other side to decide")
        return sender, receiver

    def typed(self) -> Both:
        sender = send(self.desk, "-", stdin=subprocess.PIPE)
        receiver = receive(self.desk, sender, "-o", "-")
        sender.feed(b"the first line\n")
        receiver.await_output(15)
        return sender, receiver

    def flowing(self) -> Both:
        sender = send(self.desk, "--force-relay", self.large())
        receiver = receive(self.desk, sender, "-o", self.there)
        await_true(lambda: part_size(self.there) > 1 << 20, "bytes flow")
        return sender, receiver

    def tree(self) -> Both:
        tree = make_tree(self.here / "tree")
        (tree / "large.bin").write_bytes(os.urandom(LARGE))
        sender = send(self.desk, "--force-relay", tree)
        receiver = receive(self.desk, sender, "-o", self.there)
        await_true(lambda: part_size(self.there / "tree") > 1 << 20, "bytes flow")
        return sender, receiver

    def resumed(self) -> Both:
        sender, receiver = self.flowing()
        assert sender is not None
        assert receiver is not None
        receiver.send_signal(signal.SIGKILL)
        receiver.wait()
        again = receive(self.desk, sender, "-o", self.there, name="again")
        again.await_line("^going on where it stopped")
        return sender, again

    def unread(self) -> Both:
        read_end, write_end = os.pipe()
        self._stack.callback(os.close, read_end)
        sender = send(self.desk, self.large())
        receiver = receive(self.desk, sender, "-o", "-", stdout=write_end)
        os.close(write_end)
        receiver.await_line("^receiving")
        return sender, receiver


@pytest.fixture
def scene(desk: Desk, tmp_path: Path, there: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(desk, tmp_path, there, stack)


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("leaver", ["send", "receive"])
@pytest.mark.parametrize(
    "stage", [Scene.asked, Scene.typed, Scene.flowing, Scene.tree, Scene.resumed, Scene.unread]
)
def test_who_leaves_is_told_to_the_other_side(
    scene: Scene, stage: Callable[[Scene], Both], leaver: str, number: signal.Signals
):
    sender, receiver = stage(scene)
    assert sender is not None
    assert receiver is not None
    leaves, stays = (sender, receiver) if leaver == "send" else (receiver, sender)

    leaves.send_signal(number)
    left_at = time.monotonic()

    stays.ends_with(1, f"interrupted by {number.name}")
    took_s = time.monotonic() - left_at
    leaves.ends_with(CODES[number])
    record_figure(
        f"{leaver} leaves with {number.name}, {stage.__name__}: the other side has ended",
        f"{took_s:.2f} s",
        f"{LIMIT_S:g} s",
    )
    assert took_s < SLACK * LIMIT_S
    assert (scene.there / "large.bin").exists() == (stage is Scene.asked)


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("stage", [Scene.unclaimed, Scene.unsent])
def test_who_waits_for_nobody_ends_at_once(
    scene: Scene, stage: Callable[[Scene], Both], number: signal.Signals
):
    (alone,) = (process for process in stage(scene) if process is not None)

    alone.send_signal(number)
    left_at = time.monotonic()

    alone.ends_with(CODES[number])
    assert time.monotonic() - left_at < SLACK * LIMIT_S


def test_what_was_left_is_told_and_forgotten(scene: Scene):
    sender, receiver = scene.flowing()
    assert sender is not None
    assert receiver is not None
    sender.send_signal(signal.SIGINT)

    receiver.ends_with(1, "^incomplete: ", "^what came is kept")

    sender.ends_with(130)
    scene.desk.derphole("forget", "receive", "--forget").ends_with(0, r"^forgot large\.bin in ")
    assert names(scene.there) == []


def test_a_code_stays_good_when_a_receiver_leaves_before_its_sender_has_answered(scene: Scene):
    sender, _ = scene.unclaimed()
    assert sender is not None
    sender.send_signal(signal.SIGSTOP)
    receiver = receive(scene.desk, sender, "-o", scene.there)
    receiver.await_line("waiting|reaching|relay", 20.0)
    receiver.send_signal(signal.SIGINT)
    receiver.ends_with(130)
    sender.send_signal(signal.SIGCONT)

    receive(scene.desk, sender, "-o", scene.there, name="again").ends_with(0)

    sender.ends_with(0)
