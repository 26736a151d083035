"""What waits for a client, and who gives way when all of it together is too much."""

from tunnel.proto.relay_server.derp_outbox import MAX_CONTROL_FRAMES, Outbox, QueueBudget


def outboxes(budget, count, packets=32):
    return [Outbox(packets, 1 << 20, budget) for _ in range(count)]


def push(outbox, *sizes, disco=False):
    return [outbox.push_packet(bytes(size), looks_like_disco=disco) for size in sizes]


def test_one_batch_of_output_is_bounded_and_neither_queue_starves():
    outbox = Outbox(32, 1 << 20, QueueBudget())
    for _ in range(8):
        outbox.push_packet(b"d" * 1000, looks_like_disco=True)
        outbox.push_packet(b"o" * 1000, looks_like_disco=False)

    batch = outbox.take(limit=3000)

    assert [frame[:1] for frame in batch] == [b"d", b"d", b"d", b"o"]


def test_pending_control_frames_are_bounded():
    outbox = Outbox(32, 1000, QueueBudget())
    for number in range(MAX_CONTROL_FRAMES + 1):
        outbox.push_control(number.to_bytes(2, "big"))

    frames = outbox.take()

    assert len(frames) == MAX_CONTROL_FRAMES
    assert frames[-1] == MAX_CONTROL_FRAMES.to_bytes(2, "big")


def test_the_fullest_outbox_gives_way_and_not_the_one_that_gets_a_packet():
    budget = QueueBudget(limit=1000, floor=100)
    full, half, empty = outboxes(budget, 3)
    push(full, *[100] * 6)
    push(half, *[100] * 4)

    assert push(empty, 100) == [2]
    assert (full.queued, half.queued, empty.queued) == (400, 400, 100)
    assert budget.used == 900


def test_who_fills_the_budget_loses_its_own_oldest_packets():
    budget = QueueBudget(limit=1000, floor=100)
    full, other = outboxes(budget, 2)
    push(other, 100)
    for number in range(20):
        full.push_packet(bytes((number,)) * 100, looks_like_disco=False)

    assert other.queued == 100
    assert [frame[0] for frame in full.take()] == list(range(12, 20))


def test_what_an_outbox_holds_up_to_the_floor_is_never_dropped_for_others():
    budget = QueueBudget(limit=1000, floor=200)
    many = outboxes(budget, 20)

    assert [push(outbox, 100, 100) for outbox in many] == [[0, 0]] * 20
    assert budget.used == 4000
    assert push(many[0], 100, 100, 100) == [1, 1, 1]
    assert [outbox.queued for outbox in many] == [200] * 20


def test_of_the_two_queues_of_an_outbox_the_fuller_one_gives_way():
    budget = QueueBudget(limit=1000, floor=100)
    (outbox,) = outboxes(budget, 1)
    push(outbox, 300, disco=True)
    push(outbox, *[100] * 8)

    assert [len(frame) for frame in outbox.take()] == [300, *[100] * 6]


def test_what_is_being_written_counts_until_more_is_asked_for():
    budget = QueueBudget(limit=1000)
    (outbox,) = outboxes(budget, 1)
    push(outbox, 400)

    outbox.take()
    assert (outbox.queued, budget.used) == (0, 400)
    assert outbox.take() == []
    assert budget.used == 0


def test_of_a_crowd_each_takes_less_to_write_at_a_time():
    budget = QueueBudget(limit=4 << 20)
    one, other = outboxes(budget, 2)
    push(one, *[60 << 10] * 16)
    push(other, *[60 << 10] * 16)

    assert len(one.take()) == 5
    push(one, *[60 << 10] * 5)
    assert len(other.take()) == 2


def test_who_leaves_gives_everything_back():
    budget = QueueBudget(limit=1000, floor=0)
    gone, stays = outboxes(budget, 2)
    push(gone, 400, 400)
    gone.take(limit=1)
    push(gone, 200, disco=True)

    gone.clear()

    assert budget.used == 0
    assert push(stays, 500, 490, 100) == [0, 0, 1]
