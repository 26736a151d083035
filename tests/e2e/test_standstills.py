"""A transfer that stands still says so on both sides, with what it waits for, and that it goes on."""

import os
import signal
import threading
from pathlib import Path

import pytest
from desk import Desk
from sending import part_size, receive, send
from support.processes import await_true

pytestmark = [pytest.mark.e2e, pytest.mark.alongside("waits"), pytest.mark.timeout(120)]

LARGE = 24 << 20


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(LARGE))
    return path


def test_an_output_that_nobody_reads_is_named_on_both_sides(desk: Desk, large: Path):
    read_end, write_end = os.pipe()
    sender = send(desk, "--force-relay", large)
    receiver = receive(desk, sender, "-o", "-", stdout=write_end)
    os.close(write_end)

    receiver.await_line(
        "^nothing has moved for [56] s: waiting for this machine to write what came"
    )
    sender.await_line("^nothing has moved for [56] s: waiting for the other machine to write it")

    came = bytearray()

    def read() -> None:
        while data := os.read(read_end, 1 << 20):
            came.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    receiver.ends_with(0)
    sender.ends_with(0)
    reader.join()
    os.close(read_end)
    assert bytes(came) == large.read_bytes()


def test_another_side_that_is_silent_is_named(desk: Desk, large: Path, there: Path):
    sender = send(desk, "--force-relay", large)
    receiver = receive(desk, sender, "-o", there)
    await_true(lambda: part_size(there) > 1 << 20, "bytes flow")
    receiver.send_signal(signal.SIGSTOP)

    sender.await_line("^no answer from the other side for [5-9] s; giving up after 60 s$")

    receiver.send_signal(signal.SIGCONT)
    sender.ends_with(0)
    receiver.ends_with(0)
    assert not any("nothing has moved" in line for line in sender.lines)
    assert (there / "large.bin").read_bytes() == large.read_bytes()


def test_a_stream_that_waits_for_its_person_is_no_standstill(desk: Desk):
    read_end, write_end = os.pipe()
    sender = send(desk, "-", stdin=read_end)
    os.close(read_end)
    receiver = receive(desk, sender, "-o", "-")
    os.write(write_end, b"the first line\n")
    receiver.await_output(15)
    quiet = threading.Event()
    quiet.wait(8.0)  # longer than either side waits without a word elsewhere
    os.write(write_end, b"the last line\n")
    os.close(write_end)

    receiver.ends_with(0)
    sender.ends_with(0)
    assert not any("nothing has moved" in line for line in sender.lines + receiver.lines)
