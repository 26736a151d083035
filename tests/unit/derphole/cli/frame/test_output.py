"""Output: which level shows what, JSON events, escaping, and streams that misbehave."""

import contextlib
import errno
import io
import json
import os
import threading
import time

import pytest

from derphole.cli.frame import writer as writer_module
from derphole.cli.frame.descriptors import write_all
from derphole.cli.frame.output import Output, escaped
from derphole.cli.frame.writer import MAX_WAITING_LINES, Bar, LineWriter
from derphole.errors import Interrupted, PeerAborted, SinkClosed, SinkFailed, UsageError
from derphole.status import (
    Caution,
    Instruction,
    Level,
    Listening,
    Notice,
    PathTaken,
    State,
    StateChanged,
    TokenIssued,
    Waiting,
)
from derphole.transfer_status import Direction, Progress, Receipt, Traffic
from tunnel.units import WallTime

VITAL = [TokenIssued("dhp1_x", WallTime(1000.0)), Instruction("run it"), Listening("127.0.0.1:1")]
USUAL = [Notice("note"), Waiting("a claim", 2.0, None), Caution("careful")]
DETAILED = [StateChanged(State.CLAIMED), PathTaken("fra", False)]


def shown(statuses, **settings):
    """Report statuses and return what went to standard error."""
    stream = io.StringIO()
    output = Output(None, stream, lambda: 12.3456, **settings)
    for status in statuses:
        output.report(status)
    output.debug("detail=1")
    output.close()
    return stream.getvalue().splitlines()


def test_quiet_leaves_what_people_need_to_go_on():
    lines = shown(VITAL + USUAL + DETAILED, level=Level.QUIET)

    assert lines == ["dhp1_x", "run it", "listening on 127.0.0.1:1"]


def test_the_usual_level_adds_notices_and_warnings():
    lines = shown(VITAL + USUAL + DETAILED)

    assert lines[3:] == ["note", "waiting for a claim (2 s)", "warning: careful"]


def test_verbose_adds_states_and_debug_lines():
    lines = shown(USUAL + DETAILED, level=Level.VERBOSE)

    assert lines[3:] == ["claimed", "path=relay via=fra", "detail=1"]


def test_only_verbose_shows_the_details_of_a_status():
    receipt = Receipt(Direction.SENT, 1, 1.0, "relay fra", None, "ab12", Traffic(0, 9, 0, 0))

    assert shown([receipt]) == [receipt.sentence]
    assert shown([receipt], level=Level.VERBOSE)[:2] == [receipt.sentence, receipt.details]
    assert len(shown([receipt], level=Level.VERBOSE, is_json=True)) == 2  # with the debug line


def test_json_is_one_event_a_line_with_the_time():
    lines = shown([*DETAILED, Progress(1, None)], is_json=True)

    assert [json.loads(line)["event"] for line in lines] == ["state", "path", "progress"]
    assert json.loads(lines[0]) == {"event": "state", "time": 12.346, "state": "claimed"}


def test_json_and_quiet_leaves_the_token():
    lines = shown(VITAL + USUAL + DETAILED, level=Level.QUIET, is_json=True)

    assert [json.loads(line)["event"] for line in lines] == ["token", "instruction", "listening"]


def test_an_error_is_its_sentence_and_its_hint():
    stream = io.StringIO()
    output = Output(None, stream, lambda: 0.0, level=Level.QUIET)
    output.error(UsageError("unknown command: x", hint="Run 'derphole --help' for usage"))
    output.close()

    assert stream.getvalue() == "unknown command: x\nRun 'derphole --help' for usage\n"


def test_an_error_event_has_code_sentence_and_exit_code():
    stream = io.StringIO()
    output = Output(None, stream, lambda: 1.0, is_json=True)
    output.error(Interrupted(15, "SIGTERM"))
    output.usage_after_error("never shown to programs")
    output.close()

    assert json.loads(stream.getvalue()) == {
        "event": "error",
        "time": 1.0,
        "code": "interrupted",
        "message": "interrupted by SIGTERM",
        "exit_code": 143,
    }


def test_text_of_the_other_side_cannot_reach_the_terminal():
    stream = io.StringIO()
    output = Output(None, stream, lambda: 0.0)
    output.error(PeerAborted("\x1b[2Jgone\r\nfake line\u202e\x9b31m\udc80"))
    output.close()

    assert stream.getvalue() == (
        "the other side stopped: \\x1b[2Jgone\\r\\nfake line\\u202e\\x9b31m\\udc80; "
        "see its messages\n"
    )


@pytest.mark.parametrize("text", ["plain", "Grüße, 世界 🎉", "tab is\\t spelled"])
def test_letters_of_any_script_stay(text):
    assert escaped(text) == text


def test_payload_goes_to_standard_output_alone():
    stdout, stderr = io.StringIO(), io.StringIO()
    output = Output(stdout, stderr, lambda: 0.0)
    output.payload_line("v1")
    output.close()

    assert (stdout.getvalue(), stderr.getvalue()) == ("v1\n", "")


def test_a_closed_standard_output_is_told():
    class Broken(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    with pytest.raises(SinkClosed):
        Output(None, None, lambda: 0.0).payload_line("v1")
    with pytest.raises(SinkClosed):
        Output(Broken(), None, lambda: 0.0).payload_line("v1")


def test_a_full_disk_behind_standard_output_is_told():
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SinkFailed, match="No space left on device"):
        Output(Full(), None, lambda: 0.0).payload_line("v1")


def test_a_standard_error_that_broke_swallows_the_rest():
    class Broken(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    lines = LineWriter(Broken())
    lines.write("one")
    lines.write("two")
    lines.close(5.0)


class Stalled(io.StringIO):
    """A stream whose reader sleeps until it is woken."""

    def __init__(self):
        super().__init__()
        self.woken = threading.Event()
        self.reached = threading.Event()

    def flush(self):
        self.reached.set()
        self.woken.wait(10)


def test_a_stalled_standard_error_blocks_nobody_and_loses_no_vital_line():
    stream = Stalled()
    lines = LineWriter(stream)
    lines.write("first")
    assert stream.reached.wait(5)

    for number in range(MAX_WAITING_LINES + 5):
        lines.write(f"line {number}")
    lines.write("token", is_vital=True)
    stream.woken.set()
    lines.close(5.0)

    written = stream.getvalue().splitlines()
    assert len(written) == 1 + MAX_WAITING_LINES + 2
    assert written[-2:] == ["(5 lines dropped: standard error was not read)", "token"]


def test_the_end_does_not_wait_for_a_stalled_standard_error():
    stream = Stalled()
    lines = LineWriter(stream)
    lines.write("first")
    assert stream.reached.wait(5)

    lines.close(0.01)
    stream.woken.set()


def test_where_no_thread_is_to_be_had_lines_are_written_all_the_same(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    stream = io.StringIO()
    lines = LineWriter(stream)

    lines.write("first")
    lines.write("second", is_vital=True)
    lines.close(1.0)

    assert stream.getvalue() == "first\nsecond\n"


def test_a_missing_standard_error_swallows_everything():
    output = Output(None, None, lambda: 0.0)
    output.report(Notice("nobody reads this"))
    output.close()


# --- the bar ---------------------------------------------------------------------------------


class Screen(io.StringIO):
    """A terminal: what its rows show, the last one included."""

    @property
    def rows(self):
        rows = [[]]
        column = 0
        for letter in self.getvalue():
            if letter == "\n":
                rows.append([])
                column = 0
            elif letter == "\r":
                column = 0
            else:
                row = rows[-1]
                row[column:] = [letter, *row[column + 1 :]]
                column += 1
        return ["".join(row).rstrip() for row in rows]


def bar(text, columns=79):
    return Bar(text, len(text), columns)


def test_a_line_takes_the_place_of_the_bar_which_comes_back_below_it():
    screen = Screen()
    lines = LineWriter(screen)
    lines.draw(bar("50% of very much"))
    lines.write("waiting")
    lines.draw(bar("51%"))
    lines.close(5.0)

    assert screen.rows == ["waiting", ""]
    assert "51%" in screen.getvalue()


def test_a_bar_is_drawn_over_itself_and_gone_at_the_end():
    screen = Screen()
    stages = []
    lines = LineWriter(screen)
    for text in ("a long bar", "short", ""):
        lines.draw(bar(text))
        deadline = time.monotonic() + 5
        while screen.rows != [text]:
            assert time.monotonic() < deadline, screen.rows
        stages.append(screen.rows)
    lines.close(5.0)

    assert stages == [["a long bar"], ["short"], [""]]
    assert screen.rows == [""]


def test_a_narrower_terminal_is_never_written_past_its_end():
    screen = Screen()
    lines = LineWriter(screen)
    lines.draw(bar("x" * 79))
    deadline = time.monotonic() + 5
    while "x" not in screen.getvalue():
        assert time.monotonic() < deadline
    lines.draw(bar("y" * 20, 39))
    lines.close(5.0)

    assert "y" * 20 + " " * 19 in screen.getvalue()
    assert "y" * 20 + " " * 20 not in screen.getvalue()


def test_of_bars_that_nobody_reads_only_the_newest_waits():
    stream = Stalled()
    lines = LineWriter(stream)
    lines.write("first")
    assert stream.reached.wait(5)
    for number in range(MAX_WAITING_LINES * 3):
        lines.draw(bar(f"bar {number}"))
    stream.woken.set()
    lines.close(5.0)

    shown = [part for part in stream.getvalue().split("\r") if part.startswith("bar")]
    assert [part.strip() for part in shown] == [f"bar {MAX_WAITING_LINES * 3 - 1}"]


# --- descriptors of others -------------------------------------------------------------------


@pytest.fixture
def full_pipe():
    """A pipe without room whose writing end somebody made non-blocking."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def emptied(reader, until):
    """Read a pipe until it has said that; return all but what filled it."""
    read = b""
    while until not in read:
        read += os.read(reader, 1 << 16)
    return read.lstrip(b"x")


def test_a_line_waits_for_room_and_so_does_every_later_one(full_pipe):
    reader, writer = full_pipe
    with open(writer, "w", closefd=False) as stream:
        lines = LineWriter(stream)
        lines.write("one")
        lines.write("y" * 200_000)
        lines.write("three")
        read = emptied(reader, b"three\n")
        lines.close(5.0)

    assert read == b"one\n" + b"y" * 200_000 + b"\nthree\n"


def test_without_a_thread_the_wait_for_room_is_bounded(full_pipe, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(writer_module, "ALONE_S", 0.05)
    _, writer = full_pipe
    with open(writer, "w", closefd=False) as stream:
        lines = LineWriter(stream)
        lines.write("never read")  # returns
        lines.close(5.0)


def test_payload_waits_for_room(full_pipe):
    reader, writer = full_pipe
    with open(writer, "w", closefd=False) as stream:
        output = Output(stream, None, lambda: 0.0)
        writing = threading.Thread(target=output.payload_line, args=("y" * 200_000,))
        writing.start()
        read = emptied(reader, b"y\n")
        writing.join(5)

    assert read == b"y" * 200_000 + b"\n"


def test_a_wait_for_room_may_be_bounded(full_pipe):
    _, writer = full_pipe

    with pytest.raises(BlockingIOError):
        write_all(writer, b"never taken", 0.05)


def test_a_reader_that_leaves_ends_the_wait_for_room():
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    leaving = threading.Timer(0.05, os.close, (reader,))
    leaving.start()

    with pytest.raises(BrokenPipeError):
        write_all(writer, b"never taken")
    leaving.join()
    os.close(writer)
