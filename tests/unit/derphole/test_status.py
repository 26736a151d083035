"""Statuses: the line for people and the event for programs."""

import json

import pytest

from derphole.cli.commands.relay_ready import RelayReady
from derphole.code_status import CodeIssued, CodeOver, NoCodeNow, WrongCode
from derphole.delivery.statuses import Contents, EntryTold, GoesOn, Planned
from derphole.derptun.statuses import EndNears, Serving, TokenMade, TunnelDown, TunnelUp
from derphole.forwarding.statuses import (
    ClientJoined,
    ClientLeft,
    ConnectionsReset,
    ConnectionsWait,
    Departure,
    ForwardingEnded,
    Reconnected,
    Reconnecting,
    TargetUnreachable,
)
from derphole.ssh.login import Login
from derphole.ssh.public_key import PublicKey
from derphole.ssh.statuses import KeyKept, KeyShown, LoginTold
from derphole.status import (
    Caution,
    Instruction,
    Listening,
    Notice,
    PathDetail,
    PathTaken,
    RelayDown,
    Resumed,
    Stalled,
    State,
    StateChanged,
    Status,
    TokenIssued,
    Waiting,
    size_text,
)
from derphole.transfer_status import Direction, Incomplete, Progress, Receipt, Traffic
from tunnel.units import WallTime

ED25519 = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)
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
    (
        TokenMade("client", "ab12", "laptop", 1_800_000_000, "laptop.dtc"),
        "client token ab12, name laptop, good until 2027-01-15T08:00:00Z, in laptop.dtc",
        "token-made",
    ),
    (
        TokenMade("server", "ab12", "", 1_800_000_000),
        "server token ab12, good until 2027-01-15T08:00:00Z",
        "token-made",
    ),
    (
        Serving("localhost:22", "ab12", "relay fra", 1_800_000_000),
        "serving localhost:22 as server ab12 on relay fra, until 2027-01-15T08:00:00Z",
        "serving",
    ),
    (
        EndNears("this client token", 1_800_000_000, 86400.0, "ask for another one"),
        "warning: this client token ends in 1 day (2027-01-15T08:00:00Z), and its connections "
        "with it; ask for another one",
        "expires-soon",
    ),
    (
        TunnelDown("the server has left"),
        "the tunnel is down: the server has left; the port stays open, reconnecting",
        "tunnel-down",
    ),
    (TunnelUp("ab12"), "the tunnel to server ab12 is up", "tunnel-up"),
    (TunnelUp("ab12", 12.3), "the tunnel to server ab12 is up again after 12 s", "tunnel-up"),
    (ClientJoined(2, False, "laptop"), "client 2 (laptop) is connected", "client-joined"),
    (
        ClientLeft(2, Departure.LOST, None, 600.4, None, "laptop"),
        "client 2 (laptop) has not answered for 600 s, and counts as gone",
        "client-left",
    ),
    (
        ClientLeft(2, Departure.EXPIRED),
        "client 2 was disconnected: its token has expired",
        "client-left",
    ),
    (
        ClientLeft(2, Departure.REVOKED),
        "client 2 was disconnected: its token is revoked",
        "client-left",
    ),
    (
        Contents(Direction.RECEIVED, 'file "a"', "file", "a", 2048, 1, "here/a"),
        'receiving file "a" (2.0KiB) into here/a',
        "contents",
    ),
    (
        Contents(Direction.SENT, 'folder "a"', "folder", "a", None, 1),
        'sending folder "a" (1 entry)',
        "contents",
    ),
    (EntryTold("a/b", "renamed", "is called c here"), "a/b is called c here", "entry"),
    (
        GoesOn(1 << 20, 3),
        "going on where it stopped: 3 finished entries and 1.0MiB are there already",
        "goes-on",
    ),
    (
        Planned('file "a"', "a", "written over", 5, 4096),
        'file "a" would be written over a, 5B; 4.0KiB are free there; nothing was written',
        "planned",
    ),
    (
        KeyShown(PublicKey("ssh-ed25519", ED25519, 'me"laptop'), "sending"),
        f"sending ed25519 key {PublicKey('ssh-ed25519', ED25519).fingerprint}, 256 bits, "
        'comment "me\'laptop"',
        "key",
    ),
    (KeyKept("f", "me", True), "the key was added to f, for me", "key-kept"),
    (KeyKept("f", "me", False), "the key was in f already, for me", "key-kept"),
    (
        KeyKept("f", "me", False, is_restricted=True),
        "the key was in f already, behind options, which go on to restrict it; remove that line "
        "there to lift them",
        "key-kept",
    ),
    (
        LoginTold(Login("me", "host", 22, "host", None, (), is_reached=False), "derphole"),
        "log in with: ssh me@host",
        "login",
    ),
    (TokenIssued("dhp1_x", WallTime(1000.0)), "dhp1_x", "token"),
    (CodeIssued("12-048219-a-b", WallTime(1000.0)), "12-048219-a-b", "code"),
    (
        WrongCode(1, 3),
        "somebody tried the code with wrong words: 1 of 3 tries; if it was not the other side, "
        "somebody is guessing",
        "wrong-code",
    ),
    (
        CodeOver("12-048219", "it was tried with wrong words three times", is_last=False),
        "the code 12-048219 is over, since it was tried with wrong words three times; "
        "a new one follows",
        "code-over",
    ),
    (
        CodeOver("12-048219", "somebody has it", is_last=True),
        "the code 12-048219 is over, since somebody has it; there will be no other one: use the "
        "token",
        "code-over",
    ),
    (
        NoCodeNow("nobody knows why"),
        "there is no short code this time, since nobody knows why: use the token",
        "no-code",
    ),
    (StateChanged(State.CONNECTED_RELAY), "connected-relay", "state"),
    (Instruction("derphole pipe dhp1_x"), "derphole pipe dhp1_x", "instruction"),
    (Listening("127.0.0.1:5432"), "listening on 127.0.0.1:5432", "listening"),
    (Waiting("a claim", 2.0, None), "waiting for a claim (2 s)", "waiting"),
    (Waiting("a claim", 2.0, 60.0), "waiting for a claim (2 s of at most 60 s)", "waiting"),
    (
        Stalled("64 KiB are unanswered", 5.0, 60.0),
        "no answer from the other side for 5 s; giving up after 60 s",
        "stalled",
    ),
    (Resumed(12.3), "the other side is back after 12 s", "resumed"),
    (PathTaken("fra", False), "path=relay via=fra", "path"),
    (PathDetail("seen", "seen from outside"), "seen from outside", "path-detail"),
    (RelayDown("fra hangs"), "relay trouble: fra hangs", "relay-trouble"),
    (Notice("hello"), "hello", "notice"),
    (Caution("mode 0644"), "warning: mode 0644", "warning"),
    (
        Progress(45 << 20, 100 << 20, 4.2, 11.25 * (1 << 20), 0.1, "relay fra"),
        "45.0MiB of 100.0MiB (45%) in 4 s, 11.2MiB/s, by relay fra",
        "progress",
    ),
    (Progress(5, None, 61.0), "5B in 61 s, 0B/s", "progress"),
    (
        RECEIPT,
        "sent 3.0MiB, confirmed after 2.0 s, 1.5MiB/s, by relay fra (relayed: it was lost)",
        "receipt",
    ),
    (
        Incomplete(Direction.RECEIVED, 4096, 1 << 20),
        "incomplete: 4096 of 1048576 bytes came",
        "incomplete",
    ),
    (
        Incomplete(Direction.SENT, 1, None),
        "incomplete: 1 byte reached the other side",
        "incomplete",
    ),
    (
        Incomplete(Direction.RECEIVED, 0, 1, "copy.bin"),
        "incomplete: 0 of 1 byte came; copy.bin is as it was before",
        "incomplete",
    ),
    (ClientJoined(1, False), "client 1 is connected", "client-joined"),
    (ClientJoined(2, True), "client 2 is back", "client-joined"),
    (ClientLeft(1, Departure.LEFT), "client 1 left", "client-left"),
    (
        ClientLeft(1, Departure.LEFT, "it was interrupted"),
        "client 1 left: it was interrupted",
        "client-left",
    ),
    (
        ClientLeft(1, Departure.RECONNECTING, may_come_back_s=600.0),
        "client 1 is reconnecting",
        "client-left",
    ),
    (
        ClientLeft(1, Departure.LOST, None, 60.2, 600.0),
        "client 1 has not answered for 60 s; it can reconnect within 10 min",
        "client-left",
    ),
    (
        ClientLeft(1, Departure.REPLACED),
        "client 1 stopped answering, and another one took its place",
        "client-left",
    ),
    (
        ClientLeft(1, Departure.BROKE_PROTOCOL),
        "client 1 was disconnected: protocol error",
        "client-left",
    ),
    (
        ClientLeft(1, Departure.BROKE_PROTOCOL, "FIN was sent"),
        "client 1 was disconnected: protocol error (FIN was sent)",
        "client-left",
    ),
    (
        ClientLeft(1, Departure.ACCUSED_US, "FIN was sent"),
        "client 1 left: it says that this side broke the protocol (FIN was sent)",
        "client-left",
    ),
    (
        TargetUnreachable("db:5432", "its name was not found"),
        "warning: cannot connect to db:5432: its name was not found; "
        "trying again for each new connection",
        "target-unreachable",
    ),
    (
        Reconnecting(),
        "the link to the other side ended; the port stays open, reconnecting",
        "reconnecting",
    ),
    (Reconnected(12.3456), "connected again", "reconnected"),
    (
        RelayReady("http://relay:1", "http://relay:1/derpmap", None, (), {"HostName": "relay"}),
        "relay ready: http://relay:1 (no STUN)",
        "relay-ready",
    ),
    (
        ConnectionsReset("too many"),
        "warning: connections are reset: too many; trying again for each new connection",
        "connections-reset",
    ),
    (
        ConnectionsWait("no file"),
        "warning: new connections wait: no file; they go on when others have ended",
        "connections-wait",
    ),
    (
        ForwardingEnded(3, "127.0.0.1:5000", 90, 36_335, 0.25, "done", None),
        "connection 3 of 127.0.0.1:5000: sent 90B, received 35.5KiB in 0.2 s, done",
        "connection",
    ),
]


@pytest.mark.parametrize(("status", "line", "name"), CASES)
def test_a_status_has_a_line_and_an_event(status, line, name):
    assert status.sentence == line
    assert status.event == name
    assert json.loads(json.dumps(status.keys)) == status.keys
    assert not {"event", "time"} & set(status.keys)


def test_every_kind_of_status_is_among_these():
    # By name: a dataclass with slots is made twice.
    kinds = {kind.__name__ for kind in Status.__subclasses__()}

    assert {type(status).__name__ for status, _, _ in CASES} == kinds


def test_no_two_kinds_of_status_have_the_same_event():
    name_by_kind = {kind.__name__: kind.event for kind in Status.__subclasses__()}

    assert len(set(name_by_kind.values())) == len(name_by_kind)


def test_a_program_is_told_of_clients_in_fields():
    lost = ClientLeft(4, Departure.LOST, None, 60.2, 600.0)

    assert ClientJoined(4, True).keys == {
        "client": 4,
        "back": True,
        "token": None,
        "message": "client 4 is back",
    }
    assert lost.keys == {
        "client": 4,
        "reason": "lost",
        "detail": None,
        "may_come_back": True,
        "may_come_back_s": 600.0,
        "token": None,
        "message": lost.sentence,
    }
    assert not ClientLeft(4, Departure.LEFT).may_come_back
    assert Reconnected(12.3456).keys == {"after_s": 12.346, "message": "connected again"}


def test_a_program_is_told_of_a_target_in_fields():
    assert TargetUnreachable("db:5432", "it refused").keys == {
        "target": "db:5432",
        "reason": "it refused",
        "message": "cannot connect to db:5432: it refused; trying again for each new connection",
    }


def test_a_program_gets_the_relay_as_an_object():
    others = ("http://relay6:1",)
    ready = RelayReady(
        "http://relay:1", "http://relay:1/derpmap", "relay:2", others, {"HostName": "relay"}
    )

    assert ready.keys == {
        "url": "http://relay:1",
        "other_urls": ["http://relay6:1"],
        "derp_map_url": "http://relay:1/derpmap",
        "stun": "relay:2",
        "node": {"HostName": "relay"},
    }


def test_the_receipt_event_has_every_figure():
    assert RECEIPT.keys == {
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

    assert receipt.sentence == "received 0B, complete after 0.0 s, 0B/s, by direct 192.0.2.1:9"
    assert receipt.details == (
        "received 300B direct and 0B relayed with headers and repeats, 1 promotion, 0 stalls; "
        "XXH3-128 00"
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
    assert "dhp1_secret" not in repr(TokenIssued("dhp1_secret", WallTime(1000.0))) + repr(
        Instruction("dhp1_secret")
    )


def test_the_end_of_a_connection_is_one_line_and_one_event():
    clean = ForwardingEnded(3, "127.0.0.1:5000", 90, 36_335, 0.25, "done", None)
    refused = ForwardingEnded(None, "client 2", 0, 0, 0.0, "too many connections", 5)

    assert clean.sentence == (
        "connection 3 of 127.0.0.1:5000: sent 90B, received 35.5KiB in 0.2 s, done"
    )
    assert refused.sentence.startswith("connection of client 2: sent 0B, received 0B")
    assert clean.keys == {
        "connection": 3,
        "peer": "127.0.0.1:5000",
        "sent": 90,
        "received": 36_335,
        "seconds": 0.25,
        "reason": "done",
        "code": None,
    }
