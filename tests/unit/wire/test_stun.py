"""The STUN codec against byte strings written down by hand or captured from other servers."""

from contextlib import suppress

import pytest

from tunnel.errors import DecodeError
from tunnel.wire import stun

TRANSACTION = bytes(range(1, 13))
REQUEST = bytes.fromhex(
    "000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f"
)
RESPONSE = bytes.fromhex("0101000c2112a4420102030405060708090a0b0c002000080001f523ea12d547")
PLAIN_REQUEST = bytes.fromhex("000100002112a442") + TRANSACTION


def response(*attributes, stated=None):
    body = b"".join(attributes)
    size = len(body) if stated is None else stated
    return b"\x01\x01" + size.to_bytes(2, "big") + stun.MAGIC_COOKIE + TRANSACTION + body


def attribute(kind, value):
    padding = bytes(-len(value) % 4)
    return kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + padding


def test_a_request_is_the_forty_bytes_that_derper_accepts():
    assert stun.encode_binding_request(TRANSACTION) == REQUEST
    assert stun.decode_binding_request(REQUEST) == stun.BindingRequest(TRANSACTION, True)


def test_an_ipv4_response_is_what_derper_sends():
    assert stun.encode_binding_response(TRANSACTION, "203.0.113.5", 54321) == RESPONSE
    assert stun.decode_binding_response(RESPONSE) == stun.BindingResponse(
        TRANSACTION, "203.0.113.5", 54321
    )


def test_an_ipv6_response_has_44_bytes_and_comes_back():
    # RFC 5769 section 2.3: 2001:db8:1234:5678:11:2233:4455:6677, port 32853, of its transaction.
    transaction = bytes.fromhex("b7e7a701bc34d686fa87dfae")
    value = bytes.fromhex("0002a1470113a9faa5d3f179bc25f4b5bed2b9d9")
    expected = (
        bytes.fromhex("010100182112a442") + transaction + attribute(stun.XOR_MAPPED_ADDRESS, value)
    )
    address = "2001:db8:1234:5678:11:2233:4455:6677"

    assert stun.encode_binding_response(transaction, address, 32853) == expected
    assert len(expected) == 44
    assert stun.decode_binding_response(expected) == stun.BindingResponse(
        transaction, address, 32853
    )


def test_the_rfc_5769_response_with_other_attributes_is_read():
    data = bytes.fromhex(
        "0101003c2112a442b7e7a701bc34d686fa87dfae"
        "8022000b7465737420766563746f7220"
        "002000080001a147e112a643"
        "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
        "80280004c07d4c96"
    )

    answer = stun.decode_binding_response(data)

    assert (answer.address, answer.port) == ("192.0.2.1", 32853)


def test_a_plain_request_is_read_and_not_taken_for_tailscale():
    assert stun.decode_binding_request(PLAIN_REQUEST) == stun.BindingRequest(TRANSACTION, False)


def test_tailscale_software_without_a_fingerprint_is_a_plain_request():
    body = attribute(stun.SOFTWARE, b"tailnode")
    data = b"\x00\x01\x00\x0c" + stun.MAGIC_COOKIE + TRANSACTION + body

    assert not stun.decode_binding_request(data).is_tailscale


@pytest.mark.parametrize("position", range(len(REQUEST)))
def test_a_changed_byte_never_passes_as_a_tailscale_request(position):
    data = bytearray(REQUEST)
    data[position] ^= 0x01

    with suppress(DecodeError):
        assert not stun.decode_binding_request(data).is_tailscale


@pytest.mark.parametrize(
    "data",
    [
        REQUEST[:-1],
        REQUEST + b"\x00",
        PLAIN_REQUEST[:19],
        RESPONSE,
        b"",
        # An attribute that must be understood (DONT-FRAGMENT), and a CHANGE-REQUEST of 3 bytes.
        b"\x00\x01\x00\x04" + stun.MAGIC_COOKIE + TRANSACTION + attribute(0x001A, b""),
        b"\x00\x01\x00\x08" + stun.MAGIC_COOKIE + TRANSACTION + attribute(0x0003, bytes(3)),
        # An attribute longer than the datagram.
        b"\x00\x01\x00\x04" + stun.MAGIC_COOKIE + TRANSACTION + bytes.fromhex("80220008"),
    ],
)
def test_damaged_requests_are_refused(data):
    with pytest.raises(DecodeError):
        stun.decode_binding_request(data)


def test_a_request_that_goes_on_behind_its_fingerprint_is_refused():
    extra = attribute(stun.SOFTWARE, b"x")
    data = REQUEST[:2] + (20 + len(extra)).to_bytes(2, "big") + REQUEST[4:] + extra

    with pytest.raises(DecodeError):
        stun.decode_binding_request(data)


def test_bytes_behind_the_stated_length_are_ignored():
    assert stun.decode_binding_response(RESPONSE + b"trailing").port == 54321


def test_the_draft_number_of_the_address_attribute_is_read():
    value = RESPONSE[24:]

    answer = stun.decode_binding_response(response(attribute(stun.XOR_MAPPED_ADDRESS_OLD, value)))

    assert (answer.address, answer.port) == ("203.0.113.5", 54321)


def test_an_old_server_s_plain_address_is_read_and_loses_against_the_masked_one():
    plain = attribute(stun.MAPPED_ADDRESS, bytes.fromhex("00011234c6336401"))
    masked = attribute(stun.XOR_MAPPED_ADDRESS, RESPONSE[24:])

    only_plain = stun.decode_binding_response(response(plain))
    both = stun.decode_binding_response(response(plain, masked))

    assert (only_plain.address, only_plain.port) == ("198.51.100.1", 0x1234)
    assert both.address == "203.0.113.5"


def test_a_mapped_ipv6_source_is_answered_and_read_as_ipv4():
    data = stun.encode_binding_response(TRANSACTION, "::ffff:203.0.113.5", 54321)
    value = bytes.fromhex("00021234") + bytes(10) + bytes.fromhex("ffffc6336401")
    mapped = response(attribute(stun.MAPPED_ADDRESS, value))

    assert data == RESPONSE
    assert stun.decode_binding_response(mapped).address == "198.51.100.1"


@pytest.mark.parametrize(
    "data",
    [
        response(),
        response(attribute(stun.SOFTWARE, b"none here")),
        response(attribute(stun.XOR_MAPPED_ADDRESS, b"\x00\x03" + bytes(6))),
        response(attribute(stun.XOR_MAPPED_ADDRESS, b"\x00\x02" + bytes(6))),
        response(attribute(stun.XOR_MAPPED_ADDRESS, b"\x00")),
        response(attribute(stun.XOR_MAPPED_ADDRESS, RESPONSE[24:]), stated=64),
        REQUEST,
        RESPONSE[:19],
    ],
)
def test_damaged_responses_are_refused(data):
    with pytest.raises(DecodeError):
        stun.decode_binding_response(data)


# --- RFC 5780 --------------------------------------------------------------------------------

CHANGES = [
    (stun.Change.PORT, "00000002"),
    (stun.Change.ADDRESS, "00000004"),
    (stun.Change.ADDRESS | stun.Change.PORT, "00000006"),
]
# From coturn 4.6.1 with two addresses, asked from 10.0.1.2:40000, plainly and for both changes.
COTURN_PLAIN = bytes.fromhex(
    "010100502112a4420102030405060708090a0b0c002000080001bd522b12a5400001000800019c400a000102"
    "802b000800010d96cb007101802c000800010d97cb00710280220014436f7475726e2d342e362e312027476f7273"
    "7427"
    "8028000412aec83c"
)
COTURN_CHANGED = bytes.fromhex(
    "010100482112a4420102030405060708090a0b0c002000080001bd522b12a5400001000800019c400a000102"
    "802b000800010d97cb007102802c000800010d97cb00710280220014436f7475726e2d342e362e312027476f7273"
    "7427"
)
COTURN_ERROR = bytes.fromhex(
    "0111003c2112a4420102030405060708090a0b0c0009001800000414556e6b6e6f776e2041747472696275746500"
    "0000000a00027fff000080220014436f7475726e2d342e362e312027476f72737427"
)


@pytest.mark.parametrize(("change", "value"), CHANGES)
def test_a_request_for_a_change_has_48_bytes_and_comes_back(change, value):
    data = stun.encode_binding_request(TRANSACTION, change)

    assert len(data) == 48
    assert data[:28] == bytes.fromhex(f"0001001c2112a442{TRANSACTION.hex()}00030004{value}")[:28]
    assert stun.decode_binding_request(data) == stun.BindingRequest(TRANSACTION, True, change)


def test_a_request_for_both_changes_is_these_bytes():
    assert stun.encode_binding_request(TRANSACTION, CHANGES[2][0]) == bytes.fromhex(
        "0001001c2112a4420102030405060708090a0b0c0003000400000006802200087461696c6e6f6465"
        "802800042ed0ee7b"
    )


def test_no_change_is_the_usual_request_and_other_bits_mean_nothing():
    assert stun.encode_binding_request(TRANSACTION, stun.Change.NOTHING) == REQUEST
    body = attribute(stun.CHANGE_REQUEST, bytes.fromhex("fffffff9"))
    data = b"\x00\x01\x00\x08" + stun.MAGIC_COOKIE + TRANSACTION + body

    assert stun.decode_binding_request(data).change is stun.Change.NOTHING


def test_what_coturn_tells_of_its_addresses_is_read():
    plain = stun.decode_binding_response(COTURN_PLAIN)
    changed = stun.decode_binding_response(COTURN_CHANGED)

    first, other = ("203.0.113.1", 3478), ("203.0.113.2", 3479)
    assert plain == stun.BindingResponse(TRANSACTION, "10.0.1.2", 40000, first, other)
    assert changed == stun.BindingResponse(TRANSACTION, "10.0.1.2", 40000, other, other)


def test_a_response_with_both_addresses_is_these_bytes():
    data = stun.encode_binding_response(
        TRANSACTION, "203.0.113.5", 54321, ("203.0.113.1", 3478), ("2001:db8::2", 3479)
    )

    assert data == b"\x01\x01\x00\x30" + RESPONSE[4:] + bytes.fromhex(
        "802b000800010d96cb007101802c001400020d9720010db8000000000000000000000002"
    )
    read = stun.decode_binding_response(data)
    assert (read.origin, read.other) == (("203.0.113.1", 3478), ("2001:db8::2", 3479))


def test_the_first_of_an_attribute_counts():
    more = attribute(stun.XOR_MAPPED_ADDRESS, bytes.fromhex("000100000a000001"))
    others = [
        attribute(stun.OTHER_ADDRESS, bytes.fromhex(f"00010d97cb0071{last:02x}")) for last in (2, 3)
    ]
    masked = attribute(stun.XOR_MAPPED_ADDRESS, RESPONSE[24:])

    answer = stun.decode_binding_response(response(masked, more, *others))

    assert answer.address == "203.0.113.5"
    assert answer.other == ("203.0.113.2", 3479)


def test_a_refusal_of_coturn_is_read():
    assert stun.decode_binding_error(COTURN_ERROR) == stun.BindingError(TRANSACTION, 420)


@pytest.mark.parametrize(
    "data",
    [
        RESPONSE,
        COTURN_ERROR[:-1],
        b"\x01\x11\x00\x00" + stun.MAGIC_COOKIE + TRANSACTION,
        b"\x01\x11\x00\x06" + stun.MAGIC_COOKIE + TRANSACTION + attribute(stun.ERROR_CODE, b"\0\0"),
        b"\x01\x11\x00\x08"
        + stun.MAGIC_COOKIE
        + TRANSACTION
        + attribute(stun.ERROR_CODE, bytes.fromhex("00000214")),
    ],
)
def test_damaged_refusals_are_refused(data):
    with pytest.raises(DecodeError):
        stun.decode_binding_error(data)


def test_a_damaged_other_address_spoils_the_response():
    masked = attribute(stun.XOR_MAPPED_ADDRESS, RESPONSE[24:])

    with pytest.raises(DecodeError):
        stun.decode_binding_response(response(masked, attribute(stun.OTHER_ADDRESS, b"\0\1")))


def test_stun_is_told_from_disco_and_from_data():
    assert stun.is_stun(REQUEST)
    assert stun.is_stun(memoryview(RESPONSE))
    assert not stun.is_stun(bytes.fromhex("5453f09f92ac") + bytes(60))
    assert not stun.is_stun(b"\x80" + REQUEST[1:])
    assert not stun.is_stun(REQUEST[:19])
