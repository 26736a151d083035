"""The DERP client machine: login, refusals, and when silence means death."""

import pytest
from support.derp_login import (
    CLIENT,
    PING,
    SERVER,
    START,
    acceptance,
    entropy,
    greeting,
    hear,
)

from tunnel.crypto.keys import DerpKey
from tunnel.errors import RelayRefused, RelayUnreachable
from tunnel.proto.relay_client.derp_client import (
    ClientState,
    Connected,
    DerpClient,
    HealthChanged,
    PacketArrived,
)
from tunnel.proto.token_bucket import Allowance
from tunnel.units import Instant
from tunnel.wire import derp
from tunnel.wire.derp import FrameType, GoneReason, PeerGone, Restarting

PEER = DerpKey(b"\x55" * 32)
DEADLINE = Instant(START + 10.0)

# The login of CLIENT to SERVER with nonce 33*24.
LOGIN_VECTOR = bytes.fromhex(
    "0200000068"
    "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13" + "33" * 24 + ""
    "0cac76b82cb75df3a51a9d802720c3384d3eb8fccc9a8433ce902111b5d68524"
    "935652b1a16fbfc21be3b4a3ed66992a"
)


def receive(client, now, data):
    client.feed(data)
    return list(client.received(Instant(now), len(data) and 0))


def connected_client(message=b'{"version":2}'):
    client = DerpClient(CLIENT, entropy, START, DEADLINE)
    hear(client, START, greeting())
    hear(client, START, acceptance(message))
    client.frames_to_send()
    return client


# ---- login ----


def test_the_login_is_the_known_vector_and_is_sent_once_greeted():
    client = DerpClient(CLIENT, entropy, START, DEADLINE)
    assert client.frames_to_send() == []

    assert hear(client, START, greeting()) == []

    assert client.frames_to_send() == [LOGIN_VECTOR]
    assert client.frames_to_send() == []
    assert client.state is ClientState.AWAITS_ACCEPTANCE


def test_the_server_info_makes_it_connected():
    client = DerpClient(CLIENT, entropy, START, DEADLINE)

    events = hear(client, START, greeting()) + hear(client, START, acceptance())

    assert events == [Connected(limit=None)]
    assert client.state is ClientState.CONNECTED


def test_a_greeting_that_came_with_the_http_head_counts():
    client = DerpClient(CLIENT, entropy, START, DEADLINE)

    receive(client, START, greeting())

    assert client.frames_to_send() == [LOGIN_VECTOR]


def test_a_longer_greeting_of_a_newer_server_is_accepted():
    client = DerpClient(CLIENT, entropy, START, DEADLINE)

    hear(client, START, derp.encode_frame(1, derp.MAGIC, SERVER.public, b"and more"))

    assert client.state is ClientState.AWAITS_ACCEPTANCE


def test_the_rate_that_a_relay_asks_for_is_reported():
    client = DerpClient(CLIENT, entropy, START, DEADLINE)
    message = b'{"version":2,"tokenbucketbytespersecond":1000,"TokenBucketBytesBurst":500}'
    hear(client, START, greeting())

    assert hear(client, START, acceptance(message)) == [Connected(Allowance(1000, 500))]


@pytest.mark.parametrize(
    "members",
    ['"TokenBucketBytesPerSecond":0,"TokenBucketBytesBurst":1', '"TokenBucketBytesPerSecond":5',
     '"TokenBucketBytesPerSecond":"x","TokenBucketBytesBurst":true'],
)  # fmt: skip
def test_a_rate_that_makes_no_sense_is_no_limit(members):
    client = DerpClient(CLIENT, entropy, START, DEADLINE)
    hear(client, START, greeting())

    assert hear(client, START, acceptance(b"{%b}" % members.encode())) == [Connected(None)]


def test_the_end_of_the_stream_after_our_login_means_that_our_key_is_refused():
    client = DerpClient(CLIENT, entropy, START, DEADLINE)
    hear(client, START, greeting())

    with pytest.raises(RelayRefused, match="refused our key"):
        client.handle_eof()


def test_the_end_of_the_stream_before_the_greeting_or_later_means_something_else():
    with pytest.raises(RelayUnreachable, match="before its DERP greeting"):
        DerpClient(CLIENT, entropy, START, DEADLINE).handle_eof()
    with pytest.raises(RelayUnreachable, match="closed the connection$"):
        connected_client().handle_eof()


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        derp.encode_frame(FrameType.KEEP_ALIVE),
        derp.encode_frame(FrameType.SERVER_KEY, b"X" * 40),
        derp.encode_frame(FrameType.SERVER_KEY, derp.MAGIC, b"short"),
        greeting(bytes(32)),
        greeting(b"\x01" + bytes(31)),
        greeting() + derp.encode_frame(FrameType.SERVER_INFO, b"short"),
        greeting() + derp.encode_frame(FrameType.SERVER_INFO, bytes(60)),
        greeting() + acceptance(b"no json"),
        greeting() + acceptance(b"[]"),
        greeting() + b"\x03\xff\xff\xff\xff",
    ],
)
def test_a_login_that_goes_wrong_is_no_derp_server(data):
    client = DerpClient(CLIENT, entropy, START, DEADLINE)

    with pytest.raises(RelayRefused, match="does not speak DERP"):
        hear(client, START, data)


def test_a_server_that_never_greets_or_never_answers_has_its_time():
    client = DerpClient(CLIENT, entropy, START, DEADLINE)
    assert client.next_timeout() == START + 10.0
    client.handle_timeout(Instant(START + 9.9))

    with pytest.raises(RelayUnreachable, match="sent no DERP greeting in 10 s"):
        client.handle_timeout(Instant(START + 10.0))

    hear(client, START, greeting())
    with pytest.raises(RelayUnreachable, match="did not answer our login in 10 s"):
        client.handle_timeout(Instant(START + 10.0))


# ---- frames ----


def test_packets_come_out_in_order_without_a_copy():
    client = connected_client()
    frames = b"".join(
        derp.encode_frame(FrameType.RECV_PACKET, PEER, packet) for packet in (b"one", b"", b"two")
    )
    room = client.writable()
    room[: len(frames)] = frames

    events = list(client.received(START, len(frames)))

    assert [(event.source, bytes(event.packet)) for event in events] == [
        (PEER, b"one"),
        (PEER, b""),
        (PEER, b"two"),
    ]
    assert all(type(event) is PacketArrived for event in events)
    assert isinstance(events[0].packet, memoryview)


def test_a_packet_before_the_acceptance_is_ignored():
    client = DerpClient(CLIENT, entropy, START, DEADLINE)
    hear(client, START, greeting())

    assert hear(client, START, derp.encode_frame(FrameType.RECV_PACKET, PEER, b"early")) == []


def test_a_packet_shorter_than_its_key_ends_the_connection():
    with pytest.raises(RelayRefused, match="broke the DERP protocol"):
        hear(connected_client(), START, derp.encode_frame(FrameType.RECV_PACKET, b"short"))


def test_a_ping_is_answered_with_its_first_eight_bytes():
    client = connected_client()

    hear(client, START, derp.encode_frame(FrameType.PING, b"12345678 and more"))

    assert client.frames_to_send() == [derp.encode_frame(FrameType.PONG, b"12345678")]


@pytest.mark.parametrize(
    ("kind", "payload", "event"),
    [
        (FrameType.PEER_GONE, PEER + b"\x01", PeerGone(PEER, GoneReason.NOT_HERE)),
        (FrameType.PEER_GONE, PEER, PeerGone(PEER, GoneReason.DISCONNECTED)),
        (FrameType.RESTARTING, bytes.fromhex("000005dc00002710"), Restarting(1.5, 10.0)),
        (FrameType.HEALTH, b"d\xc3\xbcplicate\x07\xff", HealthChanged("d\u00fcplicate?\ufffd")),
        (FrameType.HEALTH, b"", HealthChanged("")),
    ],
)
def test_what_the_relay_reports_becomes_an_event(kind, payload, event):
    assert hear(connected_client(), START, derp.encode_frame(kind, payload)) == [event]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (FrameType.KEEP_ALIVE, b""),
        (FrameType.PONG, b"12345678"),
        (FrameType.PING, b"short"),
        (FrameType.PEER_GONE, b"short"),
        (FrameType.RESTARTING, b"short"),
        (FrameType.SERVER_KEY, b""),
        (FrameType.SERVER_INFO, b""),
        (FrameType.PEER_PRESENT, b"x" * 50),
        (0xFE, b"from the future"),
    ],
)
def test_everything_else_is_ignored(kind, payload):
    client = connected_client()

    assert hear(client, START, derp.encode_frame(kind, payload)) == []
    assert client.frames_to_send() == []


# ---- silence ----


def test_an_idle_connection_is_pinged_after_25_to_30_s():
    low = connected_client()
    high = DerpClient(CLIENT, lambda size: b"\xff" * size, START, DEADLINE)

    assert low.next_timeout() == START + 26.0  # 0x33 / 0xff of the spread
    low.handle_timeout(low.next_timeout())
    assert low.frames_to_send() == [PING]
    hear(high, START, greeting())
    hear(high, START, acceptance())
    assert high.next_timeout() == START + 30.0


def test_a_timeout_that_comes_early_does_nothing():
    client = connected_client()

    client.handle_timeout(Instant(client.next_timeout() - 0.001))

    assert client.frames_to_send() == []


def test_bytes_that_arrive_put_the_idle_ping_off():
    client = connected_client()

    hear(client, START + 20, derp.encode_frame(FrameType.KEEP_ALIVE))

    assert client.next_timeout() == START + 20 + 26.0


def test_120_s_of_silence_end_a_connection_even_if_nothing_is_awaited():
    client = connected_client()
    now = START

    with pytest.raises(RelayUnreachable, match="has been silent for 120 s"):
        while True:
            now = client.next_timeout()
            client.handle_timeout(now)

    assert now == START + 120.0


def test_with_data_outstanding_5_s_of_silence_bring_a_ping_and_5_more_the_end():
    client = connected_client()
    client.set_awaited(Instant(START + 3), is_awaited=True)

    assert client.next_timeout() == START + 3 + 5.0
    client.handle_timeout(client.next_timeout())
    assert client.frames_to_send() == [PING]
    assert client.next_timeout() == START + 13
    client.handle_timeout(Instant(START + 12.9))
    with pytest.raises(RelayUnreachable, match="has been silent for 13 s"):
        client.handle_timeout(Instant(START + 13))


def test_any_byte_clears_the_suspicion():
    client = connected_client()
    client.set_awaited(START, is_awaited=True)
    client.handle_timeout(Instant(START + 5))

    hear(client, START + 9, b"\x06")  # not even a whole frame

    client.handle_timeout(Instant(START + 10))
    assert client.next_timeout() == START + 9 + 5.0


def test_nothing_outstanding_means_no_suspicion():
    client = connected_client()
    client.set_awaited(START, is_awaited=True)
    client.set_awaited(START, is_awaited=False)

    client.handle_timeout(Instant(START + 6))

    assert client.frames_to_send() == []


def test_outstanding_data_counts_from_when_it_began_to_be_outstanding():
    client = connected_client()
    client.set_awaited(START, is_awaited=True)
    client.set_awaited(Instant(START + 4), is_awaited=True)

    assert client.next_timeout() == START + 5.0


def test_a_demand_pings_at_once_and_ends_after_5_s_of_silence():
    client = connected_client()

    client.demand_answer(Instant(START + 1))

    assert client.frames_to_send() == [PING]
    assert client.next_timeout() == START + 6
    with pytest.raises(RelayUnreachable):
        client.handle_timeout(Instant(START + 6))


def test_a_demand_before_the_login_waits_for_the_login():
    client = DerpClient(CLIENT, entropy, START, DEADLINE)

    client.demand_answer(START)

    assert client.frames_to_send() == []
