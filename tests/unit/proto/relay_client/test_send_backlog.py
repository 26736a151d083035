"""What waits to be written: order, bounds and half-written frames."""

from tunnel.proto.relay_client.send_backlog import (
    MAX_BUFFERS,
    MAX_CONTROL_BYTES,
    MAX_DATA_BYTES,
    SendBacklog,
)


def add(backlog, *parts, is_control=False):
    return backlog.append(parts, sum(map(len, parts)), is_control=is_control)


def taken(backlog, limit=1 << 20):
    return [bytes(view) for view in backlog.gather(limit)]


def test_control_goes_before_data_and_each_keeps_its_order():
    backlog = SendBacklog()
    add(backlog, b"d1")
    add(backlog, b"c1", is_control=True)
    add(backlog, b"d2")
    add(backlog, b"c2", is_control=True)

    assert taken(backlog) == [b"c1", b"c2", b"d1", b"d2"]


def test_gathering_takes_nothing_away():
    backlog = SendBacklog()
    add(backlog, b"frame")

    assert taken(backlog) == taken(backlog) == [b"frame"]
    assert backlog.size_bytes == 5


def test_a_cut_frame_is_finished_before_control_that_came_later():
    backlog = SendBacklog()
    add(backlog, b"abcdef")
    add(backlog, b"ghi")
    backlog.gather(100)
    add(backlog, b"C", is_control=True)

    backlog.advance(2)

    assert taken(backlog) == [b"cdef", b"C", b"ghi"]
    assert backlog.size_bytes == 8


def test_a_frame_of_parts_is_cut_within_any_of_them():
    backlog = SendBacklog()
    add(backlog, b"head", bytearray(b"body"), memoryview(b"tail"))

    seen = bytearray()
    for size in (3, 1, 2, 5, 1):
        seen += b"".join(taken(backlog))[:size]
        backlog.advance(size)

    assert seen == b"headbodytail"
    assert taken(backlog) == []


def test_a_limit_is_passed_by_at_most_one_frame():
    backlog = SendBacklog()
    for _ in range(10):
        add(backlog, b"1234")

    assert len(taken(backlog, limit=9)) == 3
    assert len(taken(backlog, limit=1)) == 1


def test_a_batch_never_has_more_buffers_than_the_kernel_takes():
    backlog = SendBacklog()
    for _ in range(2 * MAX_BUFFERS):
        add(backlog, b"x")

    assert len(backlog.gather(1 << 20)) == MAX_BUFFERS


def test_what_is_over_a_bound_is_not_queued():
    backlog = SendBacklog()

    assert add(backlog, bytes(MAX_DATA_BYTES))
    assert not add(backlog, b"x")
    assert add(backlog, bytes(MAX_CONTROL_BYTES), is_control=True)
    assert not add(backlog, b"x", is_control=True)
    assert backlog.size_bytes == MAX_DATA_BYTES + MAX_CONTROL_BYTES
