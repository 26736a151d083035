"""Standard input and output over every kind of descriptor a shell may hand us."""

import array
import contextlib
import fcntl
import os
import pty
import random
import resource
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import tty

import gevent
import pytest

from derphole.edges.descriptor_thread import DescriptorThread
from derphole.edges.stdio import MAX_READ_BYTES, ByteSink, ByteSource
from derphole.errors import SinkClosed, SinkFailed, SourceFailed, UsageError

MIB = 1 << 20
PATIENCE_S = 10


@pytest.fixture(autouse=True)
def bounded():
    with gevent.Timeout(PATIENCE_S):
        yield


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    inode = os.fstat(reader).st_ino
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            if os.fstat(fd).st_ino == inode:  # else the test closed it, and the number moved on
                os.close(fd)


@pytest.fixture
def file():
    with tempfile.TemporaryFile(buffering=0) as handle:
        yield handle


def patterned(size):
    return random.Random(7).randbytes(size)


def flags(fd):
    return fcntl.fcntl(fd, fcntl.F_GETFL)


def read_all(source):
    parts = []
    while data := source.read():
        parts.append(bytes(data))
    return b"".join(parts)


def in_greenlet(function, *args):
    greenlet = gevent.spawn(function, *args)
    gevent.idle()
    gevent.sleep(0)
    return greenlet


def turn_hub(turns=20):
    """Let the hub run; a frozen one would never come back here."""
    for _ in range(turns):
        gevent.sleep(0.001)


# --- reading ---


def test_a_file_is_read_whole_and_its_end_is_an_empty_read(file):
    content = patterned(5 * MIB + 3)
    file.write(content)
    file.seek(0)
    source = ByteSource(file.fileno())

    assert read_all(source) == content
    assert source.read() == b""


def test_a_file_is_read_from_its_offset_and_the_hint_says_what_is_left(file):
    file.write(b"0123456789")
    file.seek(4)
    source = ByteSource(file.fileno())

    assert source.size_hint() == 6
    assert read_all(source) == b"456789"


def test_an_empty_file_ends_at_once(file):
    source = ByteSource(file.fileno())

    assert source.size_hint() == 0
    assert source.read() == b""


def test_reads_never_exceed_a_mebibyte(file):
    file.write(bytes(3 * MIB))
    file.seek(0)

    assert len(ByteSource(file.fileno()).read()) == MAX_READ_BYTES


def test_a_buffer_that_was_read_stays_as_it_is(file):
    file.write(b"a" * MIB + b"b" * MIB)
    file.seek(0)
    source = ByteSource(file.fileno())

    first = source.read()
    source.read()

    assert bytes(first) == b"a" * MIB


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
def test_an_endless_device_gives_bytes_for_ever(device):
    fd = os.open(device, os.O_RDONLY)
    source = ByteSource(fd)

    assert all(len(source.read()) > 0 for _ in range(8))
    assert source.size_hint() is None
    source.close()
    os.close(fd)


def test_a_late_read_never_touches_what_got_the_number_of_a_closed_descriptor():
    held_up = threading.Event()
    fd = os.open("/dev/zero", os.O_RDONLY)
    thread = DescriptorThread(fd)
    thread.start(held_up.wait)
    late = thread.start(os.read, thread.fd, 4)
    thread.close()
    os.close(fd)
    reader, writer = os.pipe()
    os.write(writer, b"kept")
    assert fd == reader  # the number did move on

    held_up.set()

    assert late.get() == bytes(4)
    assert os.read(reader, 10) == b"kept"
    os.close(reader)
    os.close(writer)


def test_closing_twice_closes_nothing_of_others(file):
    source, sink = ByteSource(file.fileno()), ByteSink(file.fileno())
    for _ in range(2):
        source.close()
        sink.close()
        file.seek(0)
    with tempfile.TemporaryFile() as other:
        source.close()
        sink.close()
        other.write(b"still open")
        other.flush()


def test_dev_null_is_empty():
    fd = os.open("/dev/null", os.O_RDONLY)

    assert ByteSource(fd).read() == b""
    os.close(fd)


def test_a_pipe_gives_what_is_there_without_waiting_for_more(pipe):
    reader, writer = pipe
    os.write(writer, b"hello")
    source = ByteSource(reader)

    assert source.read() == b"hello"
    assert source.size_hint() is None
    assert not source.is_terminal


def test_waiting_for_a_pipe_leaves_the_hub_free(pipe):
    reader, writer = pipe
    waiting = in_greenlet(ByteSource(reader).read)

    turn_hub()
    assert not waiting.ready()
    os.write(writer, b"late")

    assert waiting.get() == b"late"


def test_a_pipe_ends_when_its_writer_is_gone(pipe):
    reader, writer = pipe
    os.write(writer, b"last words")
    os.close(writer)

    assert read_all(ByteSource(reader)) == b"last words"


def test_a_pipe_of_many_mebibytes_arrives_in_order(pipe):
    reader, writer = pipe
    content = patterned(8 * MIB)
    sink, source = ByteSink(writer), ByteSource(reader)

    def write():
        sink.write([content])
        sink.close()
        os.close(writer)

    writing = gevent.spawn(write)

    assert read_all(source) == content
    writing.get()
    assert sink.bytes_written == len(content)


def test_a_reader_that_lost_the_race_for_a_pipe_goes_on_waiting(pipe):
    # The watcher of both readers fires; one of them finds the pipe empty and must not block.
    reader, writer = pipe
    first, second = in_greenlet(ByteSource(reader).read), in_greenlet(ByteSource(reader).read)
    os.write(writer, b"one")
    gevent.wait([first, second], count=1)
    late = second if first.ready() else first

    assert not late.ready()
    os.write(writer, b"two")

    assert {bytes(first.get()), bytes(second.get())} == {b"one", b"two"}


def test_a_reading_greenlet_can_be_killed_and_the_next_read_loses_nothing(pipe):
    reader, writer = pipe
    source = ByteSource(reader)
    reading = in_greenlet(source.read)

    reading.kill()
    os.write(writer, b"kept")

    assert source.read() == b"kept"


def test_a_read_stuck_in_the_kernel_neither_stops_the_hub_nor_loses_bytes_when_killed(pipe):
    # No portable file blocks for long, so a pipe stands in for one: read as epoll's refusals are.
    reader, writer = pipe
    source = ByteSource(reader)
    source._thread = DescriptorThread(reader)
    reading = in_greenlet(source.read)
    turn_hub()
    assert not reading.ready()

    reading.kill()
    os.write(writer, b"kept")

    assert source.read() == b"kept"
    os.close(writer)
    assert source.read() == b""
    source.close()


def test_a_socket_is_read_to_its_end():
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(b"over a socket")
        assert read_all(ByteSource(ours.fileno())) == b"over a socket"


def test_a_terminal_gives_a_line_and_ends_on_control_d():
    master, slave = pty.openpty()
    source = ByteSource(slave)
    os.write(master, b"a line\n")

    assert source.is_terminal
    assert source.read() == b"a line\n"
    os.write(master, b"\x04")
    assert source.read() == b""
    assert source.read() == b""
    os.close(master)
    os.close(slave)


def test_a_descriptor_that_came_non_blocking_is_read_all_the_same(pipe):
    reader, writer = pipe
    os.set_blocking(reader, False)
    reading = in_greenlet(ByteSource(reader).read)
    os.write(writer, b"x")

    assert reading.get() == b"x"


def test_a_directory_is_refused_with_the_way_to_send_it(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)

    with pytest.raises(UsageError, match="tar"):
        ByteSource(fd)
    os.close(fd)


def test_a_closed_descriptor_is_refused_with_a_sentence(pipe):
    reader, writer = pipe
    os.close(reader)
    os.close(writer)

    with pytest.raises(UsageError, match="is closed"):
        ByteSource(reader)
    with pytest.raises(UsageError, match="is closed"):
        ByteSink(writer)


def test_a_write_only_file_as_input_is_an_error_that_says_so(tmp_path):
    fd = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)

    with pytest.raises(SourceFailed, match="other direction"):
        ByteSource(fd).read()
    os.close(fd)


def test_a_reset_socket_is_an_error_and_not_an_end():
    listener = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()

    with pytest.raises(SourceFailed, match="reset"):
        ByteSource(ours.fileno()).read()
    ours.close()
    listener.close()


# --- writing ---


def test_chunks_of_every_buffer_kind_and_size_land_in_order(file):
    content = patterned(9 * MIB + 1)
    view = memoryview(content)
    chunks = [view[: 5 * MIB], bytes(view[5 * MIB : 5 * MIB + 1]), b"", bytearray(0)]
    chunks += [bytearray(view[5 * MIB + 1 : 6 * MIB])]
    chunks += [view[at : at + 1500] for at in range(6 * MIB, len(content), 1500)]
    sink = ByteSink(file.fileno())

    sink.write(chunks)
    sink.flush()

    file.seek(0)
    assert file.read() == content
    assert sink.bytes_written == len(content)


def test_writing_nothing_is_fine(file):
    sink = ByteSink(file.fileno())
    sink.write([])
    sink.write([b""])
    sink.flush()

    assert sink.bytes_written == 0


def test_views_of_wider_items_are_written_as_bytes(file):
    ByteSink(file.fileno()).write([memoryview(array.array("I", [1, 2, 3]))])

    assert os.fstat(file.fileno()).st_size == 12


def test_a_slow_reader_holds_up_its_writer_and_not_the_hub(pipe):
    reader, writer = pipe
    content = patterned(MIB)
    writing = in_greenlet(ByteSink(writer).write, [content])
    turn_hub()
    assert not writing.ready()

    received = bytearray()
    source = ByteSource(reader)
    while len(received) < len(content):
        received += source.read()

    writing.get()
    assert received == content


def test_a_full_disk_is_named_with_the_bytes_that_fitted():
    fd = os.open("/dev/full", os.O_WRONLY)

    with pytest.raises(SinkFailed, match="no space left on device"):
        ByteSink(fd).write([b"x"])
    os.close(fd)


def test_a_disk_that_fills_up_midway_tells_how_much_it_took(tmp_path):
    # A limit on file sizes stands in for the disk: it too stops the kernel in the middle of a write.
    done = run_python(
        f"""
        import os, resource
        from derphole.errors import SinkFailed
        from derphole.edges.stdio import ByteSink
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, {resource.RLIM_INFINITY}))
        fd = os.open({str(tmp_path / "out")!r}, os.O_WRONLY | os.O_CREAT)
        try:
            ByteSink(fd).write([bytes(2_000_000)] * 4)
        except SinkFailed as error:
            print(error)
        """
    )
    assert "after 3000000 bytes: file too large" in done.stdout
    assert done.stderr == ""


def test_a_reader_that_left_is_told_from_a_failure(pipe):
    reader, writer = pipe
    sink = ByteSink(writer)
    sink.write([b"12345"])
    os.close(reader)

    with pytest.raises(SinkClosed) as caught:
        sink.write([b"6"])
    assert caught.value.written == 5


def test_a_reader_that_leaves_while_we_wait_for_it_is_noticed(pipe):
    reader, writer = pipe
    writing = in_greenlet(ByteSink(writer).write, [bytes(MIB)])
    os.close(reader)

    with pytest.raises(SinkClosed):
        writing.get()


def test_a_pipe_that_came_non_blocking_takes_more_than_it_holds(pipe):
    reader, writer = pipe
    os.set_blocking(writer, False)
    content = patterned(2 * MIB)
    sink = ByteSink(writer)

    def write():
        sink.write([content])
        sink.close()
        os.close(writer)

    writing = gevent.spawn(write)

    assert read_all(ByteSource(reader)) == content
    writing.get()


def test_a_read_only_file_as_output_is_an_error_that_says_so():
    fd = os.open("/dev/null", os.O_RDONLY)

    with pytest.raises(SinkFailed, match="other direction"):
        ByteSink(fd).write([b"x"])
    os.close(fd)


def test_a_terminal_takes_output():
    master, slave = pty.openpty()
    tty.setraw(slave)
    sink = ByteSink(slave)

    sink.write([b"to a ", b"person"])
    sink.flush()

    assert sink.is_terminal
    assert os.read(master, 100) == b"to a person"
    os.close(master)
    os.close(slave)


def test_a_killed_writer_does_not_stop_the_hub_or_the_process():
    done = run_python(
        """
        import os, sys, gevent
        from derphole.edges.stdio import ByteSink
        reader, writer = os.pipe()
        sink = ByteSink(writer)
        writing = gevent.spawn(sink.write, [bytes(1 << 20)])
        gevent.sleep(0.02)
        writing.kill()
        sink.close()
        sys.exit(7)
        """
    )
    assert (done.returncode, done.stderr) == (7, "")


# --- noticing that nobody reads any more ---


def test_an_idle_writer_notices_that_its_reader_left(pipe):
    reader, writer = pipe
    waiting = in_greenlet(ByteSink(writer).wait_closed)
    gevent.sleep(0.005)
    assert not waiting.ready()

    os.close(reader)

    waiting.get()


def test_waiting_for_a_reader_to_leave_costs_no_processor_time(pipe):
    # Data that waits in the pipe, and room in it, must wake nobody.
    _, writer = pipe
    os.write(writer, b"unread")
    waiting = in_greenlet(ByteSink(writer).wait_closed)
    before = time.process_time()
    gevent.sleep(0.2)

    assert time.process_time() - before < 0.05
    assert not waiting.ready()
    waiting.kill()


def test_a_socket_that_sends_to_us_has_not_hung_up():
    ours, theirs = socket.socketpair()
    waiting = in_greenlet(ByteSink(ours.fileno()).wait_closed)
    theirs.sendall(b"unread")
    theirs.shutdown(socket.SHUT_WR)
    gevent.sleep(0.01)
    assert not waiting.ready()

    theirs.close()

    waiting.get()
    ours.close()


def test_a_terminal_that_hung_up_is_noticed():
    master, slave = pty.openpty()
    waiting = in_greenlet(ByteSink(slave).wait_closed)
    os.close(master)

    waiting.get()
    os.close(slave)


def test_a_file_never_hangs_up(file):
    waiting = in_greenlet(ByteSink(file.fileno()).wait_closed)
    gevent.sleep(0.01)

    assert not waiting.ready()
    waiting.kill()


# --- what we inherit stays as it was ---


@pytest.mark.parametrize("is_blocking", [True, False])
def test_the_flags_of_an_inherited_pipe_are_never_changed(pipe, is_blocking):
    reader, writer = pipe
    for fd in pipe:
        os.set_blocking(fd, is_blocking)
    before = [flags(fd) for fd in pipe]
    source, sink = ByteSource(reader), ByteSink(writer)
    watching = in_greenlet(sink.wait_closed)

    writing = gevent.spawn(sink.write, [bytes(MIB)])
    received = 0
    while received < MIB:
        received += len(source.read())
        assert [flags(fd) for fd in pipe] == before
    writing.get()
    watching.kill()
    source.close()
    sink.close()

    assert [flags(fd) for fd in pipe] == before


def test_the_flags_of_an_inherited_file_terminal_and_socket_are_never_changed(file):
    master, slave = pty.openpty()
    ours, theirs = socket.socketpair()
    theirs.sendall(b"x")
    os.write(master, b"x\n")
    file.write(b"x")
    file.seek(0)
    fds = [file.fileno(), slave, ours.fileno()]
    before = [flags(fd) for fd in fds]

    for fd in fds:
        ByteSource(fd).read()
        ByteSink(fd).write([b"y"])
        ByteSink(fd).flush()

    assert [flags(fd) for fd in fds] == before
    for fd in (master, slave):
        os.close(fd)
    ours.close()
    theirs.close()


# --- processes ---


def run_python(program, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        **options,
    )


@pytest.mark.parametrize("name", ["standard_input", "standard_output"])
def test_a_program_started_without_stdin_and_stdout_says_so(name):
    # Descriptors that are opened later take the free numbers: they must not be used by mistake.
    program = f"""
        import sys, gevent
        gevent.sleep(0)
        from derphole.edges import stdio
        from derphole.errors import UsageError
        try:
            stdio.{name}()
        except UsageError as error:
            sys.stderr.write(f"{{error}}\\n")
    """
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" <&- >&-', sys.executable, textwrap.dedent(program)],
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "is closed; connect it to" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_moves_standard_input_to_standard_output():
    content = patterned(3 * MIB)
    program = """
        from derphole.edges.stdio import standard_input, standard_output
        source, sink = standard_input(), standard_output()
        while data := source.read():
            sink.write([data])
        sink.flush()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        input=content,
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout == content
    assert done.stderr == b""
