"""NAT-PMP against the layouts of RFC 6886, written down by hand."""

import pytest

from tunnel.errors import DecodeError, Truncated, UnknownVersion
from tunnel.wire import natpmp

REQUESTS = [
    ("the address", natpmp.encode_address_request(), "0000"),
    ("a mapping", natpmp.encode_map_request(40000, 41000, 7200), "000100009c40a02800001c20"),
    ("a deletion", natpmp.encode_map_request(40000, 0, 0), "000100009c40000000000000"),
]

RESPONSES = [
    ("the address", natpmp.AddressResponse(8, "5.5.5.10"), "00800000000000080505050a"),
    (
        "a mapping",
        natpmp.MapResponse(4294967295, 40000, 41000, 3600),
        "00810000ffffffff9c40a02800000e10",
    ),
    ("a deletion", natpmp.MapResponse(9, 40000, 0, 0), "00810000000000099c40000000000000"),
    ("a refusal of full length", natpmp.Refusal(9, 1, 2), "00810002000000099c40000000000000"),
    ("a refusal without a body", natpmp.Refusal(7, 1, 4), "0081000400000007"),
    ("another version", natpmp.Refusal(7, 1, 1), "0081000100000007"),
    ("bytes behind the end", natpmp.AddressResponse(8, "5.5.5.10"), "00800000000000080505050aff"),
]


@pytest.mark.parametrize(
    ("data", "expected"), [row[1:] for row in REQUESTS], ids=[r[0] for r in REQUESTS]
)
def test_a_request_is_as_the_rfc_draws_it(data, expected):
    assert data.hex() == expected


@pytest.mark.parametrize(
    ("value", "data"), [row[1:] for row in RESPONSES], ids=[r[0] for r in RESPONSES]
)
def test_a_response_is_read(value, data):
    assert natpmp.decode_response(bytes.fromhex(data)) == value


@pytest.mark.parametrize("row", RESPONSES[:3], ids=[r[0] for r in RESPONSES[:3]])
def test_a_response_that_is_cut_is_refused_everywhere(row):
    data = bytes.fromhex(row[2])
    for size in range(len(data)):
        with pytest.raises(Truncated):
            natpmp.decode_response(data[:size])


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("0280000000000008", UnknownVersion),
        ("0000", DecodeError),  # our own question, come back
        ("000100009c40a02800001c20", DecodeError),
        ("00820000000000089c40a02800001c20", DecodeError),  # TCP, which is never asked for
    ],
)
def test_what_is_no_answer_to_us_is_refused(data, error):
    with pytest.raises(error):
        natpmp.decode_response(bytes.fromhex(data))
