"""PCP against the layouts of RFC 6887, written down by hand."""

import pytest

from tunnel.errors import DecodeError, Truncated, UnknownVersion
from tunnel.wire import pcp

NONCE = bytes(range(12))
NONCE_HEX = NONCE.hex()
V4 = "00000000000000000000ffff"
ANY_V6 = "00" * 16

REQUESTS = [
    (
        "a mapping",
        pcp.encode_map_request("10.0.1.2", pcp.MapBody(NONCE, 17, 40000, 40001, "0.0.0.0"), 7200),
        f"0201000000001c20{V4}0a000102{NONCE_HEX}110000009c409c41{V4}00000000",
    ),
    (
        "a renewal",
        pcp.encode_map_request("10.0.1.2", pcp.MapBody(NONCE, 17, 40000, 40005, "5.5.5.10"), 7200),
        f"0201000000001c20{V4}0a000102{NONCE_HEX}110000009c409c45{V4}0505050a",
    ),
    (
        "a deletion",
        pcp.encode_map_request("10.0.1.2", pcp.MapBody(NONCE, 17, 40000, 0, "0.0.0.0"), 0),
        f"0201000000000000{V4}0a000102{NONCE_HEX}110000009c400000{V4}00000000",
    ),
    (
        "IPv6",
        pcp.encode_map_request("2001:db8::2", pcp.MapBody(NONCE, 17, 40000, 40000, "::"), 7200),
        f"0201000000001c2020010db8000000000000000000000002{NONCE_HEX}110000009c409c40{ANY_V6}",
    ),
]

HEADER_TAIL = "00" * 12
RESPONSES = [
    (
        "a mapping",
        pcp.Response(1, 0, 60, 8, pcp.MapBody(NONCE, 17, 40000, 40005, "5.5.5.10")),
        f"028100000000003c00000008{HEADER_TAIL}{NONCE_HEX}110000009c409c45{V4}0505050a",
    ),
    (
        "an IPv6 mapping",
        pcp.Response(1, 0, 60, 8, pcp.MapBody(NONCE, 17, 40000, 40000, "2001:db8::2")),
        f"028100000000003c00000008{HEADER_TAIL}{NONCE_HEX}110000009c409c40"
        "20010db8000000000000000000000002",
    ),
    (
        "a refusal that repeats the request",
        pcp.Response(1, 12, 1800, 9, pcp.MapBody(NONCE, 17, 40000, 0, "0.0.0.0")),
        f"0281000c0000070800000009{HEADER_TAIL}{NONCE_HEX}110000009c400000{V4}00000000",
    ),
    (
        "a refusal without a body",
        pcp.Response(0, 1, 30, 9, None),
        f"028000010000001e00000009{HEADER_TAIL}",
    ),
    (
        "an announcement",
        pcp.Response(0, 0, 0, 1, None),
        f"028000000000000000000001{HEADER_TAIL}",
    ),
]


@pytest.mark.parametrize(
    ("data", "expected"), [row[1:] for row in REQUESTS], ids=[r[0] for r in REQUESTS]
)
def test_a_request_is_as_the_rfc_draws_it(data, expected):
    assert data.hex() == expected
    assert len(data) == 60


@pytest.mark.parametrize(
    ("value", "data"), [row[1:] for row in RESPONSES], ids=[r[0] for r in RESPONSES]
)
def test_a_response_is_read(value, data):
    assert pcp.decode_response(bytes.fromhex(data)) == value


def test_options_behind_the_body_are_ignored():
    value, data = RESPONSES[0][1:]

    assert pcp.decode_response(bytes.fromhex(data) + bytes.fromhex("02000000")) == value


def test_a_response_that_is_cut_is_refused_everywhere():
    data = bytes.fromhex(RESPONSES[0][2])
    for size in range(len(data)):
        with pytest.raises(Truncated):
            pcp.decode_response(data[:size])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (bytes.fromhex("0081000100000007"), UnknownVersion),  # NAT-PMP
        (bytes.fromhex(REQUESTS[0][2]), DecodeError),  # our own question, come back
        (bytes.fromhex(RESPONSES[0][2]) + bytes(1101), DecodeError),
    ],
)
def test_what_is_no_answer_to_us_is_refused(data, error):
    with pytest.raises(error):
        pcp.decode_response(data)
