"""What must be true of a transfer between two hosts, and that a row fails where it is not."""

from dataclasses import replace

import pytest
from hosts_lib.flow import Flow, flow_of
from hosts_lib.report import Row, parse_size, size_text, table
from hosts_lib.transfer import Moved, Wish, transfer_rows

SIZE = 4096
SAME = f"{SIZE} {'ab' * 32}"
DIRECT = Flow(("relay", "direct"), 0.2, "direct 192.0.2.1:9", {"bytes_direct": SIZE})
RELAYED = Flow(("relay",), None, "relay own", {"bytes_direct": 0})
PROMOTED = Moved(SAME, SAME, (DIRECT, DIRECT), 0.1, SIZE, 0.5)
KEPT = replace(PROMOTED, flows=(RELAYED, RELAYED))


def failed(moved: Moved, wish: Wish) -> list[str]:
    rows = transfer_rows("a", moved, wish)
    return [row.what.removeprefix("a: ") for row in rows if not row.is_ok]


def event(at: float, name: str, **more: object) -> dict[str, object]:
    return {"event": name, "time": at, **more}


@pytest.mark.parametrize(
    ("moved", "wish"), [(PROMOTED, Wish(SIZE)), (KEPT, Wish(SIZE, is_relayed=True))]
)
def test_a_transfer_as_it_must_be_fails_nowhere(moved: Moved, wish: Wish):
    assert failed(moved, wish) == []


@pytest.mark.parametrize(
    "received",
    [f"{SIZE} {'cd' * 32}", f"{SIZE - 1} {'ab' * 32}", f"{SIZE + 1} {'ab' * 32}"],
)
def test_other_bytes_are_noticed(received: str):
    assert failed(replace(PROMOTED, received=received), Wish(SIZE)) == ["bytes"]


def test_a_payload_of_another_size_than_asked_for_is_noticed():
    assert failed(PROMOTED, Wish(SIZE + 1)) == ["bytes"]


@pytest.mark.parametrize(
    ("flow", "wrong"),
    [
        (RELAYED, ["path on both sides", "direct after"]),
        (replace(DIRECT, words=("direct",)), ["path on both sides"]),
        (replace(DIRECT, direct_after_s=10.1), ["direct after"]),
        (
            replace(DIRECT, words=("relay", "direct", "relay")),
            ["path on both sides", "back to the relay"],
        ),
        (replace(DIRECT, words=("relay", "direct", "relay", "direct")), ["back to the relay"]),
    ],
)
def test_one_side_that_is_not_as_it_must_be_is_noticed(flow: Flow, wrong: list[str]):
    for flows in ((flow, DIRECT), (DIRECT, flow)):
        assert failed(replace(PROMOTED, flows=flows), Wish(SIZE)) == wrong


def test_a_byte_on_a_direct_path_is_noticed_where_the_relay_was_asked_for():
    flow = replace(RELAYED, receipt={"bytes_direct": 1})

    wrong = failed(replace(KEPT, flows=(RELAYED, flow)), Wish(SIZE, is_relayed=True))

    assert wrong == ["kept on the relay"]


def test_paths_are_read_from_the_events_of_one_side():
    events = [
        event(1.0, "state", state="waiting-for-claim"),
        event(2.0, "state", state="connected-relay"),
        event(2.0, "path", path="relay own", direct=False),
        event(2.25, "state", state="connected-direct"),
        event(2.25, "path", path="direct 192.0.2.1:9", direct=True),
        event(3.0, "receipt", bytes=7),
    ]

    flow = flow_of(events)

    assert flow.words == ("relay", "direct")
    assert flow.direct_after_s == 0.25
    assert flow.path == "direct 192.0.2.1:9"
    assert flow.receipt["bytes"] == 7
    assert flow_of([]) == Flow((), None, "", {})


def test_the_table_counts_what_is_held_to_something():
    text = table([Row("a", "1 s"), Row("b", "2", "2"), Row("longer", "3", "4", is_ok=False)])

    assert text.splitlines() == [
        "what    seen  must",
        "a       1 s",
        "b       2     2     ok",
        "longer  3     4     FAILED",
        "1 of 2 as they must be",
    ]


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("4096", 4096), ("64K", 65536), ("8M", 8 << 20), ("1G", 1 << 30)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "M", "-1", "1.5M", "1m", "1T", "1MM", "٣"])
def test_other_texts_are_no_sizes(text: str):
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(1, "1 bytes"), (300 << 10, "300 KiB"), (3 << 19, "1.5 MiB"), (1 << 30, "1 GiB")],
)
def test_sizes_are_written_in_the_largest_unit(size: int, text: str):
    assert size_text(size) == text
