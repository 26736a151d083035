"""What waits to be written: order, bounds and half-written frames."""

from tunnel.proto.send_backlog import MAX_BUFFERS, MAX_CONTROL_BYTES, MAX_DATA_BYTES, SendBacklog


def taken(backlog, limit=1 << 20):
    return [bytes(view) for view in backlog.gather(limit)]


def test_control_goes_before_data_and_each_keeps_its_order():
    backlog = SendBacklog()
    backlog.append(b"d1", is_control=False)
    backlog.append(b"c1", is_control=True)
    backlog.append(b"d2", is_control=False)
    backlog.append(b"c2", is_control=True)

    assert taken(backlog) == [b"c1", b"c2", b"d1", b"d2"]


def test_gathering_takes_nothing_away():
    backlog = SendBacklog()
    backlog.append(b"frame", is_control=False)

    assert taken(backlog) == taken(backlog) == [b"frame"]
    assert backlog.size_bytes == 5


def test_a_cut_frame_is_finished_before_control_that_came_later():
    backlog = SendBacklog()
    backlog.append(b"abcdef", is_control=False)
    backlog.append(b"ghi", is_control=False)
    backlog.gather(100)
    backlog.append(b"C", is_control=True)

    backlog.advance(2)

    assert taken(backlog) == [b"cdef", b"C", b"ghi"]
    assert backlog.size_bytes == 8


def test_a_limit_is_passed_by_at_most_one_frame():
    backlog = SendBacklog()
    for _ in range(10):
        backlog.append(b"1234", is_control=False)

    assert len(taken(backlog, limit=9)) == 3
    assert len(taken(backlog, limit=1)) == 1


def test_a_batch_never_has_more_buffers_than_the_kernel_takes():
    backlog = SendBacklog()
    for _ in range(2 * MAX_BUFFERS):
        backlog.append(b"x", is_control=False)

    assert len(backlog.gather(1 << 20)) == MAX_BUFFERS


def test_what_is_over_a_bound_is_not_queued():
    backlog = SendBacklog()

    assert backlog.append(bytes(MAX_DATA_BYTES), is_control=False)
    assert not backlog.append(b"x", is_control=False)
    assert backlog.append(bytes(MAX_CONTROL_BYTES), is_control=True)
    assert not backlog.append(b"x", is_control=True)
    assert backlog.size_bytes == MAX_DATA_BYTES + MAX_CONTROL_BYTES
