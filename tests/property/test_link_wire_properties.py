"""The codecs of the link: any bytes are a value or refused, and every value comes back."""

from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import DecodeError
from tunnel.wire import derp, frames, handshake
from tunnel.wire import packet as layout
from tunnel.wire.reader import Reader

U8, U16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
U32, U64 = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
KEYS = st.binary(min_size=32, max_size=32)
TOKENS = st.binary(min_size=8, max_size=8)
IPS = st.ip_addresses().map(lambda ip: str(getattr(ip, "ipv4_mapped", None) or ip))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@st.composite
def acks(draw):
    """Ranges of any widths and gaps, highest first."""
    last = draw(st.integers(0, (1 << 62) - 1))
    ranges = []
    for _ in range(draw(st.integers(1, 65))):
        first = last - draw(st.integers(0, 1000))
        if first < 0:
            break
        ranges.append((first, last))
        last = first - 1 - draw(st.integers(1, 1000))
        if last < 0:
            break
    return frames.Ack(draw(U16), draw(U8), draw(U32), tuple(ranges or [(0, 0)]))


@st.composite
def stream_data(draw):
    data = draw(st.binary(max_size=100))
    offset = draw(st.integers(0, frames.MAX_OFFSET - len(data)))
    return frames.StreamData(draw(U64), offset, data, draw(st.booleans()))


CANDIDATES = st.builds(frames.Candidate, U8, IPS, U16)
FRAMES = st.one_of(
    st.just(frames.Ping()),
    acks(),
    stream_data(),
    st.builds(frames.Challenge, TOKENS),
    st.builds(frames.Answer, TOKENS, IPS, U16),
    st.builds(frames.Candidates, st.lists(CANDIDATES, max_size=32).map(tuple)),
    st.builds(frames.ReceiveBuffer, U32),
    st.builds(frames.Reset, U64, U64, U32),
    st.builds(frames.Stop, U64, U32),
    st.builds(frames.Credit, U64, U64, U32),
    st.builds(frames.Recall, U64, U64, U32),
    st.builds(frames.Return, U64, U64, U32),
    st.builds(frames.Rekey, KEYS),
    st.builds(frames.RekeyAnswer, KEYS),
    st.builds(
        lambda flow, number, data: frames.Datagram(flow, number, 0, len(data), data),
        U64,
        U32,
        st.binary(max_size=100),
    ),
    st.builds(frames.Close, U16, TEXTS),
)


@given(st.lists(FRAMES, max_size=8))
def test_frames_come_back(values):
    packed = b"".join(frames.encode(frame) for frame in values)

    assert frames.decode_frames(packed) == values


@given(st.one_of(st.binary(max_size=200), st.lists(FRAMES, max_size=4).flatmap(
    lambda values: st.binary(max_size=40).map(
        lambda tail: b"".join(map(frames.encode, values)) + tail))))  # fmt: skip
def test_any_bytes_are_frames_or_refused(data):
    try:
        values = frames.decode_frames(data)
    except DecodeError:
        return
    again = b"".join(frames.encode(frame) for frame in values)
    assert frames.decode_frames(again) == values
    assert len(values) <= len(data)


@given(acks())
def test_ack_ranges_are_downwards_disjoint_and_apart(ack):
    (decoded,) = frames.decode_frames(frames.encode(ack))

    below = None
    for first, last in decoded.ranges:
        assert first <= last
        assert below is None or last < below - 1
        below = first


@given(st.lists(st.tuples(U64, U64), min_size=1, max_size=70))
def test_an_ack_of_any_ranges_can_be_told_and_tells_nothing_untrue(pairs):
    numbers = sorted({number for pair in pairs for number in pair})
    ranges = [(n, n) for n in numbers if n % 3]
    ranges = [pair for i, pair in enumerate(ranges) if not i or pair[0] > ranges[i - 1][1] + 1]
    ranges = ranges[::-1] or [(5, 1 << 50)]

    (decoded,) = frames.decode_frames(frames.encode(frames.Ack(0, 0, 0, tuple(ranges))))

    assert decoded.ranges[0][1] == ranges[0][1]
    for first, last in decoded.ranges:
        assert any(start <= first and last <= stop for start, stop in ranges)


@given(st.text(max_size=300), U16)
def test_any_text_can_be_the_last_word(text, code):
    (close,) = frames.decode_frames(frames.encode(frames.Close(code, text)))

    assert len(close.text.encode()) <= frames.MAX_CLOSE_TEXT
    if text.isascii() and len(text) <= frames.MAX_CLOSE_TEXT:
        assert close.text == text


FRONT = (KEYS, st.binary(min_size=80, max_size=80), st.binary(min_size=16, max_size=16))
OTHER_VERSIONS = U8.filter(lambda version: version != handshake.VERSION)
CLAIMS = st.one_of(
    st.builds(
        handshake.Claim,
        st.just(handshake.VERSION),
        *FRONT,
        st.binary(min_size=80, max_size=80),
    ),
    st.builds(handshake.Claim, OTHER_VERSIONS, *FRONT, st.binary(min_size=16, max_size=888)),
)
ANSWERS = st.builds(handshake.OtherVersion, U8, st.binary(min_size=80, max_size=80))
PROGRAMS = st.binary(max_size=24).map(lambda name: name.rstrip(b"\0"))
DECISIONS = st.builds(
    handshake.Decision, st.just(handshake.VERSION), KEYS, st.binary(min_size=80, max_size=80)
)
CLAIM_PAYLOADS = st.builds(
    handshake.ClaimPayload,
    U32,
    st.binary(min_size=16, max_size=16),
    U32,
    U8,
    U8,
    U32,
    U32,
    PROGRAMS,
)
DECISION_PAYLOADS = st.builds(
    handshake.DecisionPayload, U8, U8, U8, st.booleans(), U32, U32, U64, U32, PROGRAMS
)


@given(CLAIMS, DECISIONS, ANSWERS)
def test_claims_and_their_answers_come_back(claim, decision, answer):
    assert handshake.decode_message(handshake.encode_other_version(answer)) == answer
    assert handshake.decode_message(handshake.encode_claim(claim)) == claim
    assert handshake.decode_message(handshake.encode_decision(decision)) == decision


@given(CLAIM_PAYLOADS, DECISION_PAYLOADS)
def test_payloads_come_back_and_have_one_size(claim, decision):
    packed = handshake.encode_claim_payload(claim), handshake.encode_decision_payload(decision)

    assert handshake.decode_claim_payload(packed[0]) == claim
    assert handshake.decode_decision_payload(packed[1]) == decision
    assert {len(data) for data in packed} == {handshake.PAYLOAD_SIZE}


@given(st.one_of(
    st.binary(max_size=250),
    st.binary(max_size=250).map(lambda tail: handshake.MAGIC + tail),
    st.sampled_from([b"\x01\x01", b"\x01\x02", b"\x02\x01", b"\x03\x02"]).flatmap(
        lambda head: st.sampled_from([79, 80, 81, 111, 112, 113, 143, 144, 207, 208, 209]).map(lambda n: handshake.MAGIC + head + bytes(n))),
))  # fmt: skip
def test_any_bytes_are_a_handshake_message_or_refused(data):
    try:
        message = handshake.decode_message(data)
    except DecodeError:
        return
    encode = {
        handshake.Claim: handshake.encode_claim,
        handshake.Decision: handshake.encode_decision,
        handshake.OtherVersion: handshake.encode_other_version,
    }[type(message)]
    assert encode(message) == data


@given(st.binary(min_size=64, max_size=64))
def test_any_payload_of_the_right_size_is_read(data):
    handshake.decode_claim_payload(data)
    handshake.decode_decision_payload(data)


@given(U8, U16, U32, st.integers(0, layout.MAX_NUMBER), U64, U64)
def test_headers_come_back(phase, path, index, number, stream, offset):
    general = layout.encode_general_header(phase, path, index, number)
    bulk = layout.encode_bulk_header(phase, path, index, number, stream, offset)

    assert layout.decode_general_header(general) == (layout.GENERAL, phase, path, index, number)
    assert layout.decode_general_header(bulk) == (layout.BULK, phase, path, index, number)
    assert layout.decode_bulk_fields(bulk) == (stream, offset)


@given(st.integers(60, 61440), st.sampled_from([16, 32]))
def test_what_fits_into_a_packet_fits(size, tag):
    capacity = max(layout.bulk_capacity(size, tag), 0)

    assert capacity % 8 == 0
    assert capacity + tag + layout.BULK_HEADER_SIZE <= max(size, tag + layout.BULK_HEADER_SIZE)


DERP_DECODERS = [
    derp.decode_server_key,
    derp.decode_client_info,
    derp.decode_server_info,
    derp.decode_peer_gone,
    derp.decode_restarting,
    lambda data: derp.split_packet(memoryview(data)),
]


@given(st.binary(max_size=120), st.booleans(), st.sampled_from(DERP_DECODERS))
def test_any_derp_payload_is_a_value_or_refused(data, has_magic, decode):
    try:
        decode(derp.MAGIC + data if has_magic else data)
    except DecodeError:
        return


@given(
    st.lists(st.tuples(U8, st.binary(max_size=400)), max_size=12),
    st.lists(st.integers(1, 600), min_size=1, max_size=20),
)
def test_derp_frames_come_out_the_same_wherever_the_stream_is_cut(values, sizes):
    stream = b"".join(derp.encode_frame(kind, payload) for kind, payload in values)
    splitter, out, position, turn = derp.FrameSplitter(), [], 0, 0
    while position < len(stream):
        size = sizes[turn % len(sizes)]
        splitter.feed(stream[position : position + size])
        out += [(kind, bytes(payload)) for kind, payload in splitter.frames()]
        position, turn = position + size, turn + 1

    assert out == values


@given(
    st.lists(st.tuples(U8, st.integers(0, 5000)), max_size=12),
    st.lists(st.one_of(st.none(), st.integers(1, 9000)), min_size=1, max_size=20),
)
def test_derp_frames_come_out_the_same_however_much_a_reader_gets(values, reads):
    stream = b"".join(derp.encode_frame(kind, bytes((kind,)) * size) for kind, size in values)
    splitter, out, position, turn = derp.FrameSplitter(), [], 0, 0
    while position < len(stream):
        read, turn = reads[turn % len(reads)], turn + 1
        if read is None:
            splitter.trim()
            read = 1
        room = splitter.writable()
        size = min(len(room), read, len(stream) - position)
        assert size
        room[:size] = stream[position : position + size]
        splitter.wrote(size)
        out += [(kind, bytes(payload)) for kind, payload in splitter.frames()]
        position += size

    assert out == [(kind, bytes((kind,)) * size) for kind, size in values]


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_any_bytes_are_derp_frames_or_too_long(chunks):
    splitter = derp.FrameSplitter(max_payload=200)
    try:
        for chunk in chunks:
            splitter.feed(chunk)
            for _, payload in splitter.frames():
                assert len(payload) <= 200
    except DecodeError:
        return


@given(st.binary(max_size=50), st.lists(st.integers(-2, 60), max_size=10))
def test_a_reader_never_hands_out_what_is_not_there(data, sizes):
    reader, taken = Reader(data), b""
    for size in sizes:
        try:
            taken += reader.bytes(size)
        except DecodeError:
            assert size < 0 or size > reader.remaining
    assert taken + bytes(reader.rest()) == data
