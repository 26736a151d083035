"""The STUN codec against any bytes and any address."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import DecodeError
from tunnel.wire import stun

TRANSACTIONS = st.binary(min_size=12, max_size=12)
BODIES = st.binary(max_size=120)
PORTS = st.integers(0, 65535)
ENDPOINTS = st.tuples(st.ip_addresses(v=4).map(str), PORTS) | st.tuples(
    st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None).map(str), PORTS
)


@given(TRANSACTIONS, st.ip_addresses(), st.integers(0, 65535))
def test_a_response_comes_back(transaction, address, port):
    data = stun.encode_binding_response(transaction, str(address), port)

    answer = stun.decode_binding_response(data)

    mapped = getattr(address, "ipv4_mapped", None)
    assert answer == stun.BindingResponse(transaction, str(mapped or address), port)


@given(TRANSACTIONS, ENDPOINTS, st.none() | ENDPOINTS, st.none() | ENDPOINTS)
def test_a_response_comes_back_with_the_server_s_addresses(transaction, seen, origin, other):
    data = stun.encode_binding_response(transaction, *seen, origin, other)

    answer = stun.decode_binding_response(data)

    assert answer == stun.BindingResponse(transaction, *seen, origin, other)


@given(TRANSACTIONS, st.sampled_from([0, 2, 4, 6]).map(stun.Change))
def test_a_request_for_a_change_comes_back(transaction, change):
    request = stun.decode_binding_request(stun.encode_binding_request(transaction, change))

    assert request == stun.BindingRequest(transaction, True, change)


@given(TRANSACTIONS, BODIES, st.integers(0, 200))
def test_any_attributes_are_a_refusal_or_refused(transaction, body, stated):
    data = b"\x01\x11" + stated.to_bytes(2, "big") + stun.MAGIC_COOKIE + transaction + body
    try:
        refusal = stun.decode_binding_error(data)
    except DecodeError:
        return
    assert refusal.transaction_id == transaction
    assert 300 <= refusal.code <= 699


@given(TRANSACTIONS)
def test_a_request_comes_back_as_tailscale_s(transaction):
    request = stun.decode_binding_request(stun.encode_binding_request(transaction))

    assert request == stun.BindingRequest(transaction, True)


@given(st.one_of(BODIES, BODIES.map(lambda body: stun.encode_binding_request(bytes(12)) + body)))
def test_any_bytes_are_a_request_or_refused(data):
    try:
        request = stun.decode_binding_request(data)
    except DecodeError:
        return
    assert len(request.transaction_id) == 12


@given(TRANSACTIONS, BODIES, st.integers(0, 200))
def test_any_attributes_are_a_response_or_refused(transaction, body, stated):
    data = b"\x01\x01" + stated.to_bytes(2, "big") + stun.MAGIC_COOKIE + transaction + body
    try:
        response = stun.decode_binding_response(data)
    except DecodeError:
        return
    endpoints = [(response.address, response.port), response.origin, response.other]
    for address, port in filter(None, endpoints):
        ip_address(address)
        assert 0 <= port <= 65535


@given(BODIES)
def test_is_stun_takes_any_bytes(data):
    assert stun.is_stun(data) == (
        len(data) >= 20 and data[0] < 0x40 and data[4:8] == stun.MAGIC_COOKIE
    )
