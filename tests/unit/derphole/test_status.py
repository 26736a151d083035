"""Statuses: the line for people and the event for programs."""

import json

import pytest

from derphole.status import (
    Caution,
    Direction,
    ForwardingEnded,
    Instruction,
    Listening,
    Notice,
    PathTaken,
    Progress,
    Receipt,
    RelayDown,
    Resumed,
    Stalled,
    State,
    StateChanged,
    TokenIssued,
    Traffic,
    Waiting,
    as_event,
    sentence,
    size_text,
)

RECEIPT = Receipt(
    Direction.SENT,
    3 << 20,
    2.0,
    "relay fra",
    "it was lost",
    "ab12",
    Traffic(1 << 20, 2 << 21, 2, 1),
)

CASES = [
    (TokenIssued("dhp1_x"), "dhp1_x", "token"),
    (StateChanged(State.CONNECTED_RELAY), "connected-relay", "state"),
    (Instruction("derphole pipe dhp1_x"), "derphole pipe dhp1_x", "instruction"),
    (Listening("127.0.0.1:5432"), "listening on 127.0.0.1:5432", "listening"),
    (Waiting("a claim", 2.0, None), "waiting for a claim (2 s)", "waiting"),
    (Waiting("a claim", 2.0, 60.0), "waiting for a claim (2 s of at most 60 s)", "waiting"),
    (
        Stalled("64 KiB are unanswered", 5.0, 60.0),
        "nothing heard from the other side for 5 s while 64 KiB are unanswered; "
        "giving up after 60 s",
        "stalled",
    ),
    (Resumed(12.3), "the other side is back after 12 s", "resumed"),
    (PathTaken("fra", False), "path=relay via=fra", "path"),
    (RelayDown("fra hangs"), "relay trouble: fra hangs", "relay-trouble"),
    (Notice("hello"), "hello", "notice"),
    (Caution("mode 0644"), "warning: mode 0644", "warning"),
    (Progress(1, 2), None, "progress"),
    (
        RECEIPT,
        "sent 3.0MiB in 2.0 s, 1.5MiB/s, by relay fra (relayed: it was lost), "
        "1.0MiB direct and 4.0MiB relayed, 2 promotions, 1 stall, digest ab12",
        "receipt",
    ),
]


@pytest.mark.parametrize(("status", "line", "name"), CASES)
def test_a_status_has_a_line_and_an_event(status, line, name):
    event, keys = as_event(status)

    assert sentence(status) == line
    assert event == name
    assert json.loads(json.dumps(keys)) == keys
    assert not {"event", "time"} & set(keys)


def test_the_receipt_event_has_every_figure():
    assert as_event(RECEIPT)[1] == {
        "direction": "sent",
        "bytes": 3 << 20,
        "seconds": 2.0,
        "path": "relay fra",
        "reason_relayed": "it was lost",
        "digest": "ab12",
        "digest_kind": "xxh3-128",
        "bytes_direct": 1 << 20,
        "bytes_relayed": 4 << 20,
        "promotions": 2,
        "stalls": 1,
    }


def test_a_receipt_of_nothing_has_a_rate_of_nothing():
    traffic = Traffic(300, 0, 1, 0)
    receipt = Receipt(Direction.RECEIVED, 0, 0.0, "direct 192.0.2.1:9", None, "00", traffic)

    assert sentence(receipt) == (
        "received 0B in 0.0 s, 0B/s, by direct 192.0.2.1:9, "
        "300B direct and 0B relayed, 1 promotion, 0 stalls, digest 00"
    )


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0KiB"),
        (12_900_000, "12.3MiB"),
        ((1 << 20) - 1, "1.0MiB"),
        (5 << 30, "5.0GiB"),
        (3 << 40, "3.0TiB"),
        (5000 << 40, "5000.0TiB"),
    ],
)
def test_sizes_have_one_decimal_and_base_1024(size, text):
    assert size_text(size) == text


def test_tokens_do_not_show_in_repr():
    assert "dhp1_secret" not in repr(TokenIssued("dhp1_secret")) + repr(Instruction("dhp1_secret"))


def test_the_end_of_a_connection_is_one_line_and_one_event():
    clean = ForwardingEnded(3, "127.0.0.1:5000", 90, 36_335, 0.25, "done", None)
    refused = ForwardingEnded(None, "client 2", 0, 0, 0.0, "too many connections", 5)

    assert sentence(clean) == (
        "connection 3 of 127.0.0.1:5000: sent 90B, received 35.5KiB in 0.2 s, done"
    )
    assert sentence(refused).startswith("connection of client 2: sent 0B, received 0B")
    name, keys = as_event(clean)
    assert name == "connection"
    assert keys == {
        "connection": 3,
        "peer": "127.0.0.1:5000",
        "sent": 90,
        "received": 36_335,
        "seconds": 0.25,
        "reason": "done",
        "code": None,
    }
