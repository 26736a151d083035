"""A trace within bounds: so many events of a kind in a second, and a file with its two ends."""

import json
import os
import stat

import pytest

from derphole.errors import UsageError
from derphole.trace import TraceFile
from derphole.trace_bounds import KIND_PER_S, LEAST_SIZE, MOST_KEPT, BoundedFile, Thinning

LIMIT = LEAST_SIZE


def cut_line(size):
    return b'{"t": 0, "event": "trace.cut", "bytes": %d}\n' % size


def line(number):
    return b'{"t": 1.5, "event": "packet.dropped", "number": %7d}\n' % number


def lines_of(path):
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(each) for each in text.splitlines()]


# --- how fast it grows -----------------------------------------------------------------------


def test_of_each_kind_so_many_are_kept_in_a_second():
    thinning = Thinning()
    assert thinning.turn(7.0) == {}

    kept = [thinning.admit("claim.dropped") for _ in range(KIND_PER_S + 30)]
    others = [thinning.admit("link.up") for _ in range(KIND_PER_S)]

    assert kept == [True] * KIND_PER_S + [False] * 30
    assert all(others)
    assert thinning.turn(7.999) == {}
    assert thinning.turn(8.0) == {"claim.dropped": 30}
    assert thinning.admit("claim.dropped")
    assert thinning.turn(12.0) == {}


def test_a_trace_tells_what_it_left_out_also_at_its_end(tmp_path):
    path = tmp_path / "trace"
    file = TraceFile(path)

    for _ in range(10 * KIND_PER_S):
        file("claim.dropped", {"reason": "bad mac"})
    file.close()

    events = lines_of(path)
    kept = sum(event["event"] == "claim.dropped" for event in events)
    left_out = [event for event in events if event["event"] == "trace.left_out"]
    assert {event["of"] for event in left_out} == {"claim.dropped"}
    assert kept + sum(event["count"] for event in left_out) == 10 * KIND_PER_S
    assert kept <= 2 * KIND_PER_S  # a second may end meanwhile
    assert all(list(event) == ["t", "event", "of", "count"] for event in left_out)


# --- how far it grows ------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [LIMIT, 3 * LIMIT + 17, 1 << 20])
def test_at_its_bound_a_file_keeps_its_beginning_and_the_newest_lines(tmp_path, limit):
    path = tmp_path / "trace"
    file = BoundedFile(path, limit, cut_line)
    count = 5 * limit // len(line(0))
    largest = 0
    for number in range(count):
        file.append(line(number))
        largest = max(largest, os.fstat(file._fd).st_size)
    file.close()

    assert limit // 2 < path.stat().st_size <= largest <= limit
    events = lines_of(path)
    numbers = [event["number"] for event in events if "number" in event]
    (cut,) = [event for event in events if event["event"] == "trace.cut"]
    place = events.index(cut)
    assert numbers[:place] == list(range(place))  # not one of the beginning is missing
    assert place * len(line(0)) >= limit // 2 - 2 * len(line(0))
    assert numbers[place:] == list(range(numbers[place], count))  # nor one of the end
    left_out = numbers[place] - place
    assert cut["bytes"] == left_out * len(line(0)) + cut_lines_of(events, left_out, cut["bytes"])


def cut_lines_of(events, left_out, size):
    """Return the bytes of earlier notes of a cut among what was cut: whole lines, and few."""
    rest = size - left_out * len(line(0))
    assert 0 <= rest < 100 * 60
    return rest


def test_the_end_that_is_kept_has_a_bound_of_its_own(tmp_path):
    path = tmp_path / "trace"
    limit = 40 << 20
    long = b'{"event": "' + b"x" * 20_000 + b'"}\n'
    file = BoundedFile(path, limit, cut_line)
    while path.stat().st_size + len(long) <= limit:
        file.append(long)
    file.append(long)
    file.close()

    assert abs(path.stat().st_size - limit // 2 - MOST_KEPT) < 3 * len(long)


def test_what_earlier_runs_left_is_cut_first_and_this_run_has_its_beginning(tmp_path):
    path = tmp_path / "trace"
    for run in range(6):
        file = BoundedFile(path, LIMIT, cut_line)
        file.append(b'{"event": "trace.started", "run": %d}\n' % run)
        for number in range(2 * LIMIT // len(line(0))):
            file.append(line(number))
        file.close()
        assert path.stat().st_size <= LIMIT

    events = lines_of(path)
    begin = events.index({"event": "trace.started", "run": 5})
    assert [each["number"] for each in events[begin + 1 : begin + 100]] == list(range(99))


def test_two_runs_that_write_to_one_file_keep_it_within_the_bound(tmp_path):
    path = tmp_path / "trace"
    files = [BoundedFile(path, LIMIT, cut_line) for _ in range(2)]

    for number in range(4 * LIMIT // len(line(0))):
        files[number % 2].append(line(number))
        assert path.stat().st_size <= LIMIT
    for file in files:
        file.close()

    assert lines_of(path)[-1]["event"] == "packet.dropped"


def test_a_large_file_that_is_no_trace_is_left_as_it_is(tmp_path):
    path = tmp_path / "thesis.txt"
    text = "what took me three years\n" * 4000
    path.write_text(text)

    with pytest.raises(UsageError, match="is not a trace"):
        BoundedFile(path, LIMIT, cut_line)
    assert path.read_text() == text


def test_a_line_beyond_a_quarter_of_the_bound_is_not_written(tmp_path):
    path = tmp_path / "trace"
    file = BoundedFile(path, LIMIT, cut_line)
    file.append(line(1))
    file.append(b"x" * LIMIT + b"\n")
    file.append(line(2))
    file.close()

    assert [event["number"] for event in lines_of(path)] == [1, 2]


def test_a_pipe_has_no_bound_and_the_file_is_private(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    file = BoundedFile(fifo, LIMIT, cut_line)
    got = b""
    for number in range(2 * LIMIT // len(line(0))):
        file.append(line(number))
        got += os.read(reader, 4096)
    file.close()
    os.close(reader)
    assert len(got) > LIMIT

    path = tmp_path / "trace"
    BoundedFile(path, LIMIT, cut_line).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
