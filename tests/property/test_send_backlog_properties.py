"""Whatever a socket takes, frames come out whole, once, and in order within their class."""

from hypothesis import given
from hypothesis import strategies as st

from tunnel.proto.relay_client.send_backlog import SendBacklog

STEPS = st.lists(
    st.tuples(st.just("append"), st.booleans(), st.integers(1, 40))
    | st.tuples(st.just("write"), st.integers(1, 60), st.integers(0, 100)),
    max_size=60,
)


def frame_of(number, size, is_control):
    """A frame that names itself: class, number, size, filler."""
    return bytes([is_control, number, size]) + bytes(size)


@given(STEPS)
def test_frames_come_out_whole_once_and_in_order(steps):
    backlog = SendBacklog()
    written = bytearray()
    appended = {True: [], False: []}

    def write(limit, share):
        data = b"".join(backlog.gather(limit))
        size = len(data) * share // 100
        backlog.advance(size)
        written.extend(data[:size])

    for number, (step, first, second) in enumerate(steps):
        if step == "append":
            frame = frame_of(number, second, first)
            assert backlog.append((frame[:3], frame[3:]), len(frame), is_control=first)
            appended[first].append(frame)
        else:
            before = backlog.size_bytes
            length = len(written)
            write(first, second)
            assert backlog.size_bytes == before - (len(written) - length)
    while backlog.size_bytes:
        write(64, 100)

    seen = {True: [], False: []}
    while written:
        size = 3 + written[2]
        seen[bool(written[0])].append(bytes(written[:size]))
        del written[:size]
    assert seen == appended
