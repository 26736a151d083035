"""The questions to STUN servers against any datagrams, answers of hostile servers among them."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from tunnel.proto.netcheck.nat_behaviour import LANES, MAX_SERVERS, WAITS_S, NatCheck
from tunnel.units import Instant
from tunnel.wire import stun

SERVERS = [("192.0.2.1", 3478), ("192.0.2.2", 3478)]
PORTS = st.integers(0, 65535)
ENDPOINTS = st.tuples(st.ip_addresses(v=4).map(str), PORTS) | st.sampled_from(SERVERS)
# Transactions are numbers here, so that any of them can be met by chance.
TRANSACTIONS = st.integers(0, 12).map(lambda number: number.to_bytes(12, "big"))
ANSWERS = st.builds(
    lambda transaction, seen, origin, other: stun.encode_binding_response(
        transaction, *seen, origin, other
    ),
    TRANSACTIONS,
    ENDPOINTS,
    st.none() | ENDPOINTS,
    st.none() | ENDPOINTS,
)
REQUESTS = TRANSACTIONS.map(stun.encode_binding_request)
STEPS = st.tuples(st.integers(0, LANES - 1), st.binary(max_size=80) | ANSWERS | REQUESTS, ENDPOINTS)
# Servers, their other addresses, both lanes' plain questions, two changes, two hairpins.
MOST_QUESTIONS = MAX_SERVERS + 2 + 2 + 2 + 2


@given(st.lists(STEPS, max_size=40))
def test_any_datagrams_leave_a_bounded_check_that_ends(steps):
    numbers = count(1)
    check = NatCheck(
        Instant(0.0),
        SERVERS,
        (40000, 40001),
        ["10.0.0.2"],
        lambda size: next(numbers).to_bytes(size, "big"),
    )
    now, sent = 0.0, 0

    for lane, data, source in steps:
        sent += len(check.datagrams_to_send(Instant(now)))
        check.handle_datagram(Instant(now), lane, data, source)
        check.findings()
        now += 0.05
    while (due_at := check.next_timeout()) is not None:
        now = max(now, due_at)
        sent += len(check.datagrams_to_send(Instant(now)))

    assert sent <= MOST_QUESTIONS * len(WAITS_S)
    found = check.findings()
    assert len(found.answers) == len(SERVERS)
    assert found.is_udp_working == bool(found.public)
