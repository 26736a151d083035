"""Which STUN requests are answered, on a clock moved by hand."""

from tunnel.proto.relay_server.source_network import (
    is_loopback,
    is_unspecified,
    plain_address,
    source_network,
)
from tunnel.proto.relay_server.stun_responder import (
    AMPLIFYING_ALLOWANCE,
    AMPLIFYING_TOTAL,
    NETWORK_ALLOWANCE,
    StunResponder,
)
from tunnel.wire import stun

TAILSCALE = stun.encode_binding_request(bytes(12))
PLAIN = TAILSCALE[:2] + b"\0\0" + TAILSCALE[4:20]
PADDED = TAILSCALE[:2] + b"\0\x10" + TAILSCALE[4:20] + bytes.fromhex("8022000c") + b"any software"


def answered(responder, data, count, address="192.0.2.1", now=0.0):
    return sum(responder.answer(now, data, address, 1000) is not None for _ in range(count))


def test_both_request_forms_are_answered_with_the_source():
    responder = StunResponder(now=0.0)

    for request in (TAILSCALE, PLAIN, PADDED):
        answer = stun.decode_binding_response(responder.answer(0.0, request, "192.0.2.1", 4000))
        assert (answer.address, answer.port) == ("192.0.2.1", 4000)


def test_an_ipv6_source_with_a_zone_and_a_mapped_one_are_answered():
    responder = StunResponder(now=0.0)

    scoped = stun.decode_binding_response(responder.answer(0.0, PLAIN, "fe80::1%eth0", 1))
    mapped = stun.decode_binding_response(responder.answer(0.0, PLAIN, "::ffff:192.0.2.9", 1))

    assert scoped.address == "fe80::1"
    assert mapped.address == "192.0.2.9"


def test_anything_else_is_met_with_silence():
    responder = StunResponder(now=0.0)

    assert responder.answer(0.0, b"", "192.0.2.1", 1) is None
    assert responder.answer(0.0, TAILSCALE[:-1], "192.0.2.1", 1) is None
    assert responder.dropped_malformed == 2


def test_a_request_for_an_answer_from_elsewhere_is_met_with_silence():
    responder = StunResponder(now=0.0)
    for change in (stun.Change.PORT, stun.Change.ADDRESS):
        request = stun.encode_binding_request(bytes(12), change)
        assert responder.answer(0.0, request, "192.0.2.1", 1) is None

    assert responder.dropped_malformed == 2


def test_a_network_has_a_generous_allowance():
    responder = StunResponder(now=0.0)
    burst = int(NETWORK_ALLOWANCE.burst)

    assert answered(responder, TAILSCALE, burst + 50) == burst
    assert answered(responder, TAILSCALE, 5, address="192.0.2.99") == 0
    assert answered(responder, TAILSCALE, 5, address="192.0.3.1") == 5
    assert answered(responder, TAILSCALE, 500, now=1.0) == NETWORK_ALLOWANCE.rate


def test_requests_that_would_amplify_have_a_small_allowance():
    responder = StunResponder(now=0.0)

    assert answered(responder, PLAIN, 100) == AMPLIFYING_ALLOWANCE.burst
    assert answered(responder, PADDED, 100) == 100


def test_amplifying_requests_of_all_networks_share_an_allowance():
    responder = StunResponder(now=0.0)
    count = int(AMPLIFYING_TOTAL.burst)

    total = sum(
        answered(responder, PLAIN, 1, address=f"10.{number >> 8}.{number & 255}.1")
        for number in range(count + 100)
    )

    assert total == count


def test_an_ipv6_network_is_a_64():
    assert source_network("2001:db8:1:2:3::1") == source_network("2001:db8:1:2:ffff::1")
    assert source_network("2001:db8:1:2::1") != source_network("2001:db8:1:3::1")
    assert source_network("192.0.2.1") == bytes((192, 0, 2))


def test_addresses_are_told_apart():
    assert plain_address("::ffff:127.0.0.1") == "127.0.0.1"
    assert is_loopback("127.9.9.9")
    assert is_loopback("::1")
    assert not is_loopback("192.0.2.1")
    assert is_unspecified("::")
    assert is_unspecified("0.0.0.0")
    assert not is_unspecified("::1")
